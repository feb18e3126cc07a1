"""TrackRef values: made from what a store says of a file, and to and from Arrow."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.storage import storage
from pipeline.storage.retry import with_retries
from schemas.tables import LISTING
from schemas.tracks import TrackRef


def track_id_of(relative_path: str) -> str:
    """The id of a track without one of its own: a hash of its path below the catalog root.

    Moving or renaming the root keeps the ids. 80 bits: among ten million tracks two share an id with a
    probability of 4e-11.
    """
    data = relative_path.encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()[:20]


Facts = tuple[int, str, float]
"""Size, etag and modification time: what a listing, or a store that is asked, says of a file."""


def facts(info: dict[str, Any]) -> Facts:
    """Size, etag and modification time from an fsspec info."""
    modified = info.get("LastModified") or info.get("mtime") or info.get("created") or 0.0
    modified_at = modified.timestamp() if isinstance(modified, datetime) else float(modified)
    size = int(info.get("size") or 0)
    etag = str(info.get("ETag") or info.get("etag") or f"{size}-{modified_at}").strip('"')
    return size, etag, modified_at


def etag_of(status: os.stat_result) -> str:
    """The version of a local file's content, as far as its size and time of writing tell."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def stat_track(uri: str, track_id: str) -> TrackRef:
    """A track that is known by name: its size and version are asked of the store.

    A track that is not there has the etag ``missing``, one that may not be looked at ``unreadable``, a
    folder, pipe, socket or device ``irregular``; reading it then fails with a reason.
    """
    protocol, path = storage.split(uri)
    if protocol == "file":
        return local_track(path, uri, track_id)
    try:
        info = with_retries(lambda: storage.filesystem(protocol).info(path))
    except PermissionError:
        return TrackRef(track_id, uri, 0, "unreadable")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return TrackRef(track_id, uri, 0, "missing")
    if info.get("type") == "directory":
        return TrackRef(track_id, uri, 0, "irregular")
    return TrackRef(track_id, uri, *facts(info))


def local_track(path: str, uri: str, track_id: str) -> TrackRef:
    """As `stat_track`, for a path of this machine."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of a million names takes its time)
    except PermissionError:
        return TrackRef(track_id, uri, 0, "unreadable")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return TrackRef(track_id, uri, 0, "missing")
    except OSError as error:
        if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
            return TrackRef(track_id, uri, 0, "missing")
        raise
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would be to wait for ever
        return TrackRef(track_id, uri, 0, "irregular")
    return TrackRef(track_id, uri, status.st_size, etag_of(status), status.st_mtime)


def to_batch(tracks: Iterable[TrackRef]) -> pa.RecordBatch:
    """Tracks as one record batch with the schema `LISTING`."""
    rows = [
        {
            "track_id": track.track_id,
            "uri": track.uri,
            "size": track.size,
            "etag": track.etag,
            "modified_at": datetime.fromtimestamp(track.modified_at, UTC) if track.modified_at else None,
            "carried": list(track.carried.items()) or None,
        }
        for track in tracks
    ]
    return pa.RecordBatch.from_pylist(rows, LISTING)


def from_table(listing: pa.Table | pa.RecordBatch) -> list[TrackRef]:
    """The tracks of `LISTING` rows: the inverse of `to_batch`."""
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
