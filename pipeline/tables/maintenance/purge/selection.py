"""Which tracks to purge, and where the tables hold rows of them."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.objects import StoredObject, StoredObjects, partition_values
from pipeline.tables.parts import read_columns
from schemas.report import Purged
from schemas.tables import PARTITIONS, SCHEMAS

_COLUMNS = ("track_id", "uri", "etag", "segment", "run")


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """The tracks to purge: those with one of these ids, URIs, or artists in their tags."""

    track_ids: frozenset[str] = frozenset()
    uris: frozenset[str] = frozenset()
    artists: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TracesInTables:
    """The rows of some tracks.

    Attributes
    ----------
    track_ids, uris : frozenset of str
        The tracks, and all their locations so far.
    found_ids, found_uris : frozenset of str
        Those that rows have.
    parts : dict
        By table, the parts that hold such rows.
    rows : dict
        By table, the number of such rows.
    by_run : dict
        By run, the rows that its report counts.
    """

    track_ids: frozenset[str]
    uris: frozenset[str]
    found_ids: frozenset[str] = frozenset()
    found_uris: frozenset[str] = frozenset()
    parts: dict[str, list[StoredObject]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    by_run: dict[str, Purged] = field(default_factory=dict)


def find_track_ids(stored: StoredObjects, request: PurgeRequest) -> frozenset[str]:
    """Return the ids of the tracks that a request means, whether the tables have rows of them or not.

    Artists are compared without regard to case and surrounding spaces. The index is not asked: no row may be
    overlooked because a copy of its key is missing.

    Raises
    ------
    EarmarkError
        If a part cannot be read.
    """
    found = set(request.track_ids)
    uris = _strings(request.uris)
    artists = _normalize(_strings(request.artists))
    for table in ("tracks", "labels", "failures"):
        columns = ["track_id", "uri", *(["artist"] if table == "tracks" else [])]
        if not (len(uris) or (len(artists) and table == "tracks")):
            continue
        for _, rows in _read(stored, table, columns):
            wanted = pc.is_in(rows["uri"], uris)
            if "artist" in columns:
                wanted = pc.or_(wanted, pc.is_in(_normalize(rows["artist"]), artists))
            found.update(rows.filter(wanted)["track_id"].to_pylist())
    return frozenset(found)


def find_traces(stored: StoredObjects, track_ids: frozenset[str], uris: Collection[str]) -> TracesInTables:
    """Find the rows of some tracks in all parts of all tables.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    track_ids : frozenset of str
        The tracks.
    uris : collection of str
        Locations of these tracks that are known already.

    Raises
    ------
    EarmarkError
        If a part cannot be read.
    """
    ids = _strings(track_ids)
    found: dict[str, set[str]] = {"track_id": set(), "uri": set()}
    parts: dict[str, list[StoredObject]] = {}
    n_rows: Counter[str] = Counter()
    counted: dict[str, list[tuple[str, str, str]]] = {"labels": [], "failures": [], "embeddings": []}
    for table in PARTITIONS:
        columns = [name for name in _COLUMNS if name in SCHEMAS[table].names]
        for part, rows in _read(stored, table, columns):
            rows = rows.filter(pc.is_in(rows["track_id"], ids))
            if not rows.num_rows:
                continue
            parts.setdefault(table, []).append(part)
            n_rows[table] += rows.num_rows
            for name in found.keys() & set(columns):
                found[name].update(rows[name].to_pylist())
            if table in counted:
                counted[table] += _versions(part, rows)
    return TracesInTables(
        track_ids=track_ids,
        uris=frozenset(found["uri"].union(uris)),
        found_ids=frozenset(found["track_id"]),
        found_uris=frozenset(found["uri"]),
        parts=parts,
        rows=dict(n_rows),
        by_run=_count_by_run(counted),
    )


def _versions(part: StoredObject, rows: pa.Table) -> Iterator[tuple[str, str, str]]:
    """Yield run, id and etag of each row; of segments, of the first one."""
    if "segment" in rows.column_names:
        rows = rows.filter(pc.equal(rows["segment"], 0))
    run = partition_values(part).get("run")
    runs = rows["run"].to_pylist() if run is None else [run] * rows.num_rows
    yield from zip(runs, rows["track_id"].to_pylist(), rows["etag"].to_pylist(), strict=True)


def _count_by_run(counted: dict[str, list[tuple[str, str, str]]]) -> dict[str, Purged]:
    labeled = Counter(run for run, _, _ in counted["labels"])
    failed = Counter(run for run, _, _ in counted["failures"])
    # As reports count them: a track that the run labeled too is not counted as embedded.
    embedded = Counter(run for run, _, _ in set(counted["embeddings"]).difference(counted["labels"]))
    return {
        run: Purged(labeled=labeled[run], failed=failed[run], embedded=embedded[run])
        for run in sorted({*labeled, *failed, *embedded})
    }


def _read(
    stored: StoredObjects, table: str, columns: Sequence[str]
) -> Iterator[tuple[StoredObject, pa.Table]]:
    parts = stored.parts[table]
    locations = [stored.location(part) for part in parts]
    yield from zip(parts, read_columns(stored.tables, table, locations, columns), strict=True)


def _strings(values: Collection[str]) -> pa.Array:
    return pa.array(sorted(values), pa.string())


def _normalize(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.utf8_lower(pc.utf8_trim_whitespace(pc.utf8_normalize(names, "NFC")))
