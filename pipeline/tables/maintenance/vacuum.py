"""Vacuum: find and remove objects that no run refers to. Labels, failures and track history always stay."""

import contextlib
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.models.bundle import INFO_FILE
from pipeline.storage import storage
from pipeline.tables.kept_models import read_kept_info
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, remove_objects
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.maintenance.verify.keys import is_full_run
from pipeline.tables.objects import (
    LEFTOVER_PREFIX,
    ChosenParts,
    StoredObject,
    StoredObjects,
    days_ago,
    group_by_partition,
    partition_values,
)
from pipeline.tables.tables import VERSION_KEY, anti_join, keep_newest, semi_join
from schemas.report import RunReport

_TARGET_BYTES = 128 << 20
"""Target size of parts that are rewritten."""


@dataclass(frozen=True, slots=True)
class VacuumOptions:
    """What may be removed.

    Attributes
    ----------
    older_than_days : float
        Keep objects that changed within this time, and features and embeddings of content that was in the
        catalog within it.
    unused_feature_sets : bool
        Also remove features that no model in ``_models/`` takes.
    rewrite : bool
        Rewrite parts of ``features/`` and ``embeddings/`` that hold some removable rows, without those rows.
    """

    older_than_days: float = 7.0
    unused_feature_sets: bool = False
    rewrite: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """Removable objects of one kind.

    Attributes
    ----------
    kind : str
        What the objects are.
    objects : tuple of StoredObject
        The objects.
    rewritten : bool
        Whether only some of their rows are removable, so that the parts are rewritten without them.
    """

    kind: str
    objects: tuple[StoredObject, ...]
    rewritten: bool = False

    @property
    def size(self) -> int:
        """Total size of the objects, bytes."""
        return sum(entry.size for entry in self.objects)


def plan_vacuum(stored: StoredObjects, reports: Sequence[RunReport], options: VacuumOptions) -> list[Removal]:
    """Find what may be removed.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    reports : sequence of RunReport
        The reports of all runs, oldest first.
    options : VacuumOptions
        What may be removed.
    """
    cutoff = days_ago(options.older_than_days)
    listed = [entry for entry in stored.objects if entry.modified_at <= cutoff]
    old = frozenset(listed)
    unused = _find_unused_features(stored, old) if options.unused_feature_sets else []
    kept = old.difference(unused)
    gone = _read_gone_versions(stored, cutoff)
    stale, partly_stale = _find_stale_parts(stored, "features", kept, gone)
    stale_vectors, partly_stale_vectors = _find_stale_parts(stored, "embeddings", kept, gone)
    finished = _find_finished_runs(reports)
    plans = {f"_runs/{run}.plan.parquet" for run in finished}
    logs = {f"_runs/{run}.log.jsonl" for run in finished}
    removals = [
        Removal(
            "leftovers of killed writers", tuple(e for e in listed if e.name.startswith(LEFTOVER_PREFIX))
        ),
        Removal("killed compactions", tuple(e for e in listed if e.path.startswith(f"{LOG_FOLDER}/"))),
        Removal("features of tracks that changed or left", tuple(stale)),
        Removal("embeddings of tracks that changed or left", tuple(stale_vectors)),
        Removal("features that no kept model uses", tuple(unused)),
        Removal("models without labels", tuple(_find_unused_models(stored, old))),
        Removal("plans of finished runs", tuple(e for e in old if e.path in plans)),
        Removal("logs of finished runs", tuple(e for e in old if e.path in logs)),
        Removal("old leases", tuple(_find_old_leases(stored, old))),
    ]
    if options.rewrite:
        partly = (*partly_stale, *partly_stale_vectors)
        removals.append(Removal("parts with some such features or embeddings", partly, rewritten=True))
    return [removal for removal in removals if removal.objects]


def remove_planned(
    stored: StoredObjects, removals: Sequence[Removal], options: VacuumOptions, check: storage.Check
) -> None:
    """Remove what `plan_vacuum` found with the same options.

    The caller holds the lease of the tables, and recovered killed compactions before listing the objects.

    Raises
    ------
    EarmarkError
        If the store refuses; objects already removed stay removed.
    """
    with storage.explain_errors(stored.tables.root, "remove objects of"):
        for removal in removals:
            if removal.rewritten:
                gone = _read_gone_versions(stored, days_ago(options.older_than_days))
                _rewrite(stored, removal.objects, gone, check)
                continue
            # A model exists if its model.json does, so remove that first.
            objects = sorted(removal.objects, key=lambda entry: entry.name != INFO_FILE)
            remove_objects([stored.location(entry) for entry in objects], check)
    _remove_empty_folders(stored)


def read_live_versions(stored: StoredObjects, since: float) -> pa.Table:
    """Read the track versions that were in the catalog at any time since a moment: ``track_id``, ``etag``."""
    tracks = stored.tables.read("tracks", [*VERSION_KEY, "present", "listed_at"])
    moment = pa.scalar(datetime.fromtimestamp(since, UTC), tracks["listed_at"].type)
    recent = pc.greater_equal(tracks["listed_at"], moment)
    rows = pa.concat_tables(
        [keep_newest(tracks.filter(pc.invert(recent)), "listed_at"), tracks.filter(recent)]
    )
    return rows.filter(rows["present"]).select(list(VERSION_KEY))


def _read_gone_versions(stored: StoredObjects, since: float) -> pa.Table:
    """Read the track versions that were in the catalog, but not since a moment."""
    # A version that no listing ever named does not count as gone.
    known = stored.tables.read("tracks", list(VERSION_KEY))
    return anti_join(known, read_live_versions(stored, since))


def _find_stale_parts(
    stored: StoredObjects, table: str, kept: Set[StoredObject], gone: pa.Table
) -> tuple[list[StoredObject], list[StoredObject]]:
    """Find parts of a table whose rows are all of content that is gone, and parts where some are."""
    parts = [part for part in stored.parts[table] if part in kept]
    if not gone.num_rows or not parts:
        return [], []
    rows = ChosenParts(stored.tables.root, {table: parts}).read(table, [*VERSION_KEY, "__filename"])
    n_rows, n_stale = _count_rows_by_part(rows), _count_rows_by_part(semi_join(rows, gone))
    root = storage.split(stored.tables.root)[1]
    stale: list[StoredObject] = []
    partly: list[StoredObject] = []
    for part in parts:
        name = f"{root}/{part.path}"
        if name in n_stale:
            (stale if n_stale[name] == n_rows[name] else partly).append(part)
    return stale, partly


def _count_rows_by_part(rows: pa.Table) -> dict[str, int]:
    files = rows["__filename"].cast(pa.string()).value_counts()
    return {str(pair["values"]): pair["counts"].as_py() for pair in files}


def _rewrite(
    stored: StoredObjects, parts: Sequence[StoredObject], gone: pa.Table, check: storage.Check
) -> None:
    """Rewrite parts without the rows of content that is gone."""
    # The filter runs once per row group: a join would scan all gone versions every time.
    versions = set(zip(*(gone[name].to_pylist() for name in VERSION_KEY), strict=True))

    def keep(rows: pa.Table) -> pa.Table:
        keys = zip(*(rows[name].to_pylist() for name in VERSION_KEY), strict=True)
        return rows.filter(pa.array([key not in versions for key in keys], pa.bool_()))

    replace_parts(
        stored.tables,
        group_by_partition(parts),
        target_bytes=_TARGET_BYTES,
        check=check,
        keep=keep,
    )


def _find_unused_features(stored: StoredObjects, old: Set[StoredObject]) -> list[StoredObject]:
    """Find old parts of feature sets that no kept model can use; none if no model is kept."""
    used: set[str] = set()
    for entry in stored.below("_models"):
        if entry.name == INFO_FILE:
            info = read_kept_info(stored.location(entry).rpartition("/")[0])
            used |= {spec.feature_set for spec in info.features.supersets()}
    if not used:
        return []
    return [
        part
        for part in stored.parts["features"]
        if part in old and partition_values(part)["feature_set"] not in used
    ]


def _find_unused_models(stored: StoredObjects, old: Set[StoredObject]) -> list[StoredObject]:
    """Find old objects of models in ``_models/`` that have neither labels nor embeddings in the tables."""
    labeling = {
        partition_values(part)["model"] for table in ("labels", "embeddings") for part in stored.parts[table]
    }
    models: dict[str, list[StoredObject]] = {}
    for entry in stored.below("_models"):
        models.setdefault(entry.path.split("/")[1], []).append(entry)
    return [
        entry
        for model, entries in models.items()
        if model not in labeling and all(entry in old for entry in entries)
        for entry in entries
    ]


def _find_finished_runs(reports: Sequence[RunReport]) -> set[str]:
    """Find the runs that finished, or that a later full run of the same model superseded."""
    finished: set[str] = set()
    superseded: set[str | None] = set()
    for report in reversed(reports):
        if report.outcome == "done" or report.model in superseded:
            finished.add(report.run)
        if report.outcome == "done" and is_full_run(report):
            superseded.add(report.model)
    return finished


def _find_old_leases(stored: StoredObjects, old: Set[StoredObject]) -> list[StoredObject]:
    """Find old lease objects, except the newest, whose number the next lease continues."""
    leases = sorted(stored.below("_lease"), key=lambda entry: entry.path)
    return [entry for entry in leases[:-1] if entry in old and entry.name.endswith(".json")]


def _remove_empty_folders(stored: StoredObjects) -> None:
    """Remove empty folders of partitions and models on a local disk."""
    if not storage.is_local(stored.tables.root):
        return
    root = storage.split(stored.tables.root)[1]
    for name in ("features", "embeddings", "_models"):
        for folder, _, _ in os.walk(f"{root}/{name}", topdown=False):
            with contextlib.suppress(OSError):  # it is not empty
                Path(folder).rmdir()
