"""TrackRef values: made from a store's facts about a file, and converted to and from Arrow."""

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.storage.file_versions import etag_of, file_stat
from pipeline.storage.retry import with_retries
from schemas.tables import LISTING, TIMESTAMP
from schemas.tracks import TrackRef


def track_id_of(relative_path: str) -> str:
    """Return the default id of a track: a hash of its path below the catalog root.

    Moving or renaming the root keeps the ids. With 80 bits, the probability that any two of ten million
    tracks share an id is 4e-11.
    """
    data = relative_path.encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()[:20]


MISSING, UNREADABLE, IRREGULAR = "missing", "unreadable", "irregular"
NOT_READABLE = (MISSING, UNREADABLE, IRREGULAR)
"""Etags of files that cannot be read, whatever is in them."""


def stat_track(uri: str, track_id: str) -> TrackRef:
    """Look up the size and version of a track in its store.

    A missing track gets the etag ``missing``, one without permission ``unreadable``, and a directory, pipe,
    socket or device ``irregular``; reading it then fails with the reason.
    """
    protocol, path = storage.split(uri)
    if protocol == "file":
        return local_track(path, uri, track_id)
    try:
        info = with_retries(lambda: storage.filesystem(protocol).info(path))
    except PermissionError:
        return TrackRef(track_id, uri, 0, UNREADABLE)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return TrackRef(track_id, uri, 0, MISSING)
    if info.get("type") == "directory":
        return TrackRef(track_id, uri, 0, IRREGULAR)
    return TrackRef(track_id, uri, *file_stat(info))


def local_track(path: str, uri: str, track_id: str) -> TrackRef:
    """Look up a local track, as `stat_track` does."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a million Path objects take seconds)
    except PermissionError:
        return TrackRef(track_id, uri, 0, UNREADABLE)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return TrackRef(track_id, uri, 0, MISSING)
    except OSError as error:
        if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
            return TrackRef(track_id, uri, 0, MISSING)
        raise
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
        return TrackRef(track_id, uri, 0, IRREGULAR)
    return TrackRef(track_id, uri, status.st_size, etag_of(status), status.st_mtime)


T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield items in lists of a size, the last of which may be shorter."""  # as itertools does from 3.12 on
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def to_batch(tracks: Iterable[TrackRef]) -> pa.RecordBatch:
    """Return tracks as one record batch with the schema `LISTING`."""
    rows = [
        {
            "track_id": track.track_id,
            "uri": track.uri,
            "size": track.size,
            "etag": track.etag,
            "modified_at": _time(track.modified_at),
            "carried": list(track.carried.items()) or None,
        }
        for track in tracks
    ]
    return pa.RecordBatch.from_pylist(rows, LISTING)


def _time(seconds: float) -> datetime | None:
    """Return a modification time; None for 0, which means unknown, and for years that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


_FIRST, _LAST = (pa.scalar(each.replace(tzinfo=UTC), TIMESTAMP) for each in (datetime.min, datetime.max))


def drop_impossible(times: pa.Array) -> pa.Array:
    """Return times with nulls for those in years that no calendar has, which Python cannot hold."""
    is_possible = pc.and_(pc.greater_equal(times, _FIRST), pc.less_equal(times, _LAST))
    return pc.if_else(is_possible, times, pa.scalar(None, TIMESTAMP))


def is_one_of(tracks: pa.Table, track_ids: Collection[str]) -> pa.ChunkedArray:
    """Tell of each row whether its ``track_id`` is one of some, to filter by."""
    return pc.is_in(tracks["track_id"], pa.array(list(track_ids), pa.string()))


def from_table(listing: pa.Table | pa.RecordBatch) -> list[TrackRef]:
    """Return the tracks of `LISTING` rows: the inverse of `to_batch`."""
    return [
        TrackRef(
            track_id=row["track_id"],
            uri=row["uri"],
            size=row["size"],
            etag=row["etag"],
            modified_at=row["modified_at"].timestamp() if row["modified_at"] else 0.0,
            carried=dict(row["carried"] or ()),
        )
        for row in listing.select(LISTING.names).to_pylist()
    ]
