"""Replacing parts with merged ones: readers never miss a row, and see none twice where the store allows it.

On a local disk, a copy of the partition's folder is staged where readers do not look, with hard links to the
parts that stay, and swapped with the partition atomically (`atomic_swap`). Readers see either the old parts
or the merged ones. A reader that listed the old parts just before the swap either finds all rows in the
merged part, which has the name of the first source, or fails with an error because the other sources are
gone.

Object stores, and disks that cannot swap folders, have no such operation. There the merged part is written
first and its sources are removed afterwards. In between, a raw reader may see rows twice, but a reader that
takes the newest row of each key, as Earmark and the documented SQL do, sees each row once. The compaction log
(`compaction_log`) ensures that a killed replacement is later finished or undone.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.storage import storage
from pipeline.storage.late_writes import check_if_late
from pipeline.storage.temporary_folders import remove_abandoned
from pipeline.tables.maintenance.compact.atomic_swap import swap
from pipeline.tables.maintenance.compact.compaction_log import LogEntry, finish_replacement, take_back
from pipeline.tables.maintenance.compact.merging import MergedPart, RowFilter, merge_parts
from pipeline.tables.maintenance.compact.scratch import PREFIX, scratch_folder
from pipeline.tables.objects import StoredObject
from pipeline.tables.tables import Tables

_LOCAL_BATCH_BYTES = 4 << 30
"""Total size of merged parts built before they replace their sources, which bounds the disk space needed."""


def replace_parts(
    tables: Tables,
    groups: Mapping[str, Sequence[StoredObject]],
    *,
    target_bytes: int = 128 << 20,
    check: storage.Check,
    keep: RowFilter | None = None,
    progress: Callable[[int], None] = lambda n_done: None,
) -> None:
    """Replace parts with merged ones.

    Parameters
    ----------
    tables : Tables
        The tables, whose lease the caller holds.
    groups : mapping of str to sequence of StoredObject
        Parts by the folder of their partition.
    target_bytes : int
        Approximate size of merged parts.
    check : callable
        Called before each step that changes the tables.
    keep : callable, optional
        Selects the rows to keep; all rows by default.
    progress : callable
        Called with the number of parts replaced so far.

    Raises
    ------
    EarmarkError
        If a part cannot be read or written; parts already replaced stay replaced.
    """
    remove_abandoned(PREFIX)
    done = 0
    for partition, sources in groups.items():
        with (
            scratch_folder(tables.root) as folder,
            # Closed first: it may still be writing into the folder.
            contextlib.closing(
                merge_parts(tables.root, sources, folder, target_bytes=target_bytes, keep=keep)
            ) as built,
        ):
            for batch in _batch_by_size(built, _LOCAL_BATCH_BYTES if storage.is_local(tables.root) else 1):
                changed = [part for part in batch if keep is not None or len(part.sources) > 1]
                with storage.explain_errors(storage.join(tables.root, partition), "replace parts of"):
                    _publish(tables, partition, changed, folder, check, filtered=keep is not None)
                done += sum(len(part.sources) for part in batch)
                progress(done)


def _batch_by_size(built: Iterator[MergedPart], at_least_bytes: int) -> Iterator[list[MergedPart]]:
    batch: list[MergedPart] = []
    size = 0
    for part in built:
        batch.append(part)
        size += part.file.stat().st_size
        if size >= at_least_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _publish(
    tables: Tables,
    partition: str,
    parts: Sequence[MergedPart],
    built: Path,
    check: storage.Check,
    *,
    filtered: bool,
) -> None:
    if not parts:
        return
    if storage.is_local(tables.root):
        folder = Path(storage.split(storage.join(tables.root, partition))[1])
        if _swap_partition(folder, parts, built / "partition", check, filtered=filtered):
            return
    for part in parts:
        _replace_logged(tables, partition, part, check)


def _swap_partition(
    folder: Path, parts: Sequence[MergedPart], staged: Path, check: storage.Check, *, filtered: bool
) -> bool:
    """Swap the partition's folder for one with the merged parts; return False if this disk cannot."""
    replaced = {source.name for part in parts for source in part.sources}
    staged.mkdir()
    shutil.copymode(folder, staged)
    try:
        for entry in os.scandir(folder):
            if entry.name not in replaced:
                os.link(entry.path, staged / entry.name, follow_symlinks=False)
        for part in parts:
            if part.rows:
                # Reuse the name of the first source: a reader that listed the old parts a moment ago and
                # skips names that have disappeared (as Arrow's listing does) then finds all rows in this one.
                # Not if rows were left out: a reader that knows where they were would take others for them.
                os.link(part.file, staged / (part.name if filtered else part.sources[0].name))
    except OSError:  # the filesystem has no hard links
        shutil.rmtree(staged)
        return False
    storage.sync_folder(staged)
    check()
    swapped = swap(staged, folder)
    if swapped:
        storage.sync_folder(folder.parent)
    # The staged folder now holds the old parts or, if nothing was swapped, links to them.
    shutil.rmtree(staged)
    if not swapped:
        return False
    with contextlib.suppress(OSError):
        folder.rmdir()  # only succeeds if no row was kept
    for part in parts:
        part.file.unlink()
    return True


def _replace_logged(tables: Tables, partition: str, part: MergedPart, check: storage.Check) -> None:
    """Replace parts in several steps: log the replacement, write the merged part, remove its sources."""
    entry = LogEntry(
        partition=partition,
        merged=part.name if part.rows else None,
        rows=part.rows,
        sources=tuple(source.name for source in part.sources),
    )
    text = entry.model_dump_json(indent=2)
    storage.write_bytes(entry.location(tables.root), text.encode(), check=check)
    if part.rows:
        check()
        start = time.monotonic()
        merged = storage.join(tables.root, partition, part.name)
        _put(part.file, merged, check)
        if not storage.is_local(tables.root):
            check_if_late(start, check, lambda: take_back(tables, entry, merged))
    part.file.unlink()
    finish_replacement(tables, entry, check)


def _put(file: Path, location: str, check: storage.Check) -> None:
    """Write an object from a file, completely or not at all."""
    protocol, path = storage.split(location)
    if protocol == "file":
        # The file is normally on the same disk; a hard link makes it appear in one step.
        try:
            os.link(file, path)
        except OSError:
            storage.write_bytes(location, file.read_bytes())
        storage.sync_folder(Path(path).parent)
        return
    # A single PUT or a multipart upload: either way the object appears only when it is complete.
    storage.upload(file, location, check=check)
