"""What a run takes besides its tracks: measured once, since a sample cannot show it.

CPU seconds and sizes were measured with ``tests/benchmarks/bench_estimate.py`` on two cores of an x86-64
server; requests follow from the code, and a test compares them with a run on an S3 server.
"""

from collections import Counter
from dataclasses import dataclass

START_S = 9.0
"""Seconds until the first shard begins: the driver and a local Ray start. A running cluster takes less."""
END_S = 2.0
"""Seconds from the last label to the end: accounting, index, report."""
DRIVER_CPU_S = 8.0
"""CPU seconds of the driver and of Ray's own processes."""
DRIVER_CPU_S_PER_TRACK = 5e-4
"""Listing, planning, accounting and index."""
WORKER_CPU_S = 2.3
"""CPU seconds until a worker has loaded its code and decoders."""
RUN_BYTES = 150_000
"""Report, pages and log of a run, without the model."""
RUN_BYTES_PER_TRACK = 230
"""Plan and index."""

_RENEWAL_S = 5.0
_LISTED_PER_REQUEST = 1000
_PER_RUN = Counter({"LIST": 40, "HEAD": 4, "GET": 20, "PUT": 25})
_PER_SHARD = Counter({"LIST": 1, "GET": 3, "PUT": 2})
_PER_LABELED_PART = Counter({"LIST": 1, "GET": 4, "PUT": 1})
_PER_FAILURES_PART = Counter({"GET": 2, "PUT": 1})
_PER_RENEWAL = Counter({"LIST": 1, "GET": 1, "PUT": 1})

_GIB = 1 << 30
_HEAD_MEMORY = ((1_000_000, 4 * _GIB), (3_000_000, 8 * _GIB), (10_000_000, 16 * _GIB))


@dataclass(frozen=True, slots=True)
class RunParts:
    """The objects that a run reads and writes.

    Attributes
    ----------
    n_listed : int
        Tracks of the catalog.
    n_shards : int
        Shards to featurize.
    n_labeled_parts : int
        Features parts to label, of this run and of earlier ones.
    n_extra_parts : int
        Parts of ``segment_labels/`` and ``embeddings/``.
    n_failures_parts : float
        Parts of ``failures/``.
    wall_s : float
        Seconds that the run takes.
    """

    n_listed: int
    n_shards: int
    n_labeled_parts: int
    n_extra_parts: int
    n_failures_parts: float
    wall_s: float


def table_requests(parts: RunParts) -> dict[str, float]:
    """Return the requests by kind of a run whose tables are on an object store, without reads of tracks."""
    counts: Counter[str] = Counter()
    for each, n in (
        (_PER_RUN, 1.0),
        (_PER_SHARD, float(parts.n_shards)),
        (_PER_LABELED_PART, float(parts.n_labeled_parts)),
        (Counter({"PUT": 1}), float(parts.n_extra_parts)),
        (_PER_FAILURES_PART, parts.n_failures_parts),
        (_PER_RENEWAL, parts.wall_s / _RENEWAL_S),
    ):
        for kind, count in each.items():
            counts[kind] += count * n  # type: ignore[assignment]
    return dict(counts)


def listing_requests(n_listed: int) -> dict[str, float]:
    """Return the requests that list a prefix of an object store."""
    return {"LIST": float(max(1, -(-n_listed // _LISTED_PER_REQUEST)))}


def head_memory_bytes(n_listed: int) -> int:
    """Return the memory that the head needs, where the driver runs, as docs/operations.md has it."""
    for most, size in _HEAD_MEMORY:
        if n_listed <= most:
            return size
    most, size = _HEAD_MEMORY[-1]
    return size * -(-n_listed // most)
