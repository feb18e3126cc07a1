"""Manifests: CSV or Parquet files that list a catalog's tracks."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.bulk_stat import stat_listing
from pipeline.catalogs.manifest_columns import (
    pack_columns,
    parse_etags,
    parse_sizes,
    parse_times,
    rename_facts,
    to_text,
)
from pipeline.catalogs.manifest_file import is_inventory_manifest, plain_name, read_columns
from pipeline.catalogs.manifest_uris import resolve_uris
from pipeline.catalogs.s3_inventory import inventory_rows, is_inventory, read_inventory
from pipeline.catalogs.selection import Selection, is_audio_name
from pipeline.catalogs.track_refs import track_id_of
from pipeline.storage import storage
from schemas.errors import MisuseError
from schemas.tables import LISTING

_LIKELY = ("path", "file", "filename", "filepath", "location", "url", "key", "track", "name")
"""Column names that probably mean ``uri``, for the advice in an error message."""


def read_manifest(
    location: str,
    selection: Selection,
    *,
    limit: int | None,
    progress: Callable[[int], None],
) -> tuple[pa.Table, pa.Array]:
    """Read the tracks of a manifest, in its order.

    Parameters
    ----------
    location : str
        A ``.csv``, ``.csv.gz``, ``.tsv`` or ``.parquet`` file with a column ``uri`` (absolute, or relative to
        the manifest's folder) and optionally ``track_id``; a folder of such files that has such a name; or an
        S3 Inventory: its ``manifest.json``, or a file of it that has the names of the columns. With ``size``
        and ``etag``, as ``earmark scan --out`` writes them, no request is made for an object. Local files are
        always looked up, because their version is their size and modification time. All other columns are
        carried along as text.
    selection : Selection
        Selects the tracks of an inventory and counts its other objects; other manifests list only tracks.
    limit : int or None
        Read only this many tracks.
    progress : callable
        Called with the number of tracks looked up so far.

    Returns
    -------
    tracks : pyarrow.Table
        Schema `LISTING`, in the order of the manifest.
    unverified : pyarrow.Array of bool
        Which tracks have their size and version from the manifest, without a request to their store.

    Raises
    ------
    MisuseError
        If the file cannot be read, has no column ``uri``, names a track twice, has an empty uri or a web
        address, has an invalid size, or is remote and names local files.
    EarmarkError
        If a store cannot be accessed.
    """
    location = location.rstrip("/")
    if is_inventory_manifest(location):
        table, is_encoded = read_inventory(location)
    else:
        table, is_encoded = read_columns(location), not location.lower().endswith(".parquet")
    is_exact = is_inventory(table.column_names)
    if is_exact:
        table = inventory_rows(table, location, selection, is_encoded=is_encoded)
    table = rename_facts(table)
    _check_columns(table, location)
    if not (is_exact or _is_scan(table)):  # by hand, spaces slip in
        table = _trim_names(table)
    written = to_text(table["uri"])
    uris = resolve_uris(written, location)
    ids = _track_ids(table, written)
    _refuse_duplicates(ids, written, location)
    if limit is not None:
        table, uris, ids = table.slice(0, limit), uris.slice(0, limit), ids.slice(0, limit)
    n = len(uris)
    facts = [pa.nulls(n, LISTING.field(name).type) for name in ("size", "etag", "modified_at")]
    names = set(table.column_names) & {"uri", "track_id"}
    if {"size", "etag"} <= set(table.column_names):
        names |= set(table.column_names) & {"size", "etag", "modified_at"}
        facts = [parse_sizes(table["size"], location), parse_etags(table["etag"]), parse_times(table)]
    known = pc.and_(pc.is_valid(facts[0]), pc.is_valid(facts[1]))
    unverified = pc.and_(known, _is_remote(uris))
    columns = [ids, uris, *facts, pack_columns(table.drop_columns(list(names)))]
    schema = pa.schema([field.with_nullable(True) for field in LISTING])
    with storage.explain_errors(location, "look at the files of"):
        tracks = stat_listing(
            pa.Table.from_arrays(columns, schema=schema), pc.invert(unverified), progress=progress
        )
    return tracks.cast(LISTING), unverified


def _is_scan(table: pa.Table) -> bool:
    """Whether ``earmark scan --out`` may have written a manifest: names may begin or end with a space."""
    return {"track_id", "uri", "size", "etag"} <= set(table.column_names)


def _trim_names(table: pa.Table) -> pa.Table:
    """Return a manifest without spaces around its uris and track ids."""
    for name in {"uri", "track_id"} & set(table.column_names):
        trimmed = pc.utf8_trim_whitespace(to_text(table[name]))
        table = table.set_column(table.column_names.index(name), name, trimmed)
    return table


def _check_columns(table: pa.Table, location: str) -> None:
    names = table.column_names
    if "uri" not in names:
        meant = next((name for name in names if plain_name(name) == "uri"), None)
        meant = meant or next((name for name in names if plain_name(name) in _LIKELY), None)
        advice = f"; rename the column '{meant}' to 'uri' if it holds the tracks' locations" if meant else ""
        if any("/" in name or is_audio_name(name) for name in names):
            advice = (
                "; its first row is a track, so insert a row with the column names before it, or name the "
                "manifest.json if it is a file of an S3 Inventory"
            )
        have = ", ".join(names)
        raise MisuseError(f"the manifest {location} has no column 'uri' (its columns are {have}){advice}")
    for name in {"uri", "track_id"} & set(names):
        if not _is_text_or_integer(table[name].type):
            raise MisuseError(f"column '{name}' of the manifest {location} is {table[name].type}, not text")

    if {"size", "etag"} <= set(names):
        for name, what in (("size", "a number of bytes"), ("etag", "text")):
            kind = table[name].type
            if not (_is_text_or_integer(kind) or _is_number(kind) or pa.types.is_null(kind)):
                raise MisuseError(f"column '{name}' of the manifest {location} is {kind}, not {what}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text_or_integer(kind: pa.DataType) -> bool:
    # pandas 3 and Polars write large strings, and categories as dictionaries of strings.
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.types.is_integer(kind) or any(is_text(kind) for is_text in texts)


def _track_ids(table: pa.Table, written: pa.Array) -> pa.Array:
    """Return the manifest's ids; where it has none, hashes of its uris as written."""
    if "track_id" not in table.column_names:
        return pa.array([track_id_of(uri) for uri in written.to_pylist()], pa.string())
    given = to_text(table["track_id"])
    lacking = pc.equal(given, "")
    hashes = [track_id_of(uri) for uri in written.filter(lacking).to_pylist()]
    return pc.replace_with_mask(given, lacking, pa.array(hashes, pa.string()))


def _refuse_duplicates(ids: pa.Array, written: pa.Array, location: str) -> None:
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    seen: dict[str, int] = {}
    for row, track_id in enumerate(ids.to_pylist(), start=1):
        first = seen.setdefault(track_id, row)
        if first != row:
            what = f"{written[row - 1].as_py()}, track {track_id}"
            raise MisuseError(
                f"rows {first} and {row} of the manifest {location} are the same track ({what}); remove one"
            )


def _is_remote(uris: pa.Array) -> pa.Array:
    return pc.and_(
        pc.match_substring(uris, "://"), pc.invert(pc.match_substring_regex(uris, "^(?i:file)://"))
    )
