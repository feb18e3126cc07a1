"""Read labeled data for training and evaluation, featurizing audio first if necessary."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from jobs.console.messages import Say
from jobs.run.request import Job, Only, make_job
from jobs.run.run import run_job
from pipeline.catalogs.catalog import canonical, list_catalog
from pipeline.catalogs.manifest_file import is_manifest
from pipeline.formatting import count_text
from pipeline.models.bundle import find_model, read_info
from pipeline.storage import storage
from pipeline.storage.local_kind import local_kind
from pipeline.storage.temporary_folders import locked_folder
from pipeline.tables.current import current_failures
from pipeline.training.data.descriptor_csv import is_descriptor_csv
from pipeline.training.data.importers import import_data
from pipeline.training.data.labeled_tables import FOLDER, GENRE_TAG, find_genres, import_tables, is_tables
from pipeline.training.training_set import TrainingSet
from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.model import Arch, feature_kinds

_SHOWN_FAILURES = 5
_TRAINED_LIKE = "gtzan"
"""The shipped model that ``earmark train`` trained; audio is featurized as for it."""


def read_labeled_data(
    data: str,
    arch: Arch,
    *,
    label_column: str | None = None,
    tables: str | None = None,
    model: str | None = None,
    n_frames: int | None = None,
    min_genres: int = 2,
    config: RunConfig | None = None,
    say: Say = lambda sentence: None,
) -> TrainingSet:
    """Read labeled data: audio, tables, or what `pipeline.training.data.importers.import_data` reads.

    Parameters
    ----------
    data : str
        An array file, a descriptor CSV, tables, a folder or prefix with a folder of audio for each genre, or
        a manifest of audio with a column for the genre.
    arch : str
        Architecture, which determines the features.
    label_column : str, optional
        Where the genres are: a column of the manifest, ``genre_tag`` or ``folder``. By default, the manifest
        column ``label`` or ``genre``, or, if `data` is a folder, the first folder of each path.
    tables : str, optional
        Tables in which to keep the features of audio for the next time; by default, they are not kept.
    model : str, optional
        The model whose features are computed, or preferred where runs computed several; by default, those
        of ``gtzan`` are computed, and the newest preferred.
    n_frames : int, optional
        Length of the log-mels of audio and tables; by default, that of the longest.
    min_genres : int
        Genres that audio needs, for which no features are computed in vain; a model is also measured on one.
    config : RunConfig, optional
        Settings of the run that computes the features.
    say : callable
        Prints a message, such as about files that are left out.

    Raises
    ------
    MisuseError
        If there is no labeled data, it is invalid, or an option makes no sense for it.
    KeyboardInterrupt
        If the computation of features was interrupted.
    """
    check_regular(data)
    kept = {"--tables": tables}
    if is_tables(data):
        refuse_unused(data, "tables", kept)
        like = read_info(find_model(model)).features if model else None
        return import_tables(
            data, label_column=label_column, like=like, n_frames=n_frames, say=say, **feature_kinds(arch)
        )
    if not is_audio(data):
        refuse_unused(
            data, "an array file or a table of descriptors", {"--label-column": label_column, **kept}
        )
        imported = import_data(data, say=say)
        # With log-mels, a split into pieces would leave out the descriptors.
        return replace(imported, log_mel=None) if arch == "dense" else imported
    column = choose_label_column(data, label_column, min_genres=min_genres)
    with open_root(tables) as root:
        settings = (config or RunConfig()).model_copy(update={"model": model or _TRAINED_LIKE})
        job = _featurize(data, root, arch, settings, say)
        _report_failures(job, say)
        return import_tables(root, label_column=column, n_frames=n_frames, say=say, **feature_kinds(arch))


def refuse_unused(data: str, what: str, options: Mapping[str, str | None]) -> None:
    """Refuse options that only other data needs: of what they name, nothing would be read or kept.

    Parameters
    ----------
    data : str
        The data, as the user named it.
    what : str
        What it is.
    options : mapping of str to str or None
        The options and their values; None if one is not given.

    Raises
    ------
    MisuseError
        If one is given.
    """
    for option, value in options.items():
        if value is not None:
            raise MisuseError(f"{option} {value} has no effect on {data}, which is {what}; omit it")


def check_regular(data: str) -> None:
    """Reject what does not exist, and a pipe, since reading it would wait forever if nobody writes to it."""
    kind = local_kind(storage.split(data)[1]) if storage.is_local(data) else "file"
    if kind is None:
        raise MisuseError(f"{data} does not exist; check its name")
    if kind == "other":
        raise MisuseError(
            f"{data} is a pipe, a socket or a device, not a file; write its data to a file first"
        )


def is_audio(data: str) -> bool:
    """Return whether the data is audio to list: a folder, a prefix or a manifest."""
    if is_manifest(data):
        return not is_descriptor_csv(data)
    if storage.is_local(data):
        return local_kind(storage.split(data)[1]) == "folder"
    return PurePosixPath(data).suffix.lower() != ".npz"


def choose_label_column(data: str, label_column: str | None, *, min_genres: int = 2) -> str | None:
    """Return where the genres of audio are, having checked that there are some: its features take hours.

    Genres in tags are not checked, since they are read with the audio.

    Parameters
    ----------
    data : str
        A folder, a prefix or a manifest.
    label_column : str or None
        What the user chose; by default, the folders, or the manifest column ``label`` or ``genre``.
    min_genres : int
        Genres that are needed.

    Returns
    -------
    str or None
        A value of `label_column` of `pipeline.training.data.labeled_tables.import_tables`.

    Raises
    ------
    MisuseError
        If there is no such column, or it has too few genres.
    """
    column = label_column or (None if is_manifest(data) else FOLDER)
    if column == GENRE_TAG:
        return column
    catalog = canonical(data)
    tracks = list_catalog(catalog).select(["track_id", "uri", "carried"]).to_pylist()
    genres = set(find_genres(tracks, catalog, column, data).values())
    if not tracks or len(genres) >= min_genres:
        return column
    found = f"only {', '.join(genres)}" if genres else "none"
    if column == FOLDER:
        where = "put the tracks of each genre into a folder of its own, or choose --label-column genre_tag"
    else:
        where = "choose another --label-column"
    needed = "a genre" if min_genres == 1 else f"at least {min_genres} genres"
    raise MisuseError(f"{data} needs tracks of {needed} and has {found}; {where}")


@contextmanager
def open_root(tables: str | None) -> Iterator[str]:
    """Yield the tables that keep features of audio, or else a temporary folder for them."""
    if tables is not None:
        yield canonical(tables)
        return
    with locked_folder("earmark-training-") as folder:
        yield str(folder)


def _featurize(data: str, root: str, arch: Arch, config: RunConfig, say: Say) -> Job:
    """Featurize the audio with only the features that the architecture takes."""
    kinds = feature_kinds(arch)
    settings = config.model_copy(update={"descriptors": kinds["descriptors"]})
    only: Only | None = None if all(kinds.values()) else "log-mel" if kinds["log_mel"] else "descriptors"
    job = make_job("featurize", data, root, settings, only=only)
    report = run_job(job, say)
    if report.outcome == "interrupted":
        raise KeyboardInterrupt
    if not report.counts.labeled and not report.counts.labeled_before:
        raise MisuseError(
            f"none of the {report.counts.listed:,} files of {data} could be featurized; check the files"
        )
    return job


def label_audio(data: str, root: str, config: RunConfig, say: Say) -> Job:
    """Run the model of some settings over audio, and tell which files are left out.

    Raises
    ------
    KeyboardInterrupt
        If the run was interrupted.
    """
    job = make_job("run", data, root, config)
    if run_job(job, say).outcome == "interrupted":
        raise KeyboardInterrupt
    _report_failures(job, say)
    return job


def _report_failures(job: Job, say: Say) -> None:
    """Tell which files are left out because they have no features."""
    failures = current_failures(job.tables)
    if not failures.num_rows:
        return
    files = count_text(failures.num_rows, "file")
    say(f"left out: {files} that could not be featurized")
    for message in failures["message"].to_pylist()[:_SHOWN_FAILURES]:
        say(f"  {message}")
