"""Outcomes: each track of a shard becomes features, or the reason why there are none."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import BinaryIO

from pipeline import storage
from pipeline.featurize import featurize_track
from pipeline.isolation import Isolated, ProcessDiedError, decoding_failure, surviving
from pipeline.limits import TrackLimits
from pipeline.stopwatch import Stopwatch
from schemas.errors import (
    DecoderCrashedError,
    EmptyFileError,
    FeatureError,
    NotAFileError,
    NotFoundError,
    ReadError,
    TimedOutError,
    TooMuchMemoryError,
    TrackError,
)
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures, TrackRef

Outcome = TrackFeatures | TrackError
DEADLY = DecoderCrashedError, TimedOutError, TooMuchMemoryError
"""Failures of tracks that end the process which decodes them."""

_FETCH_AHEAD = 2


def featurized(
    tracks: list[TrackRef], spec: FeatureSpec, watch: Stopwatch, limits: TrackLimits | None
) -> Iterator[tuple[TrackRef, Outcome]]:
    """Each track with what came of it; one that takes more than the limits ends this process.

    Parameters
    ----------
    tracks : list of TrackRef
        The tracks.
    spec : FeatureSpec
        Which features.
    watch : Stopwatch
        Counts the time of the stage ``fetch`` and those of `featurize_track`.
    limits : TrackLimits or None
        What a track may take.
    """
    for track, opened in _fetched(tracks):
        yield track, _outcome(track, opened, spec, watch, limits)


def _outcome(
    track: TrackRef,
    opened: Callable[[], BinaryIO],
    spec: FeatureSpec,
    watch: Stopwatch,
    limits: TrackLimits | None,
) -> Outcome:
    """The features of a track, or why there are none."""
    try:
        with watch.stage("fetch"):
            file = opened()
        remote = not storage.is_local(track.uri)
        with limits.guarded(file, remote=remote) if limits else file as readable:
            return featurize_track(readable, track.uri, spec, watch)
    except TrackError as error:
        return error
    except MemoryError:
        return TooMuchMemoryError(f"{track.uri} asks for more memory than there is; replace the file")
    except Exception as error:  # one bad file costs one row, whatever a decoder raises
        return FeatureError(f"{track.uri}: {type(error).__name__}: {error}")


def isolated(
    tracks: list[TrackRef], spec: FeatureSpec, watch: Stopwatch, limits: TrackLimits
) -> Iterator[tuple[TrackRef, Outcome]]:
    """As `featurized`, in a process of its own: whose end says why a track fails."""
    with closing(Isolated()) as process:
        for track in tracks:
            try:
                outcome, seconds = surviving(process, _outcome_alone, track, spec, limits)
            except ProcessDiedError as death:
                yield track, decoding_failure(death, track.uri, limits)
            else:
                watch.add(seconds)
                yield track, outcome


def _outcome_alone(
    track: TrackRef, spec: FeatureSpec, limits: TrackLimits
) -> tuple[Outcome, dict[str, float]]:
    watch = Stopwatch()
    return _outcome(track, partial(_open, track), spec, watch, limits), dict(watch.seconds)


def _fetched(tracks: list[TrackRef]) -> Iterator[tuple[TrackRef, Callable[[], BinaryIO]]]:
    """Each track with a function that gives its opened file; the next remote files are fetched meanwhile."""
    if not tracks or storage.is_local(tracks[0].uri):
        for track in tracks:
            yield track, lambda track=track: _open(track)  # type: ignore[misc]
        return
    with ThreadPoolExecutor(_FETCH_AHEAD) as pool:
        ahead: deque[tuple[TrackRef, Future[BinaryIO]]] = deque()
        for track in tracks:
            ahead.append((track, pool.submit(_open, track)))
            if len(ahead) > _FETCH_AHEAD:
                first, future = ahead.popleft()
                yield first, future.result
        for first, future in ahead:
            yield first, future.result


def _open(track: TrackRef) -> BinaryIO:
    """Open a track.

    Raises
    ------
    EmptyFileError, NotFoundError, ReadError
        If there is nothing to read, or the store does not hand it out.
    """
    if track.etag == "missing":
        raise NotFoundError(f"{track.uri} does not exist")
    if track.etag == "unreadable":
        raise ReadError(f"{track.uri} may not be read; check its permissions")
    if track.etag == "irregular":
        raise NotAFileError(f"{track.uri} is no file but a folder, a pipe, a socket or a device; remove it")
    if track.size == 0:
        raise EmptyFileError(f"{track.uri} is empty (0 bytes)")
    try:
        return storage.open_binary(track.uri, track.size)
    except FileNotFoundError as error:
        raise NotFoundError(f"{track.uri} was listed but is gone from the store") from error
    except Exception as error:  # a store's client raises many kinds, all of them about reading
        raise ReadError(f"{track.uri} cannot be read: {storage.reason(error)}") from error
