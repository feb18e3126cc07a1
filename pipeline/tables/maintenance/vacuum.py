"""Vacuum: find and remove what no run refers to. Labels, failures and the log of tracks always stay."""

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
from pipeline.tables.kept_models import read_info
from pipeline.tables.maintenance.compact.log import FOLDER, remove
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.maintenance.verify.keys import is_full
from pipeline.tables.objects import (
    LEFTOVER_PREFIX,
    ChosenParts,
    Inventory,
    StoredObject,
    days_ago,
    partition_values,
    partitions,
)
from pipeline.tables.tables import VERSION, newest, within, without
from schemas.report import RunReport

_TARGET_BYTES = 128 << 20
"""Size of the parts that are made of what is kept of old ones."""


@dataclass(frozen=True, slots=True)
class VacuumOptions:
    """What can go.

    Attributes
    ----------
    older_than_days : float
        Objects that have changed since stay, and so do features of content that the catalog held since.
    unused_feature_sets : bool
        Features that no model in ``_models/`` takes can go too.
    rewrite : bool
        Parts of ``features/`` of which some rows can go are written anew without these.
    """

    older_than_days: float = 7.0
    unused_feature_sets: bool = False
    rewrite: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """Objects of one kind that can go.

    Attributes
    ----------
    kind : str
        What they are.
    objects : tuple of StoredObject
        The objects.
    rewritten : bool
        Whether only some of their rows can go, so that they must be written anew without these.
    """

    kind: str
    objects: tuple[StoredObject, ...]
    rewritten: bool = False

    @property
    def size(self) -> int:
        """Bytes of the objects."""
        return sum(entry.size for entry in self.objects)


def plan_vacuum(inventory: Inventory, reports: Sequence[RunReport], options: VacuumOptions) -> list[Removal]:
    """What can go.

    Parameters
    ----------
    inventory : Inventory
        The objects.
    reports : sequence of RunReport
        The reports of all runs, oldest first.
    options : VacuumOptions
        What is asked for.
    """
    newest_change = days_ago(options.older_than_days)
    listed = [entry for entry in inventory.objects if entry.modified_at <= newest_change]
    old = frozenset(listed)
    unused = _unused_features(inventory, old) if options.unused_feature_sets else []
    kept = old.difference(unused)
    parts = [part for part in inventory.parts["features"] if part in kept]
    stale, partly = _stale_features(inventory, parts, newest_change)
    removals = [
        Removal(
            "leftovers of killed writers", tuple(e for e in listed if e.name.startswith(LEFTOVER_PREFIX))
        ),
        Removal("killed compactions", tuple(e for e in listed if e.path.startswith(f"{FOLDER}/"))),
        Removal("features of content that is gone", tuple(stale)),
        Removal("features that no kept model takes", tuple(unused)),
        Removal("models without labels", tuple(_unused_models(inventory, old))),
        Removal("plans of finished runs", tuple(_of_finished_runs(old, reports, "plan.parquet"))),
        Removal("logs of finished runs", tuple(_of_finished_runs(old, reports, "log.jsonl"))),
        Removal("old leases", tuple(_old_leases(inventory, old))),
    ]
    if options.rewrite:
        removals.append(Removal("parts with rows of such content", tuple(partly), rewritten=True))
    return [removal for removal in removals if removal.objects]


def remove_planned(
    inventory: Inventory, removals: Sequence[Removal], options: VacuumOptions, check: storage.Check
) -> None:
    """Remove what was planned with the same options.

    The caller holds the lease of the tables, and has recovered killed compactions before the inventory.

    Raises
    ------
    EarmarkError
        If the store refuses; what is removed stays removed.
    """
    with storage.explained(inventory.tables.root, "remove objects of"):
        for removal in removals:
            if removal.rewritten:
                gone = _gone_versions(inventory, days_ago(options.older_than_days))
                _rewrite(inventory, removal.objects, gone, check)
                continue
            # A model is there when its model.json is: that goes first.
            objects = sorted(removal.objects, key=lambda entry: entry.name != INFO_FILE)
            remove([inventory.location(entry) for entry in objects], check)
    _remove_empty_folders(inventory)


def live_versions(inventory: Inventory, since: float) -> pa.Table:
    """The track versions that the catalog held at any time since a moment: ``track_id``, ``etag``."""
    tracks = inventory.tables.read("tracks", [*VERSION, "present", "listed_at"])
    moment = pa.scalar(datetime.fromtimestamp(since, UTC), tracks["listed_at"].type)
    recent = pc.greater_equal(tracks["listed_at"], moment)
    rows = pa.concat_tables([newest(tracks.filter(pc.invert(recent)), "listed_at"), tracks.filter(recent)])
    return rows.filter(rows["present"]).select(list(VERSION))


def _gone_versions(inventory: Inventory, since: float) -> pa.Table:
    """The track versions that the catalog has held, but not since a moment."""
    # What no listing has named is not gone.
    known = inventory.tables.read("tracks", list(VERSION))
    return without(known, live_versions(inventory, since))


def _stale_features(
    inventory: Inventory, parts: Sequence[StoredObject], since: float
) -> tuple[list[StoredObject], list[StoredObject]]:
    """Parts of ``features/`` with nothing but rows of content that is gone, and those with some."""
    gone = _gone_versions(inventory, since)
    if not gone.num_rows or not parts:
        return [], []
    rows = ChosenParts(inventory.tables.root, {"features": list(parts)}).read(
        "features", [*VERSION, "__filename"]
    )
    n_rows, n_stale = _rows_by_part(rows), _rows_by_part(within(rows, gone))
    root = storage.split(inventory.tables.root)[1]
    stale: list[StoredObject] = []
    partly: list[StoredObject] = []
    for part in parts:
        name = f"{root}/{part.path}"
        if name in n_stale:
            (stale if n_stale[name] == n_rows[name] else partly).append(part)
    return stale, partly


def _rows_by_part(rows: pa.Table) -> dict[str, int]:
    files = rows["__filename"].cast(pa.string()).value_counts()
    return {str(pair["values"]): pair["counts"].as_py() for pair in files}


def _rewrite(
    inventory: Inventory, parts: Sequence[StoredObject], gone: pa.Table, check: storage.Check
) -> None:
    """Replace parts by such without the rows of content that is gone."""
    # Asked once for each row group: a join would go through all that is gone each time.
    versions = set(zip(*(gone[name].to_pylist() for name in VERSION), strict=True))

    def kept(rows: pa.Table) -> pa.Table:
        keys = zip(*(rows[name].to_pylist() for name in VERSION), strict=True)
        return rows.filter(pa.array([key not in versions for key in keys], pa.bool_()))

    replace_parts(
        inventory.tables,
        partitions(parts),
        target_bytes=_TARGET_BYTES,
        check=check,
        keep=kept,
    )


def _unused_features(inventory: Inventory, old: Set[StoredObject]) -> list[StoredObject]:
    """Old parts of feature sets that serve none of the kept models; none where no model is kept."""
    used: set[str] = set()
    for entry in inventory.below("_models"):
        if entry.name == INFO_FILE:
            info = read_info(inventory.location(entry).rpartition("/")[0])
            used |= {spec.feature_set for spec in info.features.serving()}
    if not used:
        return []
    return [
        part
        for part in inventory.parts["features"]
        if part in old and partition_values(part)["feature_set"] not in used
    ]


def _unused_models(inventory: Inventory, old: Set[StoredObject]) -> list[StoredObject]:
    """Objects of models in ``_models/`` that have no labels in the tables."""
    labeling = {partition_values(part)["model"] for part in inventory.parts["labels"]}
    models: dict[str, list[StoredObject]] = {}
    for entry in inventory.below("_models"):
        models.setdefault(entry.path.split("/")[1], []).append(entry)
    return [
        entry
        for model, entries in models.items()
        if model not in labeling and all(entry in old for entry in entries)
        for entry in entries
    ]


def _of_finished_runs(
    old: Set[StoredObject], reports: Sequence[RunReport], suffix: str
) -> list[StoredObject]:
    """Old plans or logs of runs that ended, or that a later full run of their model has made good."""
    finished: set[str] = set()
    made_good: set[str | None] = set()
    for report in reversed(reports):
        if report.outcome == "done" or report.model in made_good:
            finished.add(f"_runs/{report.run}.{suffix}")
        if report.outcome == "done" and is_full(report):
            made_good.add(report.model)
    return [entry for entry in old if entry.path in finished]


def _old_leases(inventory: Inventory, old: Set[StoredObject]) -> list[StoredObject]:
    """Lease objects but for the newest, whose number the next one continues."""
    leases = sorted(inventory.below("_lease"), key=lambda entry: entry.path)
    return [entry for entry in leases[:-1] if entry in old and entry.name.endswith(".json")]


def _remove_empty_folders(inventory: Inventory) -> None:
    """On a local disk, remove folders of partitions and models that hold nothing any more."""
    if not storage.is_local(inventory.tables.root):
        return
    root = storage.split(inventory.tables.root)[1]
    for name in ("features", "_models"):
        for folder, _, _ in os.walk(f"{root}/{name}", topdown=False):
            with contextlib.suppress(OSError):  # it is not empty
                Path(folder).rmdir()
