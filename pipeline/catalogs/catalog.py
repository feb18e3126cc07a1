"""Listing a catalog: a folder, a bucket prefix, a manifest or a single file becomes `LISTING` rows.

The listing streams, so that millions of objects show progress, and it is all or nothing: a folder that cannot
be read is an error, since leaving it out would look like its tracks were gone.
"""

import heapq
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa

from pipeline.catalogs.manifest import read_manifest
from pipeline.catalogs.track_refs import facts, stat_track, to_batch, track_id_of
from pipeline.stores import storage
from pipeline.stores.patience import patiently
from schemas.errors import EarmarkError, MisuseError
from schemas.tables import LISTING
from schemas.tracks import TrackRef

AUDIO_EXTENSIONS = frozenset(
    {
        *(".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".flac"),
        *(".mp2", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".mp4", ".aac", ".wma", ".asf"),
        *(".webm", ".mka"),
    }
)
MANIFEST_EXTENSIONS = frozenset({".csv", ".parquet"})
_BATCH = 10_000

Progress = Callable[[int], None]
"""Called with the number of tracks found so far."""


def canonical(catalog: str) -> str:
    """The catalog's location in the one form that tables record: absolute, without a trailing slash."""
    if not catalog.strip():
        raise MisuseError("the name of a catalog or of tables is empty; a variable may not be set")
    protocol, path = storage.split(catalog)
    path = path.rstrip("/") or "/"
    return storage.local_uri(path) if protocol == "file" else f"{protocol}://{path}"


def list_catalog(catalog: str, *, limit: int | None = None, progress: Progress | None = None) -> pa.Table:
    """List a catalog.

    Parameters
    ----------
    catalog : str
        A folder, a prefix of an object store (``s3://bucket/music``), a manifest (CSV or Parquet with a
        column ``uri`` and optionally ``track_id`` and columns to carry along), or one audio file.
    limit : int, optional
        Stop after this many tracks.
    progress : callable, optional
        Told how many tracks were found so far, every now and then.

    Returns
    -------
    pyarrow.Table
        With the schema `schemas.tables.LISTING`. A folder's files come sorted by path; hidden files and
        folders (a name that starts with a dot) and files without an audio extension are left out.

    Raises
    ------
    MisuseError
        If the catalog does not exist, or the manifest is no manifest.
    EarmarkError
        If some of it cannot be listed.
    """
    batches: list[pa.RecordBatch] = []
    rows: list[TrackRef] = []
    found = 0
    for track in _tracks(catalog):
        rows.append(track)
        found += 1
        if len(rows) == _BATCH:
            batches.append(to_batch(rows))
            rows = []
        if progress is not None and found % 500 == 0:
            progress(found)
        if found == limit:
            break
    batches.append(to_batch(rows))
    if progress is not None:
        progress(found)
    return pa.Table.from_batches(batches, LISTING)


def _tracks(catalog: str) -> Iterator[TrackRef]:
    protocol, path = storage.split(catalog)
    below_bucket = path.partition("/")[2] if protocol != "file" else path
    suffix = PurePosixPath(below_bucket).suffix.lower()
    if protocol == "file":
        if not Path(path).exists():
            raise MisuseError(f"the catalog {catalog} does not exist")
        if Path(path).is_dir():
            return _local_folder(Path(path))
    elif suffix not in AUDIO_EXTENSIONS | MANIFEST_EXTENSIONS:
        return _remote_folder(catalog)
    if suffix in MANIFEST_EXTENSIONS:
        return read_manifest(catalog)
    if suffix in AUDIO_EXTENSIONS:
        return iter([stat_track(canonical(catalog), track_id_of(PurePosixPath(path).name))])
    raise MisuseError(
        f"the catalog {catalog} is neither a folder, nor a manifest (.csv, .parquet), nor an audio file"
    )


def _local_folder(root: Path) -> Iterator[TrackRef]:
    for path in sorted(_local_files(str(root))):
        relative = os.path.relpath(path, root)
        yield stat_track(storage.local_uri(path), track_id_of(relative))


def _local_files(root: str) -> Iterator[str]:
    """Paths of the audio files below a folder; links are followed, each real folder is entered once.

    Links to folders wait until all real folders are done, and then have their turn by name: neither a link
    that somebody adds nor the order of a disk's directories gives tracks another path, and so another id.
    """
    seen: set[tuple[int, int]] = set()
    links = [root]
    while links:
        yield from _real_files(heapq.heappop(links), seen, links)


def _real_files(folder: str, seen: set[tuple[int, int]], links: list[str]) -> Iterator[str]:
    """Paths of the audio files below a folder that was not `seen`; links to folders are put on the heap."""
    try:
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    if entry.is_symlink():
                        heapq.heappush(links, entry.path)
                    else:
                        yield from _real_files(entry.path, seen, links)
                elif os.path.splitext(entry.name)[1].lower() in AUDIO_EXTENSIONS:  # noqa: PTH122 (100 × faster)
                    yield entry.path
    except OSError as error:
        raise EarmarkError(f"cannot list {folder}: {error.strerror}; nothing was done") from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say: named like audio it is a track that cannot be read
        return False


def _remote_folder(catalog: str) -> Iterator[TrackRef]:
    protocol, path = storage.split(catalog)
    root = path.rstrip("/")
    entries = _s3_entries(root) if protocol == "s3" else _fsspec_entries(protocol, root)
    with storage.explained(catalog, "list"):
        for key, size, etag, modified_at in entries:
            # Just the root goes: m/x.mp3 and m//x.mp3 are two objects.
            relative = key[len(root) + 1 :]
            parts = PurePosixPath(relative).parts
            hidden = any(part.startswith(".") for part in parts)
            if hidden or key.endswith("/") or PurePosixPath(key).suffix.lower() not in AUDIO_EXTENSIONS:
                continue
            yield TrackRef(track_id_of(relative), f"{protocol}://{key}", size, etag, modified_at)


_Entry = tuple[str, int, str, float]


def _s3_entries(root: str) -> Iterator[_Entry]:
    """Objects below a prefix, page by page: s3fs's own find holds everything back until the last page."""
    fs = storage.filesystem("s3")
    bucket, _, prefix = root.partition("/")
    request = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    while True:
        page = patiently(lambda: fs.call_s3("list_objects_v2", **request))
        for item in page.get("Contents", ()):
            modified_at = item["LastModified"].timestamp()
            yield f"{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"'), modified_at
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _fsspec_entries(protocol: str, root: str) -> Iterator[_Entry]:
    fs = storage.filesystem(protocol)
    for path, info in sorted(patiently(lambda: fs.find(root, detail=True)).items()):
        yield (path, *facts(info))
