"""How the size of a part divides into what every part takes and what each of its tracks adds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.tables.tables import encode_part


@dataclass(frozen=True, slots=True)
class PartSize:
    """Size of the parts of a table.

    Attributes
    ----------
    per_part : float
        Bytes that a part takes whatever it holds, such as its footer.
    by_track : Mapping of str to float
        Bytes that each track adds, by its id.
    """

    per_part: float
    by_track: Mapping[str, float]


def measure_part(location: str) -> PartSize:
    """Measure a part by encoding the rows of each of its tracks as a part of their own.

    Parameters
    ----------
    location : str
        The part; its rows have a ``track_id``.

    Returns
    -------
    PartSize
        ``per_part`` and all of ``by_track`` add up to the size of the part.
    """
    data = storage.read_bytes(location)
    with pq.ParquetFile(arrow_buffer(data)) as file:
        rows = file.read(use_threads=False)
    ids = np.array(rows["track_id"].to_pylist(), dtype=object)
    alone = {str(track): len(encode_part(_rows_of(rows, ids == track))) for track in dict.fromkeys(ids)}
    n = len(alone)
    if n > 1:
        # n parts of one track take n - 1 times more than one part of n tracks takes by itself.
        per_part = (sum(alone.values()) - len(data)) / (n - 1)
    else:
        per_part = float(max(0, len(data) - rows.nbytes))
    return PartSize(per_part, {track: size - per_part for track, size in alone.items()})


def _rows_of(rows: pa.Table, chosen: NDArray[np.bool_]) -> pa.Table:
    return rows.filter(pa.array(chosen))
