"""The mean embedding of each track, copied from the tables into the user's cache.

Reading the segments of a million tracks from Parquet takes most of a minute, comparing their means less than
a second. Each part of the embeddings has an Arrow file in the cache, named after the part and its version,
from which memory is mapped. A file that is missing or incomplete is made again.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.log import get_logger
from pipeline.storage.cache_folder import cache_folder
from pipeline.storage.table_on_disk import map_rows
from pipeline.tables.embeddings import different_lengths, read_vectors
from pipeline.tables.objects import ChosenParts, StoredObject, StoredObjects, partition_values
from pipeline.tables.read_ahead import read_ahead
from pipeline.tables.tables import VERSION_KEY, Tables

log = get_logger(__name__)

Watch = Callable[[int, int], None]
"""Called with the number of parts that have been copied and the number of those to copy."""

_TABLE = "embeddings"
_FORMAT = "1"
"""The version of the files' format, which is part of their names."""
_AHEAD = 4
_KEEP_S = 3600.0
"""Seconds for which a file that is no longer needed stays: another command may still be writing it."""
_KEEP_UNUSED_S = 90 * 86_400.0
"""Seconds for which copies of tables that are no longer queried are kept: the tables may be gone."""


def read_track_vectors(
    stored: StoredObjects, model: str, watch: Watch = lambda _done, _total: None
) -> list[pa.RecordBatch]:
    """Read the mean embeddings of all versions of tracks that a model has embedded.

    Parameters
    ----------
    stored : StoredObjects
        The objects of the tables.
    model : str
        The model's name with its hash.
    watch : callable
        Called before the parts that are not in the cache yet, and after each of them.

    Returns
    -------
    list of pyarrow.RecordBatch
        Columns ``track_id``, ``etag`` and ``vector``: float32, divided by its length, so NaN for a track
        without sound. They are mapped from files, so that only what is read takes memory.

    Raises
    ------
    EarmarkError
        If the store refuses, a part is damaged, or vectors differ in length.
    """
    parts = [part for part in stored.parts[_TABLE] if partition_values(part)["model"] == model]
    folder = _folder(stored.tables) / _digest(model)
    files = [folder / f"{_digest(_FORMAT, part.path, part.version)}.arrow" for part in parts]
    found = [_open(file) for file in files]
    missing = [number for number, rows in enumerate(found) if rows is None]
    if missing:
        watch(0, len(missing))
    copied = read_ahead(
        missing, lambda number: _copy(stored, parts[number], files[number]), lambda _: 0, _AHEAD
    )
    for done, (number, rows) in enumerate(copied, 1):
        found[number] = rows
        watch(done, len(missing))
    _remove_useless(folder, files)
    _remove_unused(folder.parent)
    batches = [batch for rows in found if rows is not None for batch in rows.to_batches()]
    if len({batch["vector"].type.list_size for batch in batches}) > 1:
        raise different_lengths(stored.tables, model)
    return batches


def remove_copies(tables: Tables) -> None:
    """Remove the copies of these tables from the cache of this user, if there are any."""
    shutil.rmtree(_folder(tables), ignore_errors=True)


def find_vector(tracks: Sequence[pa.RecordBatch], track_id: str, etag: str) -> NDArray[np.float32] | None:
    """Return the mean embedding of one version of a track; None if it has none."""
    for batch in tracks:
        found = pc.and_(pc.equal(batch["track_id"], track_id), pc.equal(batch["etag"], etag))
        if (place := pc.index(found, True).as_py()) >= 0:
            vector: NDArray[np.float32] = as_array(batch)[place]
            return vector
    return None


def as_array(batch: pa.RecordBatch) -> NDArray[np.float32]:
    """Return the vectors of a batch as rows of an array, without copying them."""
    values: NDArray[np.float32] = batch["vector"].flatten().to_numpy()
    return values.reshape(batch.num_rows, -1)


def _folder(tables: Tables) -> Path:
    return cache_folder() / "track_vectors" / _digest(tables.root)


def _digest(*names: str) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:32]


def _open(file: Path) -> pa.Table | None:
    """Map a file of the cache; None if it is missing or incomplete."""
    try:
        rows = map_rows(str(file))
        for batch in rows.select(VERSION_KEY).to_batches():
            batch.validate(full=True)  # a wrong offset would end the process
        return rows
    except FileNotFoundError:
        return None
    except (OSError, KeyError, pa.ArrowException) as error:
        log.info("a file of the cache cannot be read", file=str(file), error=error)
        return None


def _copy(stored: StoredObjects, part: StoredObject, file: Path) -> pa.Table:
    """Copy the mean embeddings of a part into a file, or only into memory if the cache cannot be written."""
    try:
        return _write(_means(stored, part), file)
    except OSError as error:  # those of the part are EarmarkErrors
        log.info("the cache cannot be written", file=str(file), error=error)
        return _means(stored, part).read_all()


def _write(rows: pa.RecordBatchReader, file: Path) -> pa.Table:
    """Write rows to a file, which appears when it is complete, and map it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".tmp-") as folder:
        written = Path(folder) / file.name
        with pa.OSFile(str(written), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
        with written.open("rb") as complete:
            os.fsync(complete.fileno())
        written.replace(file)
    return map_rows(str(file))


def _means(stored: StoredObjects, part: StoredObject) -> pa.RecordBatchReader:
    """Return the mean embeddings of the tracks of a part."""
    only = ChosenParts(stored.tables.root, {_TABLE: [part]})
    segments = _whole_tracks(read_vectors(only, partition_values(part)["model"]))
    batches = (_mean(keys, vectors) for keys, vectors in segments)
    first = list(islice(batches, 1))
    schema = first[0].schema if first else _schema(1)
    return pa.RecordBatchReader.from_batches(schema, chain(first, batches))


def _schema(n_numbers: int) -> pa.Schema:
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), n_numbers)
    return pa.schema([*((name, pa.string()) for name in VERSION_KEY), ("vector", vector)])


def _mean(keys: pa.RecordBatch, vectors: NDArray[np.float16]) -> pa.RecordBatch:
    """Return the directions of the mean vectors of tracks, of which the batch holds all segments."""
    starts = _starts(keys)
    summed = np.add.reduceat(vectors, starts, axis=0, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        summed /= np.linalg.norm(summed, axis=1, keepdims=True)
    schema = _schema(summed.shape[1])
    vector = pa.FixedSizeListArray.from_arrays(pa.array(summed.ravel()), type=schema.field("vector").type)
    columns = [*(keys[name].take(pa.array(starts)) for name in VERSION_KEY), vector]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _starts(keys: pa.RecordBatch) -> NDArray[np.int64]:
    """Return the numbers of the rows where another track begins."""
    changes = np.zeros(keys.num_rows, bool)
    changes[:1] = True
    for name in VERSION_KEY:
        column = keys[name]
        changes[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(changes)


def _whole_tracks(
    segments: Iterator[tuple[pa.RecordBatch, NDArray[np.float16]]],
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float16]]]:
    """Yield batches that end with the last segment of a track."""
    held: tuple[pa.RecordBatch, NDArray[np.float16]] | None = None
    for keys, vectors in segments:
        if held is not None:
            keys = pa.concat_batches([held[0], keys])
            vectors = np.concatenate([held[1], vectors])
        last = int(_starts(keys)[-1])
        if last:
            yield keys.slice(0, last), vectors[:last]
        held = keys.slice(last), vectors[last:]
    if held is not None:
        yield held


def _remove_useless(folder: Path, files: Sequence[Path]) -> None:
    """Remove files of parts that are gone, and what was left by processes that were killed."""
    there = set(folder.iterdir()) if folder.is_dir() else set()
    for path in there - set(files):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEEP_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove_unused(used: Path) -> None:
    """Remove the copies of tables that have not been used for months; note that these were used now."""
    with contextlib.suppress(OSError):
        os.utime(used)
        for path in used.parent.iterdir():
            if time.time() - path.stat().st_mtime > _KEEP_UNUSED_S:
                shutil.rmtree(path, ignore_errors=True)
