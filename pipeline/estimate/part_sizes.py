"""How the size of a part divides into what every part takes and what each of its tracks adds."""

from collections.abc import Mapping, Sequence
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


def measure_part(location: str, tracks_per_part: int) -> PartSize:
    """Measure a part by encoding its rows again, those of each track and those of some tracks together.

    Parameters
    ----------
    location : str
        The part; its rows have a ``track_id``.
    tracks_per_part : int
        Tracks in a part of the run: what they share, they share in each part.

    Returns
    -------
    PartSize
        For parts of as many tracks, or of all of them if there are fewer.
    """
    data = storage.read_bytes(location)
    with pq.ParquetFile(arrow_buffer(data)) as file:
        rows = file.read(use_threads=False)
    ids = np.array(rows["track_id"].to_pylist(), dtype=object)
    tracks = list(dict.fromkeys(ids))
    alone = {str(track): len(encode_part(_rows_of(rows, ids == track))) for track in tracks}
    if len(tracks) == 1:
        per_part = float(max(0, len(data) - rows.nbytes))
        return PartSize(per_part, {track: size - per_part for track, size in alone.items()})
    # n parts of one track take n - 1 times more than one part of n tracks takes by itself.
    least = (sum(alone.values()) - len(data)) / (len(tracks) - 1)
    by_track = {track: size - least for track, size in alone.items()}
    whole = [tracks[at : at + tracks_per_part] for at in range(0, len(tracks), tracks_per_part)]
    whole = [group for group in whole if len(group) == tracks_per_part] or [tracks]
    rest = [_encoded_size(rows, ids, group) - sum(by_track[str(each)] for each in group) for group in whole]
    return PartSize(float(np.mean(rest)), by_track)


def _encoded_size(rows: pa.Table, ids: NDArray[np.object_], tracks: Sequence[object]) -> int:
    return len(encode_part(_rows_of(rows, np.isin(ids, np.array(tracks, dtype=object)))))


def _rows_of(rows: pa.Table, chosen: NDArray[np.bool_]) -> pa.Table:
    return rows.filter(pa.array(chosen))
