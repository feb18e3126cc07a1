"""Outcomes: each track of a shard becomes features, or the reason why there are none."""

from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import BinaryIO

from pipeline.audio.features.featurize import featurize_track
from pipeline.audio.tags.tags import read_tags
from pipeline.log import about, get_logger
from pipeline.shards.control import check_process, featurize_known_good
from pipeline.shards.fetching import Opener, fetched, in_rounds, open_track
from pipeline.shards.isolation import Isolated, ProcessDiedError, decoding_failure, surviving
from pipeline.shards.limits import TrackLimits
from pipeline.shards.transfer import TransferError, described
from pipeline.shards.uninterrupted import interrupts_heeded
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from schemas.errors import (
    DecoderCrashedError,
    EmptyFileError,
    EnvironmentFaultError,
    FeatureError,
    TimedOutError,
    TooMuchMemoryError,
    TrackError,
)
from schemas.features import FeatureSpec
from schemas.tracks import Tags, TrackFeatures, TrackRef

log = get_logger(__name__)

Outcome = TrackFeatures | TrackError
SUSPICIOUS = DecoderCrashedError, TimedOutError, TooMuchMemoryError, FeatureError
"""Failures that a machine or a library may be the reason of: it takes a second process to blame the track."""


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

    Raises
    ------
    EnvironmentFaultError, ImportError
        If no track is to blame: a known-good sound fails here too, or a module is missing.
    """
    checked = False

    def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, Outcome], None, None]:
        nonlocal checked
        for track, opener in fetched(tracks, again):
            with about(track=track.uri):
                read, outcome = _outcome(track, opener, spec, watch, limits)
            if _may_be_the_machine(outcome) and not checked:
                featurize_known_good(spec)
                checked = True
            yield read, outcome

    return in_rounds(tracks, once, watch)


@interrupts_heeded()
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
    except (EnvironmentFaultError, ImportError):  # no track is to blame for a module that is missing
        raise
    except Exception as error:
        outcome = _failure(error, track.uri)
    return track, outcome


def _features(file: BinaryIO, uri: str, spec: FeatureSpec, watch: Stopwatch) -> Outcome:
    """A track's features, or why there are none, with the tags that it has all the same."""
    try:
        return featurize_track(file, uri, spec, watch)
    except (EnvironmentFaultError, ImportError):
        raise
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
    return FeatureError(f"{uri}: {described(error)}")


def _may_be_the_machine(outcome: Outcome) -> bool:
    return isinstance(outcome, TrackError) and outcome.stage in ("decode", "featurize")


def isolated(
    tracks: list[TrackRef], spec: FeatureSpec, watch: Stopwatch, limits: TrackLimits
) -> Iterator[tuple[TrackRef, Outcome]]:
    """As `featurized`, in a process of its own, whose end says why a track fails."""
    with closing(Isolated()) as process:

        def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, Outcome], None, None]:
            for track in tracks:
                death: ProcessDiedError | None = None
                try:
                    with about(track=track.uri):
                        read, outcome, seconds = surviving(
                            process, _outcome_alone, track, again, spec, limits
                        )
                    watch.add(seconds)
                except ProcessDiedError as error:
                    read, outcome, death = track, decoding_failure(error, track.uri, limits), error
                    log.info("track ended its process", track=track.uri, error=outcome)
                except TransferError as error:
                    read, outcome = track, FeatureError(f"{track.uri}: {error}")
                if _may_be_the_machine(outcome):
                    check_process(process, spec, limits, None if death is None else death.code)
                if isinstance(outcome, TrackError) and death is not None and not death.from_outside:
                    with suppress(Exception):  # as in `_features`
                        outcome.tags = process.call(_tags_alone, track, again, limits)
                yield read, outcome

        yield from in_rounds(tracks, once, watch)


def _outcome_alone(
    track: TrackRef, again: bool, spec: FeatureSpec, limits: TrackLimits
) -> tuple[TrackRef, Outcome, dict[str, float]]:
    watch = Stopwatch()
    opener = partial(open_track, track, again=again)
    return *_outcome(track, opener, spec, watch, limits), dict(watch.seconds)


def _tags_alone(track: TrackRef, again: bool, limits: TrackLimits) -> Tags:
    opened = open_track(track, again=again)
    with limits.guarded(opened.file, remote=not storage.is_local(track.uri)) as file:
        return read_tags(file, track.uri)
