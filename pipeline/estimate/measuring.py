"""Measures what the tracks of a sample take, each in the child process that also decodes suspects of a run.

A track that crashes its decoder or exceeds its limits ends the child process, not the estimate.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.shards.isolation import Isolated, ProcessDiedError, call_with_restarts, decoding_failure
from pipeline.shards.known_good import featurize_known_good
from pipeline.shards.limits import TrackLimits
from pipeline.shards.outcomes import TrackOutcome, featurize_tracks
from pipeline.shards.process_errors import TransferError
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.storage.requests import take_requests
from schemas.errors import EnvironmentFaultError, FeatureError
from schemas.features import FeatureSpec
from schemas.tracks import TrackRef

READ, DECODE, FEATURIZE = "read", "decode", "featurize"
_STAGES = {"fetch": READ, "wait": READ, "tags": DECODE, "log_mel": FEATURIZE, "descriptors": FEATURIZE}
"""The stages of an estimate, by those of a run."""
_SCHEDULING = Path("/proc/self/schedstat")


@dataclass(frozen=True, slots=True)
class MeasuredTrack:
    """A track of the sample and what it took.

    Attributes
    ----------
    track : TrackRef
        The track, in the version read.
    outcome : TrackFeatures or TrackError
        Its features, or why it has none.
    cpu_s : Mapping of str to float
        CPU seconds by stage: read, decode, featurize.
    blocked_s : float
        Seconds spent waiting for the store or the disk.
    requests : Mapping of str to int
        Requests to the store by kind.
    """

    track: TrackRef
    outcome: TrackOutcome
    cpu_s: Mapping[str, float]
    blocked_s: float
    requests: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Usage:
    """What this process has used so far: wall-clock, CPU, and seconds in which it could have run."""

    wall_s: float
    cpu_s: float
    queued_s: float

    @classmethod
    def now(cls) -> "_Usage":
        try:
            queued_s = int(_SCHEDULING.read_bytes().split()[1]) / 1e9
        except (OSError, IndexError):  # not Linux: then waiting for a CPU counts as waiting for the store
            queued_s = 0.0
        return cls(time.perf_counter(), time.process_time(), queued_s)

    def blocked_since(self, earlier: "_Usage") -> float:
        """Return the seconds since an earlier moment in which this process neither ran nor could have run."""
        busy_s = self.cpu_s - earlier.cpu_s + self.queued_s - earlier.queued_s
        return max(0.0, self.wall_s - earlier.wall_s - busy_s)


def measure_tracks(
    tracks: Sequence[TrackRef], spec: FeatureSpec, limits: TrackLimits
) -> Iterator[MeasuredTrack]:
    """Read, decode and featurize tracks one at a time.

    Parameters
    ----------
    tracks : sequence of TrackRef
        The tracks as listed.
    spec : FeatureSpec
        The features to compute.
    limits : TrackLimits
        Time and memory that a track may take.

    Yields
    ------
    MeasuredTrack
        Each track once, in their order.

    Raises
    ------
    EnvironmentFaultError, ImportError
        If this machine cannot do the work, whichever track it is given.
    """
    with closing(Isolated()) as process:
        is_warm = False
        for track in tracks:
            if not is_warm:
                _warm_up(process, track, spec)
                is_warm = True
            start = time.perf_counter()
            try:
                yield call_with_restarts(process, _measure_in_process, track, spec, limits)
                continue
            except ProcessDiedError as error:
                failure, is_warm = decoding_failure(error, track.uri, limits), False
            except TransferError as error:
                failure = FeatureError(f"{track.uri}: {error}")
            yield MeasuredTrack(track, failure, {DECODE: time.perf_counter() - start}, 0.0, {})


def _warm_up(process: Isolated, track: TrackRef, spec: FeatureSpec) -> None:
    """Load decoders and the client of the store, for which the first track would be charged.

    Raises
    ------
    EnvironmentFaultError
        If a known-good sound crashes the process.
    """
    try:
        call_with_restarts(process, _warm_up_in_process, track.uri, spec)
    except ProcessDiedError as error:
        raise EnvironmentFaultError(
            f"a known-good sound crashes the decoders of this machine ({error.how}); reinstall Earmark"
        ) from error


def _warm_up_in_process(uri: str, spec: FeatureSpec) -> None:
    featurize_known_good(spec)
    with suppress(Exception):  # if the store fails, reading the track says so
        storage.exists(uri)


def _measure_in_process(track: TrackRef, spec: FeatureSpec, limits: TrackLimits) -> MeasuredTrack:
    watch = Stopwatch(time.process_time)
    take_requests()
    start = _Usage.now()
    ((read, outcome),) = featurize_tracks([track], spec, watch, limits)
    blocked_s = _Usage.now().blocked_since(start)
    cpu_s: dict[str, float] = {}
    for stage, seconds in watch.seconds.items():
        name = _STAGES.get(stage, stage)
        cpu_s[name] = cpu_s.get(name, 0.0) + seconds
    return MeasuredTrack(read, outcome, cpu_s, blocked_s, take_requests())
