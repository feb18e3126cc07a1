"""What a run takes besides its tracks: constants, since a sample cannot show it.

CPU seconds were measured on two cores of an x86-64 server with ``tests/benchmarks/bench_estimate.py``, and on
runs of one track. Requests follow from the code, and a test compares them with a run on an S3 server.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

START_S = 9.0
"""Seconds until the first shard begins: about the CPU seconds of the driver, a local Ray and a worker."""
END_S = 2.0
"""Seconds from the last label to the end: accounting, index, report."""
DRIVER_CPU_S = 6.7
"""CPU seconds until the driver and Ray's own processes have started."""
DRIVER_CPU_PER_S = 0.03
"""CPUs that these processes take from then on."""
DRIVER_CPU_S_PER_TRACK = 2e-5
"""Listing, planning and cutting into shards."""
WORKER_CPU_S = 2.3
"""CPU seconds until a worker has loaded its code and decoders."""
ACTOR_CPU_S = 0.5
"""CPU seconds until an actor has loaded Ray, besides the model."""
STORE_CPU_S = 0.5
"""CPU seconds until a process has loaded the client of an object store."""
RUN_BYTES = 100_000
"""Report, pages and log of a run, without the model."""
RUN_BYTES_PER_TRACK = 140
"""Plan and index."""

LOOK_HOLDS_S = 2.0
"""Seconds for which a process does not look at the lease again, as the engine has it."""
RENEWAL_S = 5.0
"""Seconds between renewals of the lease, as the engine has it."""
_LOG_S = 60.0
_PER_RUN = Counter({"LIST": 18, "GET": 7, "PUT": 16})
"""Lease, model, format, plan, report, pages and index."""
_PER_LOOK = Counter({"LIST": 1, "GET": 1})
"""Of a worker or an actor at the lease, before it writes."""
_PER_SHARD = Counter({"GET": 1, "PUT": 1})
"""The part of tracks, and this again for the index."""
_PER_FEATURES_PART = Counter({"GET": 2, "HEAD": 2, "PUT": 1})
"""The part, and its keys for the index."""
_PER_LABELED_PART = Counter({"GET": 3, "PUT": 1})
"""The features, the labels, and these again to account for them and for the index."""
_PER_EMBEDDINGS_PART = Counter({"GET": 4, "HEAD": 4, "PUT": 1})
_PER_SEGMENT_LABELS_PART = Counter({"PUT": 1})
_PER_FAILURES_PART = Counter({"GET": 2, "PUT": 1})
_PER_RENEWAL = Counter({"LIST": 1, "GET": 1, "PUT": 1})
_PER_LOG = Counter({"PUT": 1})

_GIB = 1 << 30
_HEAD_MEMORY = ((1_000_000, 4 * _GIB), (3_000_000, 8 * _GIB), (10_000_000, 16 * _GIB))


@dataclass(frozen=True, slots=True)
class RunParts:
    """The objects that a run reads and writes.

    Attributes
    ----------
    n_shards : int
        Shards to featurize.
    n_features_parts : float
        Parts of ``features/`` of this run.
    n_labeled_parts : float
        Features parts to label, of this run and of earlier ones.
    n_embeddings_parts, n_segment_labels_parts, n_failures_parts : float
        Parts of these tables.
    n_looks : float
        Looks of workers and actors at the lease.
    wall_s : float
        Seconds that the run takes.
    """

    n_shards: int
    n_features_parts: float
    n_labeled_parts: float
    n_embeddings_parts: float
    n_segment_labels_parts: float
    n_failures_parts: float
    n_looks: float
    wall_s: float


def table_requests(parts: RunParts) -> dict[str, float]:
    """Return the requests by kind of a run to its tables on an object store; the plan not counted."""
    counts: defaultdict[str, float] = defaultdict(float)
    for each, n in (
        (_PER_RUN, 1.0),
        (_PER_SHARD, parts.n_shards),
        (_PER_LOOK, parts.n_looks),
        (_PER_FEATURES_PART, parts.n_features_parts),
        (_PER_LABELED_PART, parts.n_labeled_parts),
        (_PER_EMBEDDINGS_PART, parts.n_embeddings_parts),
        (_PER_SEGMENT_LABELS_PART, parts.n_segment_labels_parts),
        (_PER_FAILURES_PART, parts.n_failures_parts),
        (_PER_RENEWAL, parts.wall_s / RENEWAL_S),
        (_PER_LOG, parts.wall_s / _LOG_S),
    ):
        for kind, count in each.items():
            counts[kind] += count * n
    return dict(counts)


def head_memory_bytes(n_listed: int) -> int:
    """Return the memory that the head needs, where the driver runs, as docs/operations.md has it."""
    for most, size in _HEAD_MEMORY:
        if n_listed <= most:
            return size
    most, size = _HEAD_MEMORY[-1]
    return size * -(-n_listed // most)
