"""Manifests: a CSV or Parquet file that lists a catalog's tracks."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath

import pyarrow as pa

from pipeline.catalogs.track_refs import stat_track, track_id_of
from pipeline.stores import storage
from schemas.errors import MisuseError
from schemas.tracks import TrackRef

_STAT_THREADS = 32
_PROTOCOLS = {"file", "s3", "gs", "gcs", "az", "abfs", "abfss", "oss", "hdfs"}
"""What a manifest may name: disks and object stores, and no web addresses: its writer shall not have
workers ask the hosts of their network."""


def read_manifest(location: str) -> Iterator[TrackRef]:
    """The tracks of a manifest, in its order.

    Parameters
    ----------
    location : str
        A ``.csv`` or ``.parquet`` file with a column ``uri`` (absolute, or relative to the manifest's folder)
        and optionally ``track_id``; every other column is carried along as text.

    Yields
    ------
    TrackRef
        With size and version as the store has them now.

    Raises
    ------
    MisuseError
        If the file cannot be read, has no column ``uri``, names a track twice, leaves a uri empty, names a
        web address or, being remote, files of this machine's disk.
    """
    table = _read(location)
    table = table.rename_columns([name.strip() for name in table.column_names])
    if len(set(table.column_names)) < table.num_columns:
        raise MisuseError(f"the manifest {location} has two columns of the same name; name each but once")
    if "uri" not in table.column_names:
        have = ", ".join(table.column_names)
        raise MisuseError(f"the manifest {location} has no column 'uri' (its columns are {have})")
    for name in {"uri", "track_id"} & set(table.column_names):
        if not _is_text_or_integer(table[name].type):
            raise MisuseError(f"column '{name}' of the manifest {location} is {table[name].type}, not text")
    folder = location.rpartition("/")[0]
    rows = _rows(table, location, folder)
    _reject_doubles(rows, location)
    with ThreadPoolExecutor(_STAT_THREADS) as pool:
        # In slices, so that a limit does not wait for every file of a large manifest.
        for start in range(0, len(rows), 1000):
            chunk = rows[start : start + 1000]
            with storage.explained(location, "look at the files of"):
                stats = list(pool.map(lambda row: stat_track(row.uri, row.track_id), chunk))
            for row, stat in zip(chunk, stats, strict=True):
                yield replace(stat, carried=row.carried)


def _is_text_or_integer(kind: pa.DataType) -> bool:
    # pandas 3 and Polars write large strings, and categories as dictionaries of strings.
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.types.is_integer(kind) or any(is_text(kind) for is_text in texts)


def _read(location: str) -> pa.Table:
    with storage.explained(location, "read the manifest"):
        data = storage.read_bytes(location)
    try:
        if PurePosixPath(location).suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(io.BytesIO(data), use_threads=False)
        from pyarrow import csv

        names = csv.read_csv(io.BytesIO(data)).column_names
        # Ids such as 00123 and years stay text, exactly as written.
        options = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        )
        return csv.read_csv(io.BytesIO(data), convert_options=options)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise MisuseError(f"the manifest {location} cannot be read: {reason}") from error


def _rows(table: pa.Table, location: str, folder: str) -> list[TrackRef]:
    carried_names = [name for name in table.column_names if name not in {"uri", "track_id"}]
    rows = []
    for number, row in enumerate(table.to_pylist(), start=1):
        written = str(row["uri"] or "").strip()
        if not written:
            raise MisuseError(f"row {number} of the manifest {location} has no uri")
        uri = _resolve(written, location, folder, number)
        track_id = str(row["track_id"]) if row.get("track_id") not in {None, ""} else track_id_of(written)
        carried = {name: str(row[name]) for name in carried_names if row[name] is not None}
        rows.append(TrackRef(track_id, uri, 0, "", carried=carried))
    return rows


def _resolve(written: str, location: str, folder: str, number: int) -> str:
    remote = not storage.is_local(location)
    if "://" in written:
        if remote and storage.is_local(written):
            raise MisuseError(
                f"row {number} of the remote manifest {location} names a local file ({written}); "
                "list it in a local manifest instead"
            )
        protocol = storage.split(written)[0]
        if protocol not in _PROTOCOLS:
            raise MisuseError(
                f"row {number} of the manifest {location} names a {protocol}:// address, which is neither a "
                "file nor an object of a store; copy the track to a folder or a bucket first"
            )
        return written
    if not remote:
        path = PurePosixPath(storage.split(folder or ".")[1]) / written
        return storage.local_uri(str(path))
    if written.startswith("/") or ".." in PurePosixPath(written).parts:
        raise MisuseError(
            f"row {number} of the manifest {location} has the path {written}, which leaves the manifest's "
            "folder; write it as a full URI"
        )
    return storage.join(folder, written)


def _reject_doubles(rows: list[TrackRef], location: str) -> None:
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        first = seen.setdefault(row.track_id, number)
        if first != number:
            raise MisuseError(
                f"rows {first} and {number} of the manifest {location} are the same track ({row.track_id}); "
                "each track may stand there once"
            )
