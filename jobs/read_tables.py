"""Read tables: ``earmark status``, ``failures`` and ``labels``."""

import functools
import operator
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.catalog import canonical
from pipeline.formatting import command_text
from pipeline.models.ensemble import load_bundle
from pipeline.tables.current import (
    count_current,
    current_failures,
    current_labels,
    define_current_tracks,
    find_current_failures,
    find_models,
    list_models,
    read_genres,
)
from pipeline.tables.embeddings import current_embeddings, list_embedding_models
from pipeline.tables.format_version import tables_at
from pipeline.tables.kept_models import read_kept_info
from pipeline.tables.keys import open_keys
from pipeline.tables.objects import StoredObjects, list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables, read_again_if_replaced
from schemas.errors import EarmarkError, MisuseError
from schemas.genres import find_genre
from schemas.report import RunReport


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Numbers of tracks that one model has labeled, failed on, not seen yet (``left``), and embedded."""

    model: str
    labeled: int
    failed: int
    left: int
    embedded: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A summary of the tables: the catalog, its tracks, models, failures by type, and the last runs."""

    catalog: str
    n_tracks: int
    models: tuple[ModelStatus, ...]
    failures: dict[str, int]
    runs: tuple[RunReport, ...]


def open_tables(location: str) -> Tables:
    """Open the tables at a location.

    Raises
    ------
    MisuseError
        If no run has written there, or a newer Earmark has.
    """
    tables = tables_at(canonical(location))
    if not read_reports(tables, last=1):
        raise MisuseError(
            f"there are no tables in {location}; create them with "
            f"'{command_text('run', 'CATALOG', location)}'"
        )
    return tables


@read_again_if_replaced
def read_status(tables: Tables, *, last: int = 5) -> Status:
    """Summarize the tables, with the reports of the `last` runs."""
    with open_keys(tables) as keys:
        define_current_tracks(keys)
        n_tracks = keys.count("FROM current_tracks")
        states = []
        for model in find_models(keys):
            labeled = count_current(keys, "labels", model)
            failed = find_current_failures(keys, model).num_rows
            embedded = count_current(keys, "embeddings", model)
            states.append(ModelStatus(model, labeled, failed, n_tracks - labeled - failed, embedded))
        types = find_current_failures(keys)["error_type"].value_counts()
    runs = tuple(read_reports(tables, last=last))
    failures = {str(pair["values"]): pair["counts"].as_py() for pair in types}
    return Status(runs[-1].catalog, n_tracks, tuple(states), failures, runs)


def pick_model(tables: Tables, wanted: str | None) -> str:
    """Return the full name of the model whose labels to read.

    Parameters
    ----------
    tables : Tables
        The tables.
    wanted : str or None
        Name with or without hash, or folder, of a model; if None, the one that labeled last.

    Raises
    ------
    MisuseError
        If the tables hold no labels of this model.
    """
    have = list_models(tables)
    if not have and _models_of_runs(tables):
        raise MisuseError(
            f"the tables {tables.root} contain no labels: no track has been labeled, or all of them "
            f"have been purged; '{command_text('failures', tables.root)}' lists those that failed, and why"
        )
    if wanted is None and not have:
        raise MisuseError(f"the tables {tables.root} contain no labels; run 'earmark run' first")
    return _pick(tables, wanted, have, "labels")


def pick_published_model(tables: Tables, wanted: str | None) -> str:
    """Return the full name of the model whose labels to publish: as `pick_model`, also if none are left.

    Parameters
    ----------
    tables : Tables
        The tables.
    wanted : str or None
        Name with or without hash, or folder, of a model; if None, the one that labeled last, or else the one
        of the last run.

    Raises
    ------
    MisuseError
        If no run was with this model.
    """
    have = [*_models_of_runs(tables), *list_models(tables)]
    return _pick(tables, wanted, have, "runs") if have else pick_model(tables, wanted)


def pick_embedding_model(stored: StoredObjects, wanted: str | None) -> str:
    """Return the full name of the model whose embeddings to read.

    Parameters
    ----------
    stored : StoredObjects
        The objects of the tables.
    wanted : str or None
        Name with or without hash, or folder, of a model; if None, the one of the latest embeddings.

    Raises
    ------
    MisuseError
        If the tables hold no embeddings of this model.
    """
    have = list_embedding_models(stored)
    tables = stored.tables
    if wanted is None and not have:
        add = command_text("run", "CATALOG", tables.root, "--embeddings")
        raise MisuseError(f"the tables {tables.root} contain no embeddings yet; add some with '{add}'")
    return _pick(tables, wanted, have, "embeddings")


def _pick(tables: Tables, wanted: str | None, have: list[str], what: str) -> str:
    if wanted is None:
        return have[-1]
    matching = [model for model in have if model == wanted or model.rpartition("-")[0] == wanted]
    if not matching and have:
        with suppress(MisuseError):  # why it cannot be loaded says less than which models there are
            full = load_bundle(wanted).model
            matching = [model for model in have if model == full]
    if not matching:
        listed = ", ".join(dict.fromkeys(have)) or "none"
        raise MisuseError(
            f"the tables {tables.root} contain no {what} of the model {wanted} (they contain {listed})"
        )
    return matching[-1]


def read_embeddings(tables: Tables, model: str | None) -> pa.Table:
    """Read the current embeddings of a model; by default, of the one that embedded last.

    Raises
    ------
    MisuseError
        If the tables hold no embeddings of the model.
    """
    return current_embeddings(tables, pick_embedding_model(list_objects(tables), model))


def read_failures(tables: Tables, model: str | None) -> pa.Table:
    """Read the current failures that concern a model; by default, the model of the last run.

    Raises
    ------
    MisuseError
        If no run was with this model.
    """
    of_runs = _models_of_runs(tables)
    if model is None:
        return current_failures(tables, of_runs[-1] if of_runs else None)
    # A model may have failed on every track, and so have no labels.
    return current_failures(tables, _pick(tables, model, [*list_models(tables), *of_runs], "runs"))


def _models_of_runs(tables: Tables) -> list[str]:
    """Return the model of each run that had one, the last run's last."""
    return [report.model for report in read_reports(tables) if report.model is not None]


def read_labels(
    tables: Tables,
    model: str | None,
    *,
    genre: str | None = None,
    style: str | None = None,
    among: Sequence[str] = (),
    min_confidence: float = 0.0,
) -> pa.Table:
    """Read the current labels of a model, optionally of one genre, one style, or above a confidence.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str or None
        As in `pick_model`.
    genre : str, optional
        Only tracks of this genre.
    style : str, optional
        Only tracks of this style.
    among : sequence of str
        Choose the genre of each track among these, see `narrow_labels`; by default, among all.
    min_confidence : float
        Only labels with at least this confidence.

    Raises
    ------
    MisuseError
        If the tables hold no labels of the model, or the model has no such genre or style.
    """
    full_model = pick_model(tables, model)
    known = read_genres(tables, full_model) if genre is not None or among else ()
    candidates = [_find_genre(tables, full_model, each, known) for each in among]
    conditions = []
    if genre is not None:
        named = _find_genre(tables, full_model, genre, known)
        if candidates and named not in candidates:
            raise MisuseError(f"the genres to choose from do not include {named!r}: {', '.join(candidates)}")
        conditions.append(pc.field("genre") == named)
    if style is not None:
        styles = _read_styles(tables, full_model)
        wanted = find_genre(style, styles)
        if wanted is None:
            have = f"it has {', '.join(sorted(styles))}" if styles else "it has none"
            raise MisuseError(f"the model {full_model} has no style {style!r} ({have})")
        conditions.append(pc.field("style") == wanted)
    if min_confidence > 0:
        conditions.append(pc.field("confidence").cast("float64") >= min_confidence)
    where = functools.reduce(operator.and_, conditions) if conditions else None
    return current_labels(tables, full_model, where, candidates)


def _find_genre(tables: Tables, model: str, name: str, known: Sequence[str]) -> str:
    """Return a genre as the model spells it."""
    found = find_genre(name, known)
    if found is not None:
        return found
    hint = ""
    with suppress(EarmarkError):  # which genres there are says more than why the model cannot be read
        styles = _read_styles(tables, model)
        if (style := find_genre(name, styles)) is not None:
            hint = f"; '{style}' is a style of {styles[style]}"
    raise MisuseError(f"the model {model} has no genre {name!r} (it has {', '.join(known)}){hint}")


def _read_styles(tables: Tables, model: str) -> dict[str, str]:
    """Return the styles that a model knows, each with its genre."""
    taxonomy = read_kept_info(tables.model_folder(model)).taxonomy
    names = taxonomy.names() if taxonomy is not None else ()
    return {style: genre for genre, style in names if style is not None}
