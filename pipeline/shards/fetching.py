"""Fetching: tracks are opened in the version that is then read, and retried when their store fails."""

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, TypeVar

from pipeline.catalogs.track_refs import IRREGULAR, MISSING, UNREADABLE, stat_track
from pipeline.log import about, get_logger
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.storage.errors import is_store_error, is_transient
from pipeline.storage.file_versions import etag_of
from pipeline.storage.retry import RetryBudget, add_jitter
from schemas.errors import NotAFileError, NotFoundError, ReadError
from schemas.tracks import TrackRef

log = get_logger(__name__)

T = TypeVar("T")

RETRY_PAUSES_S = (1.0, 4.0, 10.0)
"""Mean pauses before the rounds at the end of a shard that retry tracks whose store failed."""
MAX_FAILING_S = 120.0
"""Seconds without a success after which the rest of a shard is no longer tried."""
_FETCH_AHEAD = 2


@dataclass(frozen=True, slots=True)
class OpenTrack:
    """A track with its open file.

    Attributes
    ----------
    track : TrackRef
        The track in the version that the file holds, which may not be the one listed.
    file : BinaryIO
        The file.
    """

    track: TrackRef
    file: BinaryIO

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that a local file was not written to during the block; for objects, every read checks.

        Raises
        ------
        ReadError
            If it was, even if the block raised: the bytes read may come from two versions.
        """
        try:
            yield
        finally:
            if storage.is_local(self.track.uri) and etag_of(os.fstat(self.file.fileno())) != self.track.etag:
                raise _mark_transient(
                    ReadError(f"{self.track.uri} was written to while it was read; run again")
                )


Opener = Callable[[], OpenTrack]
TryOnce = Callable[[list[TrackRef], bool], Generator[tuple[TrackRef, T], None, None]]
"""Tries tracks, given as listed, once each; the second argument says whether they were tried before.

Yields each track in the version read, with its outcome.
"""


def open_track(track: TrackRef, *, again: bool = False) -> OpenTrack:
    """Open a track.

    Parameters
    ----------
    track : TrackRef
        The track as listed.
    again : bool
        It was tried before: look up its current version first.

    Raises
    ------
    NotFoundError, NotAFileError, ReadError
        If there is nothing to read, or the store does not return it.
    """
    if track.etag == UNREADABLE:
        raise ReadError(f"{track.uri} cannot be read: permission is denied; check its permissions")
    if track.etag == IRREGULAR:
        raise NotAFileError(
            f"{track.uri} is a directory, pipe, socket or device, not a file; name an audio file"
        )
    if track.etag == MISSING:
        raise NotFoundError(f"{track.uri} does not exist")
    try:
        with about(track=track.uri):
            return _open_local(track) if storage.is_local(track.uri) else _open_remote(track, again)
    except FileNotFoundError as error:
        raise NotFoundError(f"{track.uri} was listed but no longer exists") from error
    except Exception as error:
        # Store clients have errors of their own, as when credentials cannot be refreshed for a moment.
        if not is_store_error(error):
            raise
        failure = ReadError(f"{track.uri} cannot be read: {storage.reason(error)}; run again to retry")
        raise (_mark_transient(failure) if is_transient(error) else failure) from error


def _open_local(track: TrackRef) -> OpenTrack:
    _, path = storage.split(track.uri)
    # Without O_NONBLOCK, opening a pipe that has replaced the file would wait forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):  # `os.fdopen` refuses a directory without closing it
        os.close(descriptor)
        raise NotAFileError(f"{track.uri} is a directory, pipe, socket or device, not a file; remove it")
    file = os.fdopen(descriptor, "rb")
    etag = etag_of(status)
    return OpenTrack(replace(track, size=status.st_size, etag=etag, modified_at=status.st_mtime), file)


def _open_remote(track: TrackRef, again: bool) -> OpenTrack:
    if again:
        now = stat_track(track.uri, track.track_id)
        if now.etag == MISSING:
            raise FileNotFoundError(track.uri)
        track = replace(now, carried=track.carried)
    return OpenTrack(track, storage.open_binary(track.uri, track.size, etag=track.etag))


def fetch_ahead(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, Opener], None, None]:
    """Yield each track with a function that opens it, fetching the next remote ones in the background."""
    if not tracks or storage.is_local(tracks[0].uri):
        for track in tracks:
            yield track, partial(open_track, track, again=again)
        return
    with ThreadPoolExecutor(_FETCH_AHEAD) as pool:
        ahead: deque[tuple[TrackRef, Future[OpenTrack]]] = deque()
        for track in tracks:
            ahead.append((track, pool.submit(copy_context().run, open_track, track, again=again)))
            if len(ahead) > _FETCH_AHEAD:
                first, future = ahead.popleft()
                yield first, future.result
        for first, future in ahead:
            yield first, future.result


def try_in_rounds(
    tracks: list[TrackRef], once: TryOnce[T], watch: Stopwatch
) -> Iterator[tuple[TrackRef, T | ReadError]]:
    """Try all tracks, then retry those whose store failed, in rounds after growing pauses.

    Parameters
    ----------
    tracks : list of TrackRef
        The tracks as listed.
    once : callable
        Tries each of some tracks once, in their order.
    watch : Stopwatch
        Counts the pauses as the stage ``wait``, and the seconds of each track.

    Yields
    ------
    tuple of TrackRef and outcome
        Each track once: when it is read, when it fails for good, or after the last round.
    """
    budget = RetryBudget(MAX_FAILING_S)
    for number in range(len(RETRY_PAUSES_S) + 1):
        put_off: list[tuple[TrackRef, T | ReadError]] = []
        n_tried = 0
        # Closed even if this generator is abandoned midway: `once` holds threads or a child process.
        with closing(once(tracks, number > 0)) as outcomes:
            for listed, (track, outcome) in zip(tracks, _time_tracks(outcomes, watch), strict=False):
                n_tried += 1
                is_transient_failure = isinstance(outcome, ReadError) and outcome.transient
                budget.record(failed=is_transient_failure)
                if not is_transient_failure:
                    yield track, outcome
                    continue
                put_off.append((listed, outcome))
                if budget.is_exhausted:
                    log.warning("store failed for too long, tracks are left", tracks=len(tracks) - n_tried)
                    break
        if budget.is_exhausted or number == len(RETRY_PAUSES_S):
            yield from put_off
            yield from ((track, _not_tried_error(track)) for track in tracks[n_tried:])
            return
        if not put_off:
            return
        wait_s = add_jitter(RETRY_PAUSES_S[number])
        log.warning("store failed, retrying tracks", tracks=len(put_off), wait_s=wait_s, error=put_off[-1][1])
        with watch.stage("wait"):
            time.sleep(wait_s)
        tracks = [track for track, _ in put_off]


def _time_tracks(outcomes: Iterator[tuple[TrackRef, T]], watch: Stopwatch) -> Iterator[tuple[TrackRef, T]]:
    """Pass outcomes on, counting the seconds until each arrives as its track's."""
    start = time.perf_counter()
    for track, outcome in outcomes:
        seconds = time.perf_counter() - start
        watch.track(track.uri, seconds)
        log.debug("track read", track=track.uri, seconds=seconds)
        yield track, outcome
        start = time.perf_counter()


def _not_tried_error(track: TrackRef) -> ReadError:
    return _mark_transient(
        ReadError(
            f"{track.uri} was not read: its store has returned nothing for {MAX_FAILING_S:.0f} s; run again "
            "when the store is available"
        )
    )


def _mark_transient(error: ReadError) -> ReadError:
    error.transient = True
    return error
