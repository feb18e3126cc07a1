"""Parts are replaced by merged ones: no reader ever finds a row missing nor, where it can be, doubled.

On a local disk a copy of the partition's folder is built out of the readers' sight, with hard links to the
parts that stay, and changes places with the partition in one step (`atomic_swap`). Readers see the old parts
or the merged ones. One that listed the old ones just before finds all rows in the merged part, which bears
the name of the first, or fails loudly over the others, which are gone.

Object stores, and disks that cannot exchange folders, have no such step. There the merged part is written
first and its sources are removed after: in between, a raw reader may see rows twice, and every reader that
takes the newest row of each key, as Earmark and the documented SQL do, sees each once. The compaction log
(`log`) makes sure that a replacement that was killed is finished or undone.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.storage import storage
from pipeline.tables.maintenance.compact.atomic_swap import exchange
from pipeline.tables.maintenance.compact.log import Journal, finish
from pipeline.tables.maintenance.compact.merging import Keep, MergedPart, merged_parts
from pipeline.tables.maintenance.compact.scratch import remove_abandoned, workspace
from pipeline.tables.objects import StoredObject
from pipeline.tables.tables import Tables

_LOCAL_ROUND_BYTES = 4 << 30
"""Merged parts of so many bytes are built before they take their sources' places: the disk that it needs."""


def replace_parts(
    tables: Tables,
    groups: Mapping[str, Sequence[StoredObject]],
    *,
    target_bytes: int,
    check: storage.Check,
    keep: Keep | None = None,
    progress: Callable[[int], None] = lambda n_done: None,
) -> None:
    """Replace parts by merged ones.

    Parameters
    ----------
    tables : Tables
        The tables, whose lease the caller holds.
    groups : mapping of str to sequence of StoredObject
        Parts by the folder of their partition.
    target_bytes : int
        About how large merged parts are to become.
    check : callable
        Called before each step that changes the tables.
    keep : callable, optional
        Which rows are kept; by default all.
    progress : callable
        Gets the number of parts that have been replaced, now and then.

    Raises
    ------
    EarmarkError
        If a part cannot be read or written; what was replaced stays replaced.
    """
    remove_abandoned()
    done = 0
    for partition, sources in groups.items():
        with workspace(tables.root) as folder:
            built = merged_parts(tables.root, sources, folder, target_bytes=target_bytes, keep=keep)
            for batch in _rounds(built, _LOCAL_ROUND_BYTES if storage.is_local(tables.root) else 1):
                worthwhile = [part for part in batch if keep is not None or len(part.sources) > 1]
                with storage.explain_errors(storage.join(tables.root, partition), "replace parts of"):
                    _publish(tables, partition, worthwhile, folder, check)
                done += sum(len(part.sources) for part in batch)
                progress(done)


def _rounds(built: Iterator[MergedPart], at_least_bytes: int) -> Iterator[list[MergedPart]]:
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
    tables: Tables, partition: str, parts: Sequence[MergedPart], built: Path, check: storage.Check
) -> None:
    if not parts:
        return
    if storage.is_local(tables.root):
        folder = Path(storage.split(storage.join(tables.root, partition))[1])
        if _exchanged(folder, parts, built / "partition", check):
            return
    for part in parts:
        _journaled(tables, partition, part, check)


def _exchanged(folder: Path, parts: Sequence[MergedPart], staged: Path, check: storage.Check) -> bool:
    """Put a folder with the merged parts in the place of a partition's; False if this disk cannot."""
    replaced = {source.name for part in parts for source in part.sources}
    staged.mkdir()
    shutil.copymode(folder, staged)
    try:
        for entry in os.scandir(folder):
            if entry.name not in replaced:
                os.link(entry.path, staged / entry.name, follow_symlinks=False)
        for part in parts:
            if part.rows:
                # Under a name that readers know: one that listed the old parts a moment ago, and passes over
                # names that are gone since (as Arrow's listing does), then finds all rows in this one.
                os.link(part.file, staged / part.sources[0].name)
    except OSError:  # no hard links here
        shutil.rmtree(staged)
        return False
    storage.sync_folder(staged)
    check()
    exchanged = exchange(staged, folder)
    if exchanged:
        storage.sync_folder(folder.parent)
    # What is staged now are the old parts, or, where nothing was exchanged, links to them.
    shutil.rmtree(staged)
    if not exchanged:
        return False
    with contextlib.suppress(OSError):
        folder.rmdir()  # where no row was kept
    for part in parts:
        part.file.unlink()
    return True


def _journaled(tables: Tables, partition: str, part: MergedPart, check: storage.Check) -> None:
    journal = Journal(
        partition=partition,
        merged=part.name if part.rows else None,
        rows=part.rows,
        sources=tuple(source.name for source in part.sources),
    )
    text = journal.model_dump_json(indent=2)
    storage.write_bytes(journal.location(tables.root), text.encode(), check=check)
    if part.rows:
        check()
        _put(part.file, storage.join(tables.root, partition, part.name))
    part.file.unlink()
    finish(tables, journal, check)


def _put(file: Path, location: str) -> None:
    """Write an object from a file, whole or not at all."""
    protocol, path = storage.split(location)
    if protocol == "file":
        # Built on the same disk, as a rule; a rename makes it appear in one step.
        try:
            os.link(file, path)
        except OSError:
            storage.write_bytes(location, file.read_bytes())
        storage.sync_folder(Path(path).parent)
        return
    # One PUT, or a multipart upload: either way the object is there when it is complete.
    storage.filesystem(protocol).put_file(str(file), path)
