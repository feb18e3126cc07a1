"""Outcomes: each track of a shard becomes features, or the reason why there are none."""

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial

from pipeline.featurizing.featurize import featurize_track
from pipeline.shards.fetching import Opener, fetched, in_rounds, open_track
from pipeline.shards.isolation import Isolated, ProcessDiedError, decoding_failure, surviving
from pipeline.shards.limits import TrackLimits
from pipeline.shards.stopwatch import Stopwatch
from pipeline.stores import storage
from schemas.errors import (
    DecoderCrashedError,
    EmptyFileError,
    FeatureError,
    TimedOutError,
    TooMuchMemoryError,
    TrackError,
)
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures, TrackRef

Outcome = TrackFeatures | TrackError
DEADLY = DecoderCrashedError, TimedOutError, TooMuchMemoryError
"""Failures of tracks that end the process which decodes them."""


def featurized(
    tracks: list[TrackRef], spec: FeatureSpec, watch: Stopwatch, limits: TrackLimits | None
) -> Iterator[tuple[TrackRef, Outcome]]:
    """Each track as it was read, and what came of it; one that takes more than the limits ends this process.

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

    def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, Outcome], None, None]:
        for track, opener in fetched(tracks, again):
            yield _outcome(track, opener, spec, watch, limits)

    return in_rounds(tracks, once, watch)


def _outcome(
    track: TrackRef,
    opener: Opener,
    spec: FeatureSpec,
    watch: Stopwatch,
    limits: TrackLimits | None,
) -> tuple[TrackRef, Outcome]:
    """A track in the version that was read, and its features, or why there are none."""
    outcome: Outcome
    try:
        with watch.stage("fetch"):
            opened = opener()
        track = opened.track
        remote = not storage.is_local(track.uri)
        with (
            limits.guarded(opened.file, remote=remote) if limits else opened.file as file,
            opened.unchanged(),
        ):
            if track.size == 0:
                raise EmptyFileError(f"{track.uri} is empty (0 bytes)")
            outcome = featurize_track(file, track.uri, spec, watch)
    except TrackError as error:
        outcome = error
    except MemoryError:
        outcome = TooMuchMemoryError(f"{track.uri} asks for more memory than there is; replace the file")
    except Exception as error:  # one bad file costs one row, whatever a decoder raises
        outcome = FeatureError(f"{track.uri}: {type(error).__name__}: {error}")
    return track, outcome


def isolated(
    tracks: list[TrackRef], spec: FeatureSpec, watch: Stopwatch, limits: TrackLimits
) -> Iterator[tuple[TrackRef, Outcome]]:
    """As `featurized`, in a process of its own: whose end says why a track fails."""
    with closing(Isolated()) as process:

        def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, Outcome], None, None]:
            for track in tracks:
                try:
                    outcome, seconds = surviving(process, _outcome_alone, track, again, spec, limits)
                except ProcessDiedError as death:
                    yield track, decoding_failure(death, track.uri, limits)
                else:
                    watch.add(seconds)
                    yield outcome

        yield from in_rounds(tracks, once, watch)


def _outcome_alone(
    track: TrackRef, again: bool, spec: FeatureSpec, limits: TrackLimits
) -> tuple[tuple[TrackRef, Outcome], dict[str, float]]:
    watch = Stopwatch()
    opener = partial(open_track, track, again=again)
    return _outcome(track, opener, spec, watch, limits), dict(watch.seconds)
