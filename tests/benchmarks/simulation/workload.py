"""How long shards and parts take on a simulated worker, and the limits of the store."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.label_part import LabelResult, LabelTask
from tests.benchmarks.simulation import inputs
from tests.benchmarks.simulation.inputs import Measured

_SEGMENT_S = 30.0
_LEASE_LOOK_S = inputs.LIST_S + inputs.FIRST_BYTE_S


@dataclass(frozen=True, slots=True)
class Duration:
    """What a piece of work takes: CPU seconds, and seconds of waiting for the store."""

    cpu_s: float
    store_s: float

    @property
    def total_s(self) -> float:
        """Seconds from its start to its end."""
        return self.cpu_s + self.store_s


class Workload:
    """The tracks of a catalog, the work that they are, and what was done of it.

    Parameters
    ----------
    measured : Measured
        What tracks take.
    kinds : ndarray of int
        Which measured track each track is like.
    prefixes : int
        Prefixes over which the catalog is spread: each answers so many GETs a second.

    Attributes
    ----------
    featurized, labeled : ndarray of int
        How often each track was finished.
    labels : dict of str to ndarray of int
        The tracks of each part of ``labels/``.
    requests : Counter of str
        GETs and PUTs sent to the store.
    """

    def __init__(self, measured: Measured, kinds: NDArray[np.int64], *, prefixes: int) -> None:
        tracks = measured.tracks
        self._measured = measured
        self._cpu_s = np.array([track.cpu_s for track in tracks])[kinds] + measured.write_cpu_s
        sizes = np.array([track.size_bytes for track in tracks])[kinds]
        self._fetch_s = inputs.FIRST_BYTE_S + sizes / inputs.STREAM_BYTES_PER_S
        self._n_segments = np.array([track.n_segments for track in tracks])[kinds]
        self._gets_per_s = prefixes * inputs.PREFIX_GETS_PER_S
        self._gets_end = 0.0
        self.featurized = np.zeros(len(kinds), np.int64)
        self.labeled = np.zeros(len(kinds), np.int64)
        self.labels: dict[str, NDArray[np.int64]] = {}
        self.requests: Counter[str] = Counter()

    def featurizing(self, shard: Shard, now: float) -> Duration:
        """Return what it takes to featurize a shard from now on."""
        rows = rows_of(shard)
        cpu_s = float(self._cpu_s[rows].sum())
        reading_s = pipelined_s(self._fetch_s[rows].tolist(), self._cpu_s[rows].tolist())
        self._gets_end = max(self._gets_end, now) + len(rows) / self._gets_per_s
        self.requests.update({"GET": len(rows) + 1, "PUT": 2, "LIST": 1})
        reading_s = max(reading_s, self._gets_end - now)
        part_s = len(rows) * self._measured.features_bytes / inputs.STREAM_BYTES_PER_S
        return Duration(cpu_s, reading_s - cpu_s + _LEASE_LOOK_S + 2 * inputs.PUT_S + part_s)

    def labeling(self, task: LabelTask) -> Duration:
        """Return what it takes to label a part."""
        rows = rows_of(task)
        self.requests.update({"GET": 2, "PUT": 1, "LIST": 1})
        read_s = inputs.FIRST_BYTE_S + len(rows) * self._measured.features_bytes / inputs.STREAM_BYTES_PER_S
        cpu_s = float(self._n_segments[rows].sum()) * self._measured.label_cpu_s
        return Duration(cpu_s, read_s + _LEASE_LOOK_S + inputs.PUT_S)

    def finish_shard(self, shard: Shard, duration: Duration) -> ShardResult:
        """Note that a shard is featurized, and return its result."""
        rows = rows_of(shard)
        self.featurized[rows] += 1
        n_segments = int(self._n_segments[rows].sum())
        seconds = {"fetch": duration.store_s, "decode": duration.cpu_s}
        uris = shard.tracks["uri"].slice(0, 20).to_pylist()
        slowest = tuple(zip(np.sort(self._cpu_s[rows])[::-1][:20].tolist(), uris, strict=False))
        return ShardResult(len(rows), 0, n_segments, n_segments * _SEGMENT_S, seconds, slowest=slowest)

    def finish_part(self, task: LabelTask, duration: Duration) -> LabelResult:
        """Note that a part is labeled, and return its result."""
        rows = rows_of(task)
        self.labeled[rows] += 1
        self.labels[task.name] = rows  # labeled again, a part replaces its object
        seconds = {"predict": duration.cpu_s, "read": duration.store_s}
        return LabelResult(len(rows), 0, 0, int(self._n_segments[rows].sum()), {"jazz": len(rows)}, seconds)

    def copies_of_labels(self) -> NDArray[np.int64]:
        """Return how often each track is in the labels that are left in the end."""
        copies = np.zeros(len(self.labeled), np.int64)
        for rows in self.labels.values():
            copies[rows] += 1
        return copies


def rows_of(work: Shard | LabelTask) -> NDArray[np.int64]:
    """Return the rows of the catalog that some work is about; see `catalog.make_listing`."""
    return np.array([int(track_id, 16) for track_id in work.tracks["track_id"].to_pylist()])


def pipelined_s(fetch_s: list[float], cpu_s: list[float]) -> float:
    """Return the seconds to fetch and decode tracks, of which some are fetched ahead.

    As in `pipeline.shards.fetching`: as many threads fetch, and a track is asked for as soon as no more than
    so many before it wait to be decoded.
    """
    ahead = inputs.FETCH_AHEAD
    threads, asked, end = [0.0] * ahead, [0.0] * (len(cpu_s) + ahead + 1), 0.0
    for index, (fetch, cpu) in enumerate(zip(fetch_s, cpu_s, strict=True)):
        thread = threads.index(min(threads))
        threads[thread] = fetched = max(threads[thread], asked[index]) + fetch
        end = max(end, fetched) + cpu
        asked[index + ahead + 1] = end
    return end
