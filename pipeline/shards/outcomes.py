"""Outcomes: each track of a shard becomes features, or the error that says why it has none."""

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from typing import BinaryIO

from pipeline.audio.features.featurize import featurize_track
from pipeline.audio.tags.tags import read_tags
from pipeline.catalogs.track_refs import NOT_READABLE
from pipeline.log import about, get_logger
from pipeline.shards.deferred_interrupts import deliver_interrupts
from pipeline.shards.fetching import Opener, fetch_ahead, open_track, try_in_rounds
from pipeline.shards.isolation import Isolated, ProcessDiedError, call_with_restarts, decoding_failure
from pipeline.shards.known_good import check_process, featurize_known_good
from pipeline.shards.limits import TrackLimits
from pipeline.shards.process_errors import TransferError, format_error
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from schemas.errors import (
    DecoderCrashedError,
    EmptyFileError,
    EnvironmentFaultError,
    FeatureError,
    NotFoundError,
    ReadError,
    TimedOutError,
    TooMuchMemoryError,
    TrackError,
)
from schemas.features import FeatureSpec
from schemas.tracks import Tags, TrackFeatures, TrackRef

log = get_logger(__name__)

TrackOutcome = TrackFeatures | TrackError
_SUSPECT_ERRORS = DecoderCrashedError, TimedOutError, TooMuchMemoryError, FeatureError


def is_suspect(error: TrackError, etag: str) -> bool:
    """Whether a machine or a library may have caused an error, which a second process must then confirm.

    So may a machine that lacks a mount, a route or permissions; but not if nothing was to be read when the
    track was listed, nor if the store was asked again and again.
    """
    if isinstance(error, ReadError | NotFoundError):
        is_transient = isinstance(error, ReadError) and error.transient
        return not (is_transient or etag in NOT_READABLE)
    return isinstance(error, _SUSPECT_ERRORS)


def featurize_tracks(
    tracks: list[TrackRef], spec: FeatureSpec, watch: Stopwatch, limits: TrackLimits
) -> Iterator[tuple[TrackRef, TrackOutcome]]:
    """Featurize tracks in this process; one that exceeds the limits ends it.

    Parameters
    ----------
    tracks : list of TrackRef
        The tracks.
    spec : FeatureSpec
        The features to compute.
    watch : Stopwatch
        Counts the time of the stage ``fetch`` and those of `featurize_track`.
    limits : TrackLimits
        Time and memory that a track may take.

    Returns
    -------
    iterator of (TrackRef, TrackOutcome)
        Each track in the version read, with its features or its error.

    Raises
    ------
    EnvironmentFaultError, ImportError
        If no track is to blame: a known-good sound fails here too, or a module is missing.
    """
    checked = False

    def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, TrackOutcome], None, None]:
        nonlocal checked
        for track, opener in fetch_ahead(tracks, again):
            with about(track=track.uri):
                read, outcome = _featurize(track, opener, spec, watch, limits)
            if _may_be_the_machine(outcome) and not checked:
                featurize_known_good(spec)
                checked = True
            yield read, outcome

    return try_in_rounds(tracks, once, watch)


@deliver_interrupts()
def _featurize(
    track: TrackRef,
    opener: Opener,
    spec: FeatureSpec,
    watch: Stopwatch,
    limits: TrackLimits,
) -> tuple[TrackRef, TrackOutcome]:
    """Open and featurize a track; return it in the version read, with its features or its error."""
    outcome: TrackOutcome
    try:
        with watch.stage("fetch"):
            opened = opener()
        track = opened.track
        remote = not storage.is_local(track.uri)
        with limits.enforce(opened.file, remote=remote) as file, opened.unchanged():
            if track.size == 0:
                raise EmptyFileError(f"{track.uri} is empty (0 bytes)")
            outcome = _featurize_or_fail(file, track.uri, spec, watch)
    except (EnvironmentFaultError, ImportError):  # a missing module is no track's fault
        raise
    except Exception as error:
        outcome = _to_track_error(error, track.uri)
    return track, outcome


def _featurize_or_fail(file: BinaryIO, uri: str, spec: FeatureSpec, watch: Stopwatch) -> TrackOutcome:
    """Return a track's features, or its error with the tags that it has nonetheless."""
    try:
        return featurize_track(file, uri, spec, watch)
    except (EnvironmentFaultError, ImportError):
        raise
    except Exception as error:
        failure = _to_track_error(error, uri)
        if failure.stage != "read":
            with suppress(Exception):  # the failure that counts is the one above
                failure.tags = read_tags(file, uri)
        return failure


def _to_track_error(error: Exception, uri: str) -> TrackError:
    """Return any exception as the track's error: one bad file costs one row, whatever a decoder raises."""
    if isinstance(error, TrackError):
        return error
    if isinstance(error, MemoryError):
        return TooMuchMemoryError(f"{uri} needs more memory than is available; replace the file")
    return FeatureError(f"{uri}: {format_error(error)}")


def _may_be_the_machine(outcome: TrackOutcome) -> bool:
    return isinstance(outcome, TrackError) and outcome.stage in ("decode", "featurize")


def featurize_isolated(
    tracks: list[TrackRef],
    spec: FeatureSpec,
    watch: Stopwatch,
    limits: TrackLimits,
    isolated: AbstractContextManager[Isolated] | None = None,
) -> Iterator[tuple[TrackRef, TrackOutcome]]:
    """Featurize tracks in a child process, as `featurize_tracks` does; its death shows why a track fails.

    The process is a new one that is ended with the last track, or that of a given context.
    """
    with isolated or closing(Isolated()) as process:

        def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, TrackOutcome], None, None]:
            for track in tracks:
                death: ProcessDiedError | None = None
                try:
                    with about(track=track.uri):
                        read, outcome, seconds = call_with_restarts(
                            process, _featurize_in_process, track, again, spec, limits
                        )
                    watch.add(seconds)
                except ProcessDiedError as error:
                    read, outcome, death = track, decoding_failure(error, track.uri, limits), error
                    log.info("track crashed its process", track=track.uri, error=outcome)
                except TransferError as error:
                    read, outcome = track, FeatureError(f"{track.uri}: {error}")
                if _may_be_the_machine(outcome):
                    check_process(process, spec, limits, None if death is None else death.code)
                if isinstance(outcome, TrackError) and death is not None and not death.from_outside:
                    # A new process reads the tags: the decoder crashed, the tag reader may not.
                    with suppress(Exception):  # as in `_featurize_or_fail`
                        outcome.tags = process.call(_read_tags_in_process, track, again, limits)
                yield read, outcome

        yield from try_in_rounds(tracks, once, watch)


def _featurize_in_process(
    track: TrackRef, again: bool, spec: FeatureSpec, limits: TrackLimits
) -> tuple[TrackRef, TrackOutcome, dict[str, float]]:
    watch = Stopwatch()
    opener = partial(open_track, track, again=again)
    return *_featurize(track, opener, spec, watch, limits), dict(watch.seconds)


def _read_tags_in_process(track: TrackRef, again: bool, limits: TrackLimits) -> Tags:
    opened = open_track(track, again=again)
    with limits.enforce(opened.file, remote=not storage.is_local(track.uri)) as file:
        return read_tags(file, track.uri)
