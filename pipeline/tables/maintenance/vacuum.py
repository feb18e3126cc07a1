"""Vacuum: find and remove objects that no run refers to. Labels, failures and track history always stay."""

import contextlib
import os
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from pipeline.models.bundle import INFO_FILE
from pipeline.storage import storage
from pipeline.tables.kept_models import read_kept_info
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER
from pipeline.tables.maintenance.stale_parts import find_stale_parts, rewrite_stale_parts
from pipeline.tables.objects import (
    LEFTOVER_PREFIX,
    StoredObject,
    StoredObjects,
    days_ago,
    partition_values,
    remove_objects,
)
from pipeline.tables.runs import log_location, plan_location
from schemas.report import RunReport


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
    """Find what may be removed, each object under one kind.

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
    removable = [part for table in ("features", "embeddings") for part in stored.parts[table] if part in kept]
    stale_parts = find_stale_parts(stored, removable, cutoff)
    stale, partly_stale = stale_parts["features"]
    stale_vectors, partly_stale_vectors = stale_parts["embeddings"]
    finished = _find_finished_runs(reports)
    plans = {plan_location(stored.tables, run) for run in finished}
    logs = {log_location(stored.tables, run) for run in finished}
    found: dict[str, Iterable[StoredObject]] = {
        "leftovers of killed writers": (e for e in listed if e.name.startswith(LEFTOVER_PREFIX)),
        "killed compactions": (e for e in listed if e.path.startswith(f"{LOG_FOLDER}/")),
        "features of tracks that changed or left": stale,
        "embeddings of tracks that changed or left": stale_vectors,
        "features that no kept model uses": unused,
        "models without labels": _find_unused_models(stored, old),
        "plans of finished runs": (e for e in old if stored.location(e) in plans),
        "logs of finished runs": (e for e in old if stored.location(e) in logs),
        "old leases": _find_old_leases(stored, old),
    }
    removals, removed = [], set[StoredObject]()
    for kind, objects in found.items():
        others = tuple(entry for entry in objects if entry not in removed)
        removals.append(Removal(kind, others))
        removed.update(others)
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
                rewrite_stale_parts(stored, removal.objects, days_ago(options.older_than_days), check)
                continue
            # A model exists if its model.json does, so remove that first.
            objects = sorted(removal.objects, key=lambda entry: entry.name != INFO_FILE)
            remove_objects([stored.location(entry) for entry in objects], check)
    _remove_empty_folders(stored)


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
        if report.outcome == "done" and report.is_full:
            superseded.add(report.model)
    return finished


def _find_old_leases(stored: StoredObjects, old: Set[StoredObject]) -> list[StoredObject]:
    """Find old lease objects, except the newest, whose number the next lease continues."""
    leases = [entry for entry in stored.below("_lease") if entry.name.endswith(".json")]
    return [entry for entry in sorted(leases, key=lambda entry: entry.path)[:-1] if entry in old]


def _remove_empty_folders(stored: StoredObjects) -> None:
    """Remove empty folders of partitions and models on a local disk."""
    if not storage.is_local(stored.tables.root):
        return
    root = storage.split(stored.tables.root)[1]
    for name in ("features", "embeddings", "_models"):
        for folder, _, _ in os.walk(f"{root}/{name}", topdown=False):
            with contextlib.suppress(OSError):  # it is not empty
                Path(folder).rmdir()
