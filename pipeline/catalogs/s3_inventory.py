"""S3 Inventory: the list of a bucket's objects that S3 writes daily or weekly, read as a manifest."""

from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, ValidationError

from pipeline.catalogs.manifest_file import plain_name, read_file
from pipeline.catalogs.selection import Selection
from pipeline.storage import storage
from schemas.errors import MisuseError

_FACTS = ("size", "etag", "lastmodifieddate")
_NEVER_ENCODED = r"[^A-Za-z0-9%+/._~*'()!:@$&,;=-]|%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)"
"""Matches what URL-encoded text cannot contain: if one key matches, no key of the file is encoded."""


def is_inventory(names: list[str]) -> bool:
    """Whether a manifest's columns are those of an S3 Inventory, as spelled in its CSV or its Parquet."""
    plain = {plain_name(name) for name in names}
    return {"bucket", "key"} <= plain and "uri" not in names


class _DataFile(BaseModel):
    key: str


class _Manifest(BaseModel):
    """What matters of the ``manifest.json`` of an inventory."""

    bucket: str = Field(alias="destinationBucket")
    kind: str = Field(alias="fileFormat")
    columns: str = Field(alias="fileSchema")
    files: list[_DataFile]


def read_inventory(location: str) -> tuple[pa.Table, bool]:
    """Read all files of an inventory, which in CSV have no header.

    Parameters
    ----------
    location : str
        Its ``manifest.json``.

    Returns
    -------
    table : pyarrow.Table
        The inventory's columns.
    is_encoded : bool
        Whether the keys are URL-encoded.

    Raises
    ------
    MisuseError
        If it is not the manifest of an inventory, or the inventory's format is neither CSV nor Parquet.
    EarmarkError
        If the store does not return a file.
    """
    with storage.explain_errors(location, "read the manifest"):
        data = storage.read_bytes(location)
    try:
        manifest = _Manifest.model_validate_json(data)
    except ValidationError as error:
        raise MisuseError(f"{location} is not the manifest of an S3 Inventory") from error
    if manifest.kind not in {"CSV", "Parquet"}:
        raise MisuseError(
            f"the inventory {location} is in the format {manifest.kind}; let S3 write it as CSV or Parquet"
        )
    is_csv = manifest.kind == "CSV"
    header = [name.strip() for name in manifest.columns.split(",")] if is_csv else None
    folder = f"s3://{manifest.bucket.rpartition(':')[2]}"  # of arn:aws:s3:::bucket
    tables = [read_file(storage.join(folder, file.key), header) for file in manifest.files]
    tables = tables or [pa.table({name: pa.array([], pa.string()) for name in ("bucket", "key")})]
    return pa.concat_tables(tables, promote_options="default"), is_csv


def inventory_rows(table: pa.Table, location: str, selection: Selection, *, is_encoded: bool) -> pa.Table:
    """Convert an inventory to a manifest: ``uri`` and, if present, size, etag and modification time.

    An inventory lists every object of a bucket. As in a listing of the bucket, objects that are not audio are
    left out and counted. Older versions and delete markers are left out without being counted.

    Parameters
    ----------
    table : pyarrow.Table
        The inventory's columns.
    location : str
        Where it was read from.
    selection : Selection
        Decides which objects are tracks, and counts the others.
    is_encoded : bool
        Whether the keys may be URL-encoded.

    Raises
    ------
    MisuseError
        If a row has no bucket or key.
    """
    columns = {plain_name(name): table[name] for name in table.column_names}
    bucket, key = columns["bucket"].cast(pa.string()), columns["key"].cast(pa.string())
    _refuse_gaps(bucket, key, location)
    if is_encoded:
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
            raise MisuseError(f"row {gaps + 1} of the inventory {location} has no {name}; remove the row")


def _decode_keys(key: pa.ChunkedArray, location: str) -> pa.ChunkedArray:
    if pc.any(pc.match_substring_regex(key, _NEVER_ENCODED)).as_py():
        return key
    encoded = pc.match_substring_regex(key, "[%+]")
    if not pc.any(encoded).as_py():
        return key
    try:
        plain = [unquote_plus(text, errors="strict") for text in key.filter(encoded).to_pylist()]
    except UnicodeDecodeError as error:
        raise MisuseError(f"a key of the inventory {location} is not URL-encoded UTF-8: {error}") from error
    return pa.chunked_array(
        [pc.replace_with_mask(key.combine_chunks(), encoded.combine_chunks(), pa.array(plain, pa.string()))]
    )


def _current_rows(columns: dict[str, pa.ChunkedArray], n: int) -> pa.ChunkedArray:
    """Return a mask of the rows that are the latest version and not a delete marker."""
    kept = pa.chunked_array([pa.repeat(pa.scalar(True), n)])
    for name, wanted in (("islatest", "true"), ("isdeletemarker", "false")):
        if name in columns:
            said = pc.utf8_lower(pc.fill_null(columns[name].cast(pa.string()), wanted))
            kept = pc.and_(kept, pc.or_(pc.equal(said, wanted), pc.equal(said, "")))
    return kept


def _track_rows(key: pa.ChunkedArray, kept: pa.ChunkedArray, selection: Selection) -> pa.ChunkedArray:
    """Return a mask of the kept rows that are tracks."""
    taken = [
        bool(current) and not path.endswith("/") and selection.takes_key(path)
        for path, current in zip(key.to_pylist(), kept.to_pylist(), strict=True)
    ]
    return pa.chunked_array([pa.array(taken, pa.bool_())])
