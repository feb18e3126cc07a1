"""Which tracks to purge, and where the tables hold rows of them."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.audio.tags.several_values import split_values
from pipeline.tables.objects import StoredObject, StoredObjects, partition_values
from pipeline.tables.parts import read_columns
from schemas.report import Purged
from schemas.tables import PARTITIONS, SCHEMAS

_Naming = Literal["alone", "one of several", "mentioned"]

_COLUMNS = ("track_id", "uri", "etag", "segment", "run")


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """The tracks to purge: those with one of these ids, URIs, or artists, alone or one of several."""

    track_ids: frozenset[str] = frozenset()
    uris: frozenset[str] = frozenset()
    artists: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NamedTracks:
    """The tracks that a request means.

    Attributes
    ----------
    track_ids : frozenset of str
        The tracks, whether the tables have rows of them or not.
    shared : dict of str to frozenset of str
        Those by several artists, one of whom is meant, by artist tag.
    not_meant : dict of str to frozenset of str
        Other tracks, whose artist tag mentions one of the artists within a longer name ("A feat. B"), by tag.
    """

    track_ids: frozenset[str]
    shared: dict[str, frozenset[str]]
    not_meant: dict[str, frozenset[str]]


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


def find_named_tracks(stored: StoredObjects, request: PurgeRequest) -> NamedTracks:
    """Find the tracks that a request means.

    Artists are compared without regard to case and surrounding spaces, with the whole tag and with each of
    several artists in it. The index is not asked: no row may be overlooked because a copy of its key is
    missing.

    Raises
    ------
    EarmarkError
        If a part cannot be read.
    """
    found = set(request.track_ids)
    if request.uris:
        uris = _strings(request.uris)
        for table in ("tracks", "labels", "failures"):
            for _, rows in _read(stored, table, ["track_id", "uri"]):
                found.update(rows.filter(pc.is_in(rows["uri"], uris))["track_id"].to_pylist())
    by_tag = _find_by_artist(stored, request.artists)
    found.update(*by_tag["alone"].values(), *by_tag["one of several"].values())
    others = {tag: frozenset(ids - found) for tag, ids in by_tag["mentioned"].items()}
    return NamedTracks(
        frozenset(found),
        shared={tag: frozenset(ids) for tag, ids in by_tag["one of several"].items()},
        not_meant={tag: ids for tag, ids in others.items() if ids},
    )


def _find_by_artist(
    stored: StoredObjects, names: Collection[str]
) -> dict[_Naming, defaultdict[str, set[str]]]:
    """Return the tracks whose artist tags, or column ``artist`` of a manifest, name some artists.

    They are given by how they do, then by tag.
    """
    by_tag: dict[_Naming, defaultdict[str, set[str]]] = {
        naming: defaultdict(set) for naming in get_args(_Naming)
    }
    artists = _Artists(names)
    if artists.names:
        for _, rows in _read(stored, "tracks", ["track_id", "artist", "carried"]):
            for tags in (rows["artist"], pc.map_lookup(rows["carried"], pa.scalar("artist"), "first")):
                namings = artists.find_in(tags.unique())
                named = pc.is_in(tags, _strings(namings))
                named_ids = rows["track_id"].filter(named).to_pylist()
                for tag, track_id in zip(tags.filter(named).to_pylist(), named_ids, strict=True):
                    by_tag[namings[tag]][tag].add(track_id)
    return by_tag


class _Artists:
    """Tells how artist tags name some artists."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(_normalize(_strings(names)).to_pylist()) - {""}
        alternatives = "|".join(map(re.escape, sorted(self.names)))
        self._mention = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")

    def find_in(self, tags: pa.Array) -> dict[str, _Naming]:
        """Return how each tag names one of the artists; those that name none are left out."""
        found: dict[str, _Naming] = {}
        for tag, normalized in zip(tags.to_pylist(), _normalize(tags).to_pylist(), strict=True):
            if tag is None:
                continue
            if normalized in self.names:
                found[tag] = "alone"
            elif not self.names.isdisjoint(split_values(normalized)):
                found[tag] = "one of several"
            elif self._mention.search(normalized):
                found[tag] = "mentioned"
        return found


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
