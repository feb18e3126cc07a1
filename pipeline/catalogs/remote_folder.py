"""A prefix of an object store as a catalog."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.catalogs.parallel_listing import Page, list_in_parallel, list_in_turn
from pipeline.catalogs.selection import Selection
from pipeline.catalogs.track_refs import batched, to_batch, track_id_of
from pipeline.storage import storage
from pipeline.storage.file_versions import FileStat, file_stat
from pipeline.storage.retry import with_retries
from schemas.tracks import TrackRef

_ROWS = 10_000


def list_remote_folder(
    catalog: str,
    selection: Selection,
    *,
    in_parallel: bool,
    progress: Callable[[int], None],
) -> Iterator[pa.RecordBatch]:
    """Yield the tracks below a prefix, some at a time, in the store's order.

    Parameters
    ----------
    catalog : str
        The URI of the prefix.
    selection : Selection
        Decides which objects are tracks, and counts the others.
    in_parallel : bool
        Whether to list S3 with several requests at a time, which needs keys in their order.
    progress : callable
        Called with the number of tracks found so far, of which some may be yielded later.

    Yields
    ------
    pyarrow.RecordBatch
        With the schema `schemas.tables.LISTING`.

    Raises
    ------
    OutOfOrderError
        If the store does not list keys in their order; only if `in_parallel`.
    EarmarkError
        If the store cannot list it.
    """
    protocol, path = storage.split(catalog)
    root = path.rstrip("/")
    n_found = 0

    def to_rows(entries: Iterable[tuple[str, FileStat]]) -> pa.RecordBatch:
        nonlocal n_found
        rows = to_batch(_tracks_of(entries, protocol, root, selection))
        n_found += rows.num_rows
        progress(n_found)
        return rows

    with storage.explain_errors(catalog, "list"):
        if protocol == "s3":
            yield from _list_s3(root, to_rows, in_parallel=in_parallel)
            return
        for entries in batched(_fsspec_entries(protocol, root), _ROWS):
            yield to_rows(entries)


def _tracks_of(
    entries: Iterable[tuple[str, FileStat]], protocol: str, root: str, selection: Selection
) -> Iterator[TrackRef]:
    for path, its_facts in entries:
        # Remove the root and one slash only: m/x.mp3 and m//x.mp3 are two objects.
        relative = path[len(root) + 1 :]
        if not path.endswith("/") and selection.takes_key(relative):
            yield TrackRef(track_id_of(relative), f"{protocol}://{path}", *its_facts)


def _list_s3(
    root: str,
    to_rows: Callable[[Iterable[tuple[str, FileStat]]], pa.RecordBatch],
    *,
    in_parallel: bool,
) -> Iterator[pa.RecordBatch]:
    """List page by page: s3fs's own find returns nothing until the last one."""
    bucket, _, below = root.partition("/")
    prefix = f"{below}/" if below else ""

    def list_page(after: str | None, token: str | None) -> Page[FileStat]:
        where = {"StartAfter": after} if after else {}
        where |= {"ContinuationToken": token} if token else {}
        page = s3_page({"Bucket": bucket, "Prefix": prefix} | where)
        items = [(item["Key"], s3_stat(item)) for item in page.get("Contents", ())]
        return Page(items, page["NextContinuationToken"] if page.get("IsTruncated") else None)

    def list_folders(prefix: str) -> tuple[list[str], bool]:
        page = s3_page({"Bucket": bucket, "Prefix": prefix, "Delimiter": "/"})
        folders = [each["Prefix"] for each in page.get("CommonPrefixes", ())]
        return folders, not page.get("Contents") and not page.get("IsTruncated")

    def page_rows(items: Sequence[tuple[str, FileStat]]) -> pa.RecordBatch:
        return to_rows((f"{bucket}/{key}", its_facts) for key, its_facts in items)

    if not in_parallel:
        return list_in_turn(list_page, page_rows)
    return list_in_parallel(list_page, list_folders, prefix, page_rows)


def s3_page(request: dict[str, str]) -> dict[str, Any]:
    """Return one page, of up to 1,000 objects, of a ``ListObjectsV2`` request."""
    fs = storage.filesystem("s3")
    page: dict[str, Any] = with_retries(lambda: fs.call_s3("list_objects_v2", **request))
    return page


def s3_stat(item: dict[str, Any]) -> FileStat:
    """Return size, etag and modification time of an object on a page."""
    return file_stat(item | {"size": item["Size"]})


def _fsspec_entries(protocol: str, root: str) -> Iterator[tuple[str, FileStat]]:
    fs = storage.filesystem(protocol)
    for path, info in sorted(with_retries(lambda: fs.find(root, detail=True)).items()):
        yield path, file_stat(info)
