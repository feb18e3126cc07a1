"""Listing a catalog: a folder, a bucket prefix, a manifest or a single file becomes `LISTING` rows.

The listing streams, so that millions of objects show progress, and it is all or nothing: a folder that cannot
be read is an error, because skipping it would look as if its tracks were gone.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

import pyarrow as pa

from pipeline.catalogs.local_folder import list_local_folder
from pipeline.catalogs.manifest import read_manifest
from pipeline.catalogs.manifest_file import is_manifest, list_parts
from pipeline.catalogs.parallel_listing import OutOfOrderError
from pipeline.catalogs.remote_folder import list_remote_folder
from pipeline.catalogs.selection import Selection, is_audio_name
from pipeline.catalogs.track_refs import IRREGULAR, batched, stat_track, to_batch, track_id_of
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.storage.local_kind import local_kind
from pipeline.storage.table_on_disk import collect_on_disk
from schemas.errors import MisuseError
from schemas.report import LeftOut
from schemas.tables import LISTING

log = get_logger(__name__)

_BATCH = 1_000

Progress = Callable[[int], None]
"""Called with the number of tracks found so far."""


@dataclass(frozen=True)
class Listing:
    """The listing of a catalog.

    Attributes
    ----------
    tracks : pyarrow.Table
        Schema `schemas.tables.LISTING`.
    left_out : LeftOut
        Counts of the files that are not tracks, by kind.
    unverified : pyarrow.Array of bool or None
        Which tracks have their version from a manifest, without a request to the store; None for no manifest.
    """

    tracks: pa.Table
    left_out: LeftOut = field(default_factory=LeftOut)
    unverified: pa.Array | None = None


def canonical(catalog: str) -> str:
    """Return a location in the form that tables record: absolute, without a trailing slash.

    Raises
    ------
    MisuseError
        If it is empty, or is neither a path nor in a store.
    """
    if not catalog.strip():
        raise MisuseError("the name of the catalog or the tables is empty; check that its variable is set")
    protocol, path = storage.split(catalog)
    if protocol not in storage.PROTOCOLS:
        raise MisuseError(
            f"{protocol}:// locations are not supported; use a path or a store such as s3://bucket/music"
        )
    if protocol not in {"file", "hdfs"} and path[:1] in ("", "/"):
        raise MisuseError(f"{catalog} names no bucket; name one, such as {protocol}://bucket/music")
    path = path.rstrip("/") or "/"
    if protocol != "file":
        return f"{protocol}://{path}"
    # Where ".." leads depends on links, so it cannot be resolved as text.
    return storage.local_uri(os.path.realpath(path) if ".." in path.split("/") else path)


def is_same(catalog: str, other: str) -> bool:
    """Whether two locations are the same: as text, through links, or as one folder mounted twice."""
    (protocol, path), (other_protocol, other_path) = (
        storage.split(canonical(location)) for location in (catalog, other)
    )
    if protocol != "file" or other_protocol != "file":
        stores = (_STORES.get(each, each) for each in (protocol, other_protocol))
        return path == other_path and len(set(stores)) == 1
    if os.path.realpath(path) == os.path.realpath(other_path):
        return True
    with contextlib.suppress(OSError, ValueError):
        return Path(path).samefile(other_path)
    return False


_STORES = {"gcs": "gs", "az": "abfs", "abfss": "abfs"}
"""Protocols that fsspec takes for the same store."""


def list_catalog(catalog: str) -> pa.Table:
    """List the tracks of a catalog; see `survey`, which also counts the files left out.

    Returns
    -------
    pyarrow.Table
        With the schema `schemas.tables.LISTING`.
    """
    return survey(catalog).tracks


def survey(catalog: str, *, limit: int | None = None, progress: Progress = lambda n_found: None) -> Listing:
    """List a catalog.

    Parameters
    ----------
    catalog : str
        A folder, a prefix of an object store (``s3://bucket/music``), a manifest (CSV or Parquet with a
        column ``uri``, or a folder of such files; see `pipeline.catalogs.manifest`), or one audio file.
    limit : int, optional
        Stop after this many tracks.
    progress : callable, optional
        Called from time to time with the number of tracks found so far.

    Returns
    -------
    Listing
        The tracks, sorted by path for a folder, and counts of the other files by kind: files without an audio
        extension, and what systems keep beside the music (``@eaDir``, ``._*``).

    Raises
    ------
    MisuseError
        If the catalog does not exist, or its manifest is not valid.
    EarmarkError
        If part of it cannot be listed.
    """
    if _is_manifest(catalog):
        selection = Selection()
        tracks, unverified = read_manifest(catalog, selection, limit=limit, progress=progress)
        progress(tracks.num_rows)
        return Listing(tracks, selection.left_out, unverified)
    try:
        return _survey(catalog, limit, progress, in_parallel=limit is None)
    except OutOfOrderError:
        log.info("the store lists keys out of order, listing one page after the other", catalog=catalog)
        return _survey(catalog, limit, progress, in_parallel=False)


def _survey(catalog: str, limit: int | None, progress: Progress, *, in_parallel: bool) -> Listing:
    """Survey a catalog that is no manifest."""
    selection = Selection()
    batches = _list_tracks(catalog, selection, limit, progress, in_parallel=in_parallel)
    tracks = collect_on_disk(_first(batches, limit), LISTING)
    progress(tracks.num_rows)
    return Listing(tracks, selection.left_out)


def _list_local(
    folder: str, selection: Selection, limit: int | None, progress: Progress
) -> Iterator[pa.RecordBatch]:
    n_found = 0
    for tracks in batched(islice(list_local_folder(folder, selection), limit), _BATCH):
        yield to_batch(tracks)
        n_found += len(tracks)
        progress(n_found)


def _first(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """Yield batches until they have as many rows as the limit, and none after it."""
    found = 0
    for batch in batches:
        first = batch if limit is None else batch.slice(0, limit - found)
        yield first
        found += first.num_rows
        if found == limit:
            break


def _is_manifest(catalog: str) -> bool:
    protocol, path = storage.split(catalog)
    if protocol != "file":
        return is_manifest(path.partition("/")[2])
    kind = local_kind(path)
    if kind is None:
        raise MisuseError(f"the catalog {catalog} does not exist")
    if not is_manifest(path):
        return False
    if kind == "folder":
        return bool(list_parts(path))
    if kind == "other":  # reading a pipe that nobody writes to would wait forever
        raise MisuseError(
            f"the manifest {catalog} is a pipe, socket or device, not a file; write it to a file"
        )
    return True


def _list_tracks(
    catalog: str,
    selection: Selection,
    limit: int | None,
    progress: Progress,
    *,
    in_parallel: bool,
) -> Iterator[pa.RecordBatch]:
    protocol, path = storage.split(catalog)
    if protocol == "file" and local_kind(path) == "folder":
        return _list_local(path, selection, limit, progress)
    if is_audio_name(path if protocol == "file" else path.partition("/")[2]):
        with storage.explain_errors(catalog, "look at"):
            track = stat_track(canonical(catalog), track_id_of(PurePosixPath(path).name))
        if protocol == "file" or track.etag != IRREGULAR:
            return iter([to_batch([track])])
    if protocol != "file":
        return list_remote_folder(catalog, selection, in_parallel=in_parallel, progress=progress)
    raise MisuseError(
        f"the catalog {catalog} is not a folder, a manifest (.csv, .tsv, .parquet) or an audio file; name one"
    )
