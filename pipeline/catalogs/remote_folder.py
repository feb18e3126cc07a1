"""A prefix of an object store as a catalog."""

from collections.abc import Iterator
from typing import Any

from pipeline.catalogs.selection import Selection
from pipeline.catalogs.track_refs import FileStat, file_stat, track_id_of
from pipeline.storage import storage
from pipeline.storage.retry import with_retries
from schemas.tracks import TrackRef


def list_remote_folder(catalog: str, selection: Selection) -> Iterator[TrackRef]:
    """Yield the tracks below a prefix, in the store's order.

    Parameters
    ----------
    catalog : str
        The URI of the prefix.
    selection : Selection
        Decides which objects are tracks, and counts the others.

    Raises
    ------
    EarmarkError
        If the store cannot list it.
    """
    protocol, path = storage.split(catalog)
    root = path.rstrip("/")
    entries = _s3_entries(root) if protocol == "s3" else _fsspec_entries(protocol, root)
    with storage.explain_errors(catalog, "list"):
        for key, its_facts in entries:
            # Remove the root and one slash only: m/x.mp3 and m//x.mp3 are two objects.
            relative = key[len(root) + 1 :]
            if not key.endswith("/") and selection.takes_key(relative):
                yield TrackRef(track_id_of(relative), f"{protocol}://{key}", *its_facts)


def _s3_entries(root: str) -> Iterator[tuple[str, FileStat]]:
    """Yield objects below a prefix, page by page: s3fs's own find returns nothing until the last page."""
    bucket, _, prefix = root.partition("/")
    request = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    while True:
        page = s3_page(request)
        for item in page.get("Contents", ()):
            yield f"{bucket}/{item['Key']}", s3_stat(item)
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def s3_page(request: dict[str, str]) -> dict[str, Any]:
    """Return one page, of up to 1,000 objects, of a ``ListObjectsV2`` request."""
    fs = storage.filesystem("s3")
    page: dict[str, Any] = with_retries(lambda: fs.call_s3("list_objects_v2", **request))
    return page


def s3_stat(item: dict[str, Any]) -> FileStat:
    """Return size, etag and modification time of an object on a page."""
    return item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp()


def _fsspec_entries(protocol: str, root: str) -> Iterator[tuple[str, FileStat]]:
    fs = storage.filesystem(protocol)
    for path, info in sorted(with_retries(lambda: fs.find(root, detail=True)).items()):
        yield path, file_stat(info)
