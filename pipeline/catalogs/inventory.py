"""S3 Inventory: the lists of a bucket's objects that S3 writes every day, as the rows of a manifest."""

from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.manifest_file import plain_name
from pipeline.catalogs.selection import Selection
from schemas.errors import MisuseError

_FACTS = ("size", "etag", "lastmodifieddate")
_NEVER_ENCODED = r"[^A-Za-z0-9%+/._~*'()!:@$&,;=-]|%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)"
"""What no URL-encoded text holds: a key with any of it stands there as it is, and so do all of its file."""


def is_inventory(names: list[str]) -> bool:
    """Whether a manifest's columns are those of an S3 Inventory, as AWS spells them in CSV or in Parquet."""
    plain = {plain_name(name) for name in names}
    return {"bucket", "key"} <= plain and "uri" not in names


def inventory_rows(table: pa.Table, location: str, selection: Selection) -> pa.Table:
    """The tracks of an inventory as a manifest: ``uri`` and, if it has them, size, etag and time of writing.

    An inventory lists everything that is in a bucket. As in the bucket itself, what is not audio is left out
    and counted; so are older versions and delete markers, without being counted.

    Parameters
    ----------
    table : pyarrow.Table
        The inventory's columns.
    location : str
        Where it was read; the keys of a CSV are URL-encoded.
    selection : Selection
        Says which objects are tracks, and counts the others.

    Raises
    ------
    MisuseError
        If a row names no object.
    """
    columns = {plain_name(name): table[name] for name in table.column_names}
    bucket, key = columns["bucket"].cast(pa.string()), columns["key"].cast(pa.string())
    _refuse_gaps(bucket, key, location)
    if not location.lower().endswith(".parquet"):
        key = _decode_keys(key, location)
    kept = _current_rows(columns, len(key))
    kept = pc.and_(kept, _track_rows(key, kept, selection))
    rows = {"uri": pc.binary_join_element_wise("s3:/", bucket, key, "/")}
    rows |= {name: columns[name] for name in _FACTS if name in columns}
    return pa.table(rows).filter(kept)


def _refuse_gaps(bucket: pa.ChunkedArray, key: pa.ChunkedArray, location: str) -> None:
    for name, column in (("bucket", bucket), ("key", key)):
        gaps = pc.index(pc.equal(pc.fill_null(column, ""), ""), True).as_py()
        if gaps >= 0:
            raise MisuseError(f"row {gaps + 1} of the inventory {location} has no {name}")


def _decode_keys(key: pa.ChunkedArray, location: str) -> pa.ChunkedArray:
    if pc.any(pc.match_substring_regex(key, _NEVER_ENCODED)).as_py():
        return key
    encoded = pc.match_substring_regex(key, "[%+]")
    if not pc.any(encoded).as_py():
        return key
    try:
        plain = [unquote_plus(text, errors="strict") for text in key.filter(encoded).to_pylist()]
    except UnicodeDecodeError as error:
        raise MisuseError(f"a key of the inventory {location} is no URL-encoded UTF-8: {error}") from error
    return pa.chunked_array(
        [pc.replace_with_mask(key.combine_chunks(), encoded.combine_chunks(), pa.array(plain, pa.string()))]
    )


def _current_rows(columns: dict[str, pa.ChunkedArray], n: int) -> pa.ChunkedArray:
    """Which rows are no older version and no delete marker."""
    kept = pa.chunked_array([pa.repeat(pa.scalar(True), n)])
    for name, wanted in (("islatest", "true"), ("isdeletemarker", "false")):
        if name in columns:
            said = pc.utf8_lower(pc.fill_null(columns[name].cast(pa.string()), wanted))
            kept = pc.and_(kept, pc.or_(pc.equal(said, wanted), pc.equal(said, "")))
    return kept


def _track_rows(key: pa.ChunkedArray, kept: pa.ChunkedArray, selection: Selection) -> pa.ChunkedArray:
    taken = [
        bool(current) and not path.endswith("/") and selection.takes_key(path)
        for path, current in zip(key.to_pylist(), kept.to_pylist(), strict=True)
    ]
    return pa.chunked_array([pa.array(taken, pa.bool_())])
