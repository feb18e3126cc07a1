"""Stale parts: those with features or embeddings of content that has left the catalog."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from pipeline.storage import storage
from pipeline.tables.key_files import INDEX_FOLDER
from pipeline.tables.keys import Keys, open_stored_keys
from pipeline.tables.maintenance.compact.merging import RowFilter
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.objects import StoredObject, StoredObjects, group_by_partition
from pipeline.tables.tables import VERSION_KEY

# The versions that were in the catalog, but not since a moment. One that no listing ever named is not gone.
_GONE = """\
WITH live AS (
    SELECT track_id, etag FROM tracks WHERE present AND listed_at >= $since
    UNION ALL
    SELECT track_id, etag
    FROM tracks
    WHERE present
      AND recency IN (SELECT max(recency) FROM tracks WHERE listed_at < $since GROUP BY track_id)
)
SELECT DISTINCT track_id, etag FROM tracks ANTI JOIN live USING (track_id, etag)
"""

_STALE = """\
WITH stale AS (
    SELECT part, count(*) AS rows FROM {table} SEMI JOIN gone USING (track_id, etag) GROUP BY part
),
held AS (
    SELECT part, count(*) AS rows FROM {table} GROUP BY part
)
SELECT part, stale.rows = held.rows AS whole FROM stale JOIN held USING (part) ORDER BY part
"""

_GONE_FROM_PARTS = """\
SELECT DISTINCT track_id, etag
FROM {table} SEMI JOIN gone USING (track_id, etag) SEMI JOIN chosen USING (part)
"""


def find_stale_parts(
    stored: StoredObjects, parts: Collection[StoredObject], since: float
) -> dict[str, tuple[list[StoredObject], list[StoredObject]]]:
    """Find the parts whose rows are all of content that has not been in the catalog since a moment.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    parts : collection of StoredObject
        Parts of ``features/`` and ``embeddings/`` to look at.
    since : float
        The moment, in seconds since the epoch.

    Returns
    -------
    dict
        For each of these two tables, the stale parts, and the parts that have only some such rows.

    Raises
    ------
    EarmarkError
        If the store refuses, or a part is damaged.
    """
    found: dict[str, tuple[list[StoredObject], list[StoredObject]]] = {}
    with _open_gone(stored, parts, since) as keys:
        for table in ("features", "embeddings"):
            stale = keys.query(_STALE.format(table=table)).to_pydict()
            pairs = list(zip(stale["part"], stale["whole"], strict=True))
            held = keys.stored.parts[table]
            found[table] = (
                [held[number] for number, whole in pairs if whole],
                [held[number] for number, whole in pairs if not whole],
            )
    return found


def rewrite_stale_parts(
    stored: StoredObjects, parts: Sequence[StoredObject], since: float, check: storage.Check
) -> None:
    """Rewrite parts without the rows of content that has not been in the catalog since a moment.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    parts : sequence of StoredObject
        Parts of ``features/`` and ``embeddings/``.
    since : float
        The moment, in seconds since the epoch.
    check : callable
        Called before each step that changes the tables.

    Raises
    ------
    EarmarkError
        If a part cannot be read or written; parts already rewritten stay rewritten.
    """
    with _open_gone(stored, parts, since) as keys:
        for folder, group in group_by_partition(parts).items():
            replace_parts(
                stored.tables,
                {folder: group},
                check=check,
                keep=_make_filter(keys, folder.partition("/")[0], group),
            )


def _make_filter(keys: Keys, table: str, parts: Sequence[StoredObject]) -> RowFilter:
    """Return a filter that drops the rows of content that is gone from parts of a partition."""
    chosen = set(parts)
    numbers = [number for number, part in enumerate(keys.stored.parts[table]) if part in chosen]
    keys.register("chosen", pa.table({"part": pa.array(numbers, pa.int32())}))
    gone = keys.query(_GONE_FROM_PARTS.format(table=table))
    # The filter runs once per row group: a join would scan all these versions every time.
    versions = set(zip(*(gone[name].to_pylist() for name in VERSION_KEY), strict=True))

    def keep(rows: pa.Table) -> pa.Table:
        found = zip(*(rows[name].to_pylist() for name in VERSION_KEY), strict=True)
        return rows.filter(pa.array([version not in versions for version in found], pa.bool_()))

    return keep


@contextlib.contextmanager
def _open_gone(stored: StoredObjects, parts: Collection[StoredObject], since: float) -> Iterator[Keys]:
    """Open the keys of some parts, with a table ``gone`` of the versions that are not in the catalog."""
    chosen = set(parts)
    needed = tuple(
        entry
        for entry in stored.objects
        if entry in chosen or entry.path.partition("/")[0] in ("tracks", INDEX_FOLDER)
    )
    with open_stored_keys(StoredObjects(stored.tables, needed)) as keys:
        keys.load("tracks", "features", "embeddings")
        keys.define("gone", _GONE, since=datetime.fromtimestamp(since, UTC))
        yield keys
