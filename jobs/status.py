"""``earmark status``, ``failures`` and ``labels``: what the tables hold."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.catalog import canonical
from pipeline.models.bundle import ModelBundle
from pipeline.tables.current import (
    count_current_labels,
    current_failures,
    current_labels,
    current_tracks,
    list_models,
    read_genres,
)
from pipeline.tables.formats import tables_at
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError
from schemas.report import RunReport


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Tracks of the catalog that one model has labeled, failed on, and not seen yet."""

    model: str
    labeled: int
    failed: int
    left: int


@dataclass(frozen=True, slots=True)
class Status:
    """State of the tables: the catalog, its tracks, the models that labeled them, the last runs."""

    catalog: str
    n_tracks: int
    models: tuple[ModelStatus, ...]
    failures: dict[str, int]
    runs: tuple[RunReport, ...]


def open_tables(location: str) -> Tables:
    """The tables at a location.

    Raises
    ------
    MisuseError
        If no run has written there, or a newer Earmark.
    """
    tables = tables_at(canonical(location))
    if not read_reports(tables, last=1):
        raise MisuseError(
            f"there are no tables in {location}; make them with 'earmark run CATALOG {location}'"
        )
    return tables


def status(tables: Tables, *, last: int = 5) -> Status:
    """The state of the tables, with the reports of the `last` runs."""
    tracks = current_tracks(tables)
    states = []
    for model in list_models(tables):
        labeled = count_current_labels(tables, model)
        failed = current_failures(tables, model).num_rows
        states.append(ModelStatus(model, labeled, failed, tracks.num_rows - labeled - failed))
    types = current_failures(tables)["error_type"].value_counts()
    runs = tuple(read_reports(tables, last=last))
    failures = {str(pair["values"]): pair["counts"].as_py() for pair in types}
    return Status(runs[-1].catalog, tracks.num_rows, tuple(states), failures, runs)


def pick_model(tables: Tables, wanted: str | None) -> str:
    """The full name of the model whose labels are wanted.

    Parameters
    ----------
    tables : Tables
        The tables.
    wanted : str or None
        The name with or without its hash, or the folder of a model; None: the one that labeled last.

    Raises
    ------
    MisuseError
        If the tables hold no labels of it.
    """
    have = list_models(tables)
    if wanted is None:
        if not have:
            raise MisuseError(f"the tables {tables.root} hold no labels yet")
        return have[-1]
    matching = [model for model in have if model == wanted or model.rpartition("-")[0] == wanted]
    if not matching and have:
        full = ModelBundle.load(wanted).model
        matching = [model for model in have if model == full]
    if not matching:
        listed = ", ".join(have) or "none"
        raise MisuseError(
            f"the tables {tables.root} hold no labels of the model {wanted} (they hold {listed})"
        )
    return matching[-1]


def failures(tables: Tables, model: str | None) -> pa.Table:
    """The current failures that stand in the way of a model: by default that of the last run."""
    if model is None:
        last = [report.model for report in read_reports(tables) if report.model is not None]
        return current_failures(tables, last[-1] if last else None)
    return current_failures(tables, pick_model(tables, model))


def labels(
    tables: Tables, model: str | None, *, genre: str | None = None, min_confidence: float = 0.0
) -> pa.Table:
    """The current labels of a model, of one genre and with at least some confidence where asked for.

    Raises
    ------
    MisuseError
        If the tables hold no labels of the model, or it knows no such genre.
    """
    full_model = pick_model(tables, model)
    rows = current_labels(tables, full_model)
    if genre is not None:
        known = read_genres(tables, full_model)
        if genre not in known:
            raise MisuseError(
                f"the model {full_model} knows no genre {genre!r} (it knows {', '.join(known)})"
            )
        rows = rows.filter(pc.equal(rows["genre"], genre))
    if min_confidence > 0:
        rows = rows.filter(pc.greater_equal(rows["confidence"], min_confidence))
    return rows
