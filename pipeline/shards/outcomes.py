"""Outcomes: each track of a shard becomes features, or the reason why there are none."""

from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import BinaryIO

from pipeline.decoding.tags import read_tags
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
from schemas.tracks import Tags, TrackFeatures, TrackRef

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
            outcome = _features(file, track.uri, spec, watch)
    except Exception as error:
        outcome = _failure(error, track.uri)
    return track, outcome


def _features(file: BinaryIO, uri: str, spec: FeatureSpec, watch: Stopwatch) -> Outcome:
    """A track's features, or why there are none, with the tags that it has all the same."""
    try:
        return featurize_track(file, uri, spec, watch)
    except Exception as error:
        failure = _failure(error, uri)
        if failure.stage != "read":
            with suppress(Exception):  # the reason why the track failed is known, and the one that counts
                failure.tags = read_tags(file, uri)
        return failure


def _failure(error: Exception, uri: str) -> TrackError:
    """Why a track fails: one bad file costs one row, whatever a decoder raises."""
    if isinstance(error, TrackError):
        return error
    if isinstance(error, MemoryError):
        return TooMuchMemoryError(f"{uri} asks for more memory than there is; replace the file")
    return FeatureError(f"{uri}: {type(error).__name__}: {error}")


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
                    failure = decoding_failure(death, track.uri, limits)
                    if not death.from_outside:
                        with suppress(Exception):  # as in `_features`
                            failure.tags = process.call(_tags_alone, track, again, limits)
                    yield track, failure
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


def _tags_alone(track: TrackRef, again: bool, limits: TrackLimits) -> Tags:
    opened = open_track(track, again=again)
    with limits.guarded(opened.file, remote=not storage.is_local(track.uri)) as file:
        return read_tags(file, track.uri)
