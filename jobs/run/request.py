"""A job: the checked request, its listing and its plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from jobs.console.progress import show_progress
from pipeline.catalogs.catalog import Listing, canonical, is_same, survey
from pipeline.catalogs.manifest_versions import confirm_versions
from pipeline.catalogs.planning import Goal, Plan, make_plan
from pipeline.catalogs.track_refs import MISSING, UNREADABLE
from pipeline.formatting import command_text, left_out_text
from pipeline.models.bundle import INFO_FILE, ModelBundle, read_info, shipped_models
from pipeline.models.ensemble import Bundle, Ensemble, load_bundle
from pipeline.publish.destination import check_destination
from pipeline.publish.publish import open_destination
from pipeline.storage import storage
from pipeline.tables.current import define_current_tracks, find_featurized
from pipeline.tables.format_version import tables_at
from pipeline.tables.index import try_refresh
from pipeline.tables.keys import open_keys
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables, read_again_if_replaced
from schemas.config import RunConfig
from schemas.errors import EarmarkError, MisuseError
from schemas.features import FeatureSpec
from schemas.tables import LISTING

Command = Literal["run", "featurize", "label"]
Only = Literal["log-mel", "descriptors"]
EARLIER_DEFAULT = "gtzan"
"""The shipped model that was the default in 0.1.0."""

_FEATURE_SETS = "SELECT DISTINCT feature_set FROM features ORDER BY feature_set"


@dataclass(frozen=True)
class Job:
    """A request for a run.

    Attributes
    ----------
    command : str
        ``run``, ``featurize`` or ``label``.
    catalog : str or None
        The catalog; None for ``label``, which takes the tracks that the tables hold.
    tables : Tables
        The tables.
    config : RunConfig
        Settings.
    bundle : ModelBundle or Ensemble
        The model; ``featurize`` uses only its feature settings.
    only : str or None
        ``log-mel`` or ``descriptors``: compute only these features; None: the features of the model, and
        descriptors if the settings request them.
    """

    command: Command
    catalog: str | None
    tables: Tables
    config: RunConfig
    bundle: Bundle
    only: Only | None = None

    @property
    def spec(self) -> FeatureSpec:
        """The features to compute."""
        features = self.bundle.info.features
        match self.only:
            case "log-mel":
                return features.model_copy(update={"log_mel": True, "descriptors": False})
            case "descriptors":
                return features.only_descriptors
            case None:
                return features.with_descriptors if self.config.descriptors else features

    @property
    def goal(self) -> Goal:
        """What every track should have after the run."""
        model = None if self.command == "featurize" else self.bundle.model
        embeddings = self.config.embeddings and model is not None
        return Goal(self.spec, model, self.config.retry_failed, embeddings)


def make_job(
    command: Command,
    catalog: str | None,
    tables: str,
    config: RunConfig,
    *,
    moved: bool = False,
    only: Only | None = None,
) -> Job:
    """Check a request and load the model.

    Raises
    ------
    MisuseError
        If the model is unknown, the tables belong to another catalog, are the catalog itself, or were made by
        a newer Earmark, or the labels cannot be published where the settings say.
    """
    opened = tables_at(canonical(tables))
    config = _keep_model(config, opened)
    bundle = _load_model(config.model, opened)
    if isinstance(bundle, Ensemble):
        refuse_for_ensemble(
            config.model,
            {
                "--segment-labels": config.segment_labels,
                "--embeddings": config.embeddings,
                "--descriptors": config.descriptors,
                f"--only {only}": only is not None,
            },
        )
    last = read_reports(opened, last=1)
    if not last and command == "label":
        create = command_text("run", "CATALOG", tables)
        raise MisuseError(f"there are no tables in {tables}; create them with '{create}'")
    if catalog is not None:
        catalog = canonical(catalog)
        if not last and is_same(catalog, opened.root):
            raise MisuseError(
                f"{tables} is the catalog itself, where the tables would lie among the music; name another "
                "folder or prefix for them"
            )
        if last and not moved:
            catalog = _as_recorded(catalog, last[0].catalog, tables)
    if command == "run" and config.keep_features != "all" and config.descriptors:
        raise MisuseError(
            f"--keep-features {config.keep_features} removes features, and --descriptors asks for some to be "
            "kept; choose one"
        )
    if config.publish is not None and command != "featurize":
        recorded = catalog or last[0].catalog
        open_destination(
            check_destination(config.publish, opened.root, recorded), config.publish_format, opened
        )
    return Job(command=command, catalog=catalog, tables=opened, config=config, bundle=bundle, only=only)


def _keep_model(config: RunConfig, tables: Tables) -> RunConfig:
    """Name the default of 0.1.0 in tables that it labeled, unless a model was chosen.

    The features of the present default are others: an upgrade would decode the whole catalog again.
    """
    if "model" in config.model_fields_set:
        return config

    def is_kept(name: str) -> bool:
        return _is_kept(tables, ModelBundle.load(name).model)

    with storage.explain_errors(storage.join(tables.root, "_models"), "look for models in"):
        goes_on = is_kept(EARLIER_DEFAULT) and not is_kept(config.model)
    return config.model_copy(update={"model": EARLIER_DEFAULT}) if goes_on else config


def _load_model(name_or_uri: str, tables: Tables) -> Bundle:
    """Load a model, also the one that the tables keep under a name that `status` prints.

    Raises
    ------
    MisuseError
        If there is none.
    """
    try:
        return load_bundle(name_or_uri)
    except MisuseError:
        kept = tables.model_folder(name_or_uri)
        with storage.explain_errors(kept, "look for the model in"):
            if "/" in name_or_uri or not _is_kept(tables, name_or_uri):
                raise
    return load_bundle(kept)


def _is_kept(tables: Tables, model: str) -> bool:
    return storage.exists(storage.join(tables.model_folder(model), INFO_FILE))


def refuse_for_ensemble(model: str, asked: Mapping[str, bool]) -> None:
    """Check that nothing is asked of an ensemble but labels of tracks.

    Parameters
    ----------
    model : str
        The ensemble, as it was named.
    asked : mapping of str to bool
        Options that need a single model, and whether each was given.

    Raises
    ------
    MisuseError
        If one was.
    """
    for option, is_asked in asked.items():
        if is_asked:
            raise MisuseError(
                f"{option} needs a single model, but '{model}' is an ensemble; name one of its models"
            )


def _as_recorded(catalog: str, recorded: str, tables: str) -> str:
    """Return the catalog as the tables spell it, so that the URIs of tracks do not change.

    Raises
    ------
    MisuseError
        If the tables belong to another catalog.
    """
    if not is_same(catalog, recorded):
        raise MisuseError(
            f"{tables} holds the tables of {recorded}, not of {catalog}; choose other tables, "
            "or add --catalog-moved if the catalog has moved"
        )
    return recorded


def list_job(job: Job) -> Listing:
    """List the catalog of a job, or for ``label`` the tracks in the tables that have features.

    Raises
    ------
    EarmarkError
        If the catalog is empty, or cannot be listed.
    """
    if job.catalog is None:
        return Listing(_list_featurized(job))
    with show_progress("listing") as meter:
        listing = survey(job.catalog, limit=job.config.limit, progress=meter.show)
    if not listing.tracks.num_rows:
        others = f" ({left_out_text(listing.left_out)})" if listing.left_out.total else ""
        raise EarmarkError(f"the catalog {job.catalog} contains no audio files{others}")
    _refuse_if_out_of_reach(listing.tracks, job.catalog)
    with storage.explain_errors(job.catalog, "look at the files of"):
        return confirm_versions(listing, job.tables)


def _refuse_if_out_of_reach(tracks: pa.Table, catalog: str) -> None:
    """Check that not every track of a manifest is missing, as if a disk is not mounted.

    Raises
    ------
    EarmarkError
        If so: the run would record each of them as changed and failed.
    """
    states = pc.is_in(tracks["etag"], pa.array([MISSING, UNREADABLE]))
    if pc.all(states).as_py():
        first = tracks.slice(0, 1).to_pylist()[0]
        raise EarmarkError(
            f"none of the {tracks.num_rows:,} tracks of {catalog} can be found or read (the first is "
            f"{first['uri']}: {first['etag']}); is its disk mounted, and may this user read it? "
            "Nothing was done"
        )


def plan_job(job: Job, listing: Listing, check: storage.Check | None = None) -> Plan:
    """Compare the listing with the tables.

    Parameters
    ----------
    job : Job
        The request.
    listing : Listing
        Its catalog.
    check : callable, optional
        Of the lease, if it is held: what earlier runs left out of the index is then added.
    """
    # A missing track is gone only if the whole catalog was listed.
    partial = job.catalog is None or job.config.limit is not None
    with open_keys(job.tables) as keys:
        plan = make_plan(listing.tracks, keys, job.goal, partial=partial)
        if check is not None:
            try_refresh(keys, check)
        return plan


@read_again_if_replaced
def _list_featurized(job: Job) -> pa.Table:
    """Return the tracks in the tables that have features for the model, as a listing."""
    with open_keys(job.tables) as keys:
        keys.load("features")
        have: list[str] = keys.query(_FEATURE_SETS)["feature_set"].to_pylist()
        if not set(have) & set(job.goal.feature_sets):
            contain = f"they contain {', '.join(have)}" if have else "they contain no features"
            options = ["--model", job.config.model, *(["--embeddings"] if job.config.embeddings else [])]
            compute = command_text("run", "CATALOG", job.tables.root, *options)
            raise MisuseError(
                f"the model {job.bundle.model} takes the features {job.spec.feature_set}, which the tables "
                f"{job.tables.root} lack ({contain}); compute them with '{compute}'{_other_models(have)}"
            )
        define_current_tracks(keys)
        return find_featurized(keys, job.goal.feature_sets, LISTING.names)


def _other_models(feature_sets: Sequence[str]) -> str:
    """Suggest the shipped models that read some features."""
    infos = {name: read_info(str(folder)) for name, folder in shipped_models().items()}
    suited = [
        name
        for name, info in infos.items()
        if any(spec.feature_set in feature_sets for spec in info.features.supersets())
    ]
    return f", or choose a model that reads them: {', '.join(suited)}" if suited else ""
