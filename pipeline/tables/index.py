"""The index: keeps the key files of `pipeline.tables.key_files` up to date, under the lease of the tables.

A run adds the keys of its parts as one file a table. Files are merged like the digits of a counter: a new one
takes in those that are not larger than what was merged so far, so that there are about as many files as the
number of rows has binary digits, and each row is copied about as often. A file most of whose parts are gone,
because compaction merged them, is written again without their keys.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.tables.key_files import INDEX_FOLDER, KeyFile, write_key_file
from pipeline.tables.keys import KEY_COLUMNS, Keys, open_keys
from pipeline.tables.objects import days_ago, list_objects, remove_objects
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError

log = get_logger(__name__)

MAX_ROWS = 2_000_000
"""Rows of the largest key files, some tens of megabytes: each is fetched and written in one request."""
_KEEP_S = 3600.0
"""Seconds for which a file that is no longer needed stays: another command may still be reading it."""

_ROWS_OF_PARTS = "SELECT part, count(*) AS rows FROM {table} GROUP BY part"
_KEYS_OF_PARTS = """\
SELECT {columns}, number::INTEGER AS part, row
FROM {table} JOIN merged USING (part)
"""


def refresh_index(keys: Keys, check: storage.Check) -> None:
    """Bring the index up to date with the loaded tables, and remove files that are no longer needed.

    Parameters
    ----------
    keys : Keys
        The keys, listed under the lease.
    check : callable
        Called before each write; raises if this run may no longer write.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    with storage.explain_errors(keys.stored.tables.root, "write the index of"):
        for table in keys.files:
            merged = _choose_files(keys, table)
            if keys.fresh[table] or len(merged) > 1 or any(map(_is_outdated, merged)):
                _merge(keys, table, merged, check)
            _remove_useless(keys, table, check)


def try_refresh(keys: Keys, check: storage.Check) -> None:
    """Refresh the index as `refresh_index` does, but only log if that fails: it is a cache."""
    with _log_failure(check):
        refresh_index(keys, check)


def update_index(tables: Tables, check: storage.Check) -> None:
    """Add to the index what a run has written.

    Parameters
    ----------
    tables : Tables
        The tables.
    check : callable
        Called before each read and write; raises if this run may no longer write.

    Raises
    ------
    EarmarkError
        If the lease is lost.
    """
    with _log_failure(check), open_keys(tables, check) as keys:
        keys.load(*KEY_COLUMNS)
        refresh_index(keys, check)


def remove_index(tables: Tables) -> bool:
    """Remove the index, a cache that may go at any time, and return whether there was one.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    stored = list_objects(tables)
    entries = stored.below(INDEX_FOLDER)
    with storage.explain_errors(tables.root, "remove the index of"):
        remove_objects([stored.location(entry) for entry in entries], lambda: None)
    return bool(entries)


@contextlib.contextmanager
def _log_failure(check: storage.Check) -> Iterator[None]:
    """Log an error of a ``with`` block. A lost lease ends the run; a cache that is not written does not."""
    try:
        yield
    except EarmarkError as error:
        check()
        log.warning("index not updated", error=error)


def _choose_files(keys: Keys, table: str) -> list[tuple[KeyFile, list[int]]]:
    """Choose the files to merge with the parts that no file holds.

    These are the outdated files, and of the others, from small to large, those that are not larger than all
    before them.
    """
    chosen = [pair for pair in keys.files[table] if _is_outdated(pair)]
    others = [pair for pair in keys.files[table] if not _is_outdated(pair)]
    total = keys.count(f"FROM fresh_{table}") + sum(_count_live(keys, table, parts) for _, parts in chosen)
    for file, parts in sorted(others, key=lambda pair: pair[0].n_rows):
        if file.n_rows > total or total + file.n_rows > MAX_ROWS:
            break
        total += file.n_rows
        chosen.append((file, parts))
    return chosen


def _is_outdated(pair: tuple[KeyFile, list[int]]) -> bool:
    """Return whether most of the parts that a file copies are gone: readers pass over their rows each time.

    Once written again, a file copies only parts that are there, so the same file is never written twice.
    """
    file, parts = pair
    return 2 * len(parts) < len(file.parts)


def _count_live(keys: Keys, table: str, parts: list[int]) -> int:
    """Count the rows of some parts."""
    keys.register("live", pa.table({"part": pa.array(parts, pa.int32())}))
    return keys.count(f"FROM {table} SEMI JOIN live USING (part)")


def _merge(keys: Keys, table: str, files: list[tuple[KeyFile, list[int]]], check: storage.Check) -> None:
    """Write the keys of some files, and of the parts that no file holds, to as few files as possible."""
    parts = sorted([*keys.fresh[table], *(part for _, held in files for part in held)])
    stored = keys.stored.parts[table]
    columns = ", ".join(KEY_COLUMNS[table])
    for group in _cut(keys, table, parts):
        numbers = pa.array(np.arange(len(group), dtype=np.int32))
        keys.register("merged", pa.table({"part": pa.array(group, pa.int32()), "number": numbers}))
        rows = keys.stream(_KEYS_OF_PARTS.format(columns=columns, table=table))
        write_key_file(keys.stored, table, [stored[part] for part in group], rows, keys.scratch, check)
    log.info("index updated", table=table, parts=len(parts), fresh=len(keys.fresh[table]), files=len(files))


def _cut(keys: Keys, table: str, parts: list[int]) -> Iterator[list[int]]:
    """Cut parts into groups of up to `MAX_ROWS` rows; a larger part is a group by itself."""
    counts = keys.query(_ROWS_OF_PARTS.format(table=table)).to_pydict()
    rows_of = dict(zip(counts["part"], counts["rows"], strict=True))
    group: list[int] = []
    total = 0
    for part in parts:
        rows = rows_of.get(part, 0)
        if group and total + rows > MAX_ROWS:
            yield group
            group, total = [], 0
        group.append(part)
        total += rows
    yield group


def _remove_useless(keys: Keys, table: str, check: storage.Check) -> None:
    long_ago = days_ago(_KEEP_S / 86400)
    for entry in keys.useless[table]:
        if entry.modified_at <= long_ago:
            storage.delete(keys.stored.location(entry), check=check)
