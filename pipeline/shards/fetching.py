"""Fetching: tracks are opened in the version that is then read, and tried again when their store fails."""

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

from pipeline.catalogs.tracks import etag_of, stat_track
from pipeline.log import about, get_logger
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.storage.errors import is_store_error, passes
from pipeline.storage.retry import ShardPatience, pause_s
from schemas.errors import NotAFileError, NotFoundError, ReadError
from schemas.tracks import TrackRef

log = get_logger(__name__)

T = TypeVar("T")

PAUSES_S = (1.0, 4.0, 10.0)
"""Mean pauses before tracks whose store failed are tried again, at the end of their shard."""
MOST_FAILING_S = 120.0
"""Seconds for which a store may fail, with no success between, until the rest of a shard is not tried."""
_FETCH_AHEAD = 2


@dataclass(frozen=True, slots=True)
class OpenTrack:
    """A track's file, opened.

    Attributes
    ----------
    track : TrackRef
        The track in the version that the file holds, which need not be the one that was listed.
    file : BinaryIO
        The file.
    """

    track: TrackRef
    file: BinaryIO

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Make sure that a local file was not written to in the block; of objects, each read does.

        Raises
        ------
        ReadError
            If it was, whatever else came of the block: what was read may be parts of two versions.
        """
        try:
            yield
        finally:
            if storage.is_local(self.track.uri) and etag_of(os.fstat(self.file.fileno())) != self.track.etag:
                raise _passing(ReadError(f"{self.track.uri} was written to while it was read; run again"))


Opener = Callable[[], OpenTrack]
Once = Callable[[list[TrackRef], bool], Generator[tuple[TrackRef, T], None, None]]
"""Given tracks as listed, and whether they were tried before: each as it was read, and what came of it."""


def open_track(track: TrackRef, *, again: bool = False) -> OpenTrack:
    """Open a track.

    Parameters
    ----------
    track : TrackRef
        The track as listed.
    again : bool
        It was tried before: what the store has of it now is asked for first.

    Raises
    ------
    NotFoundError, NotAFileError, ReadError
        If there is nothing to read, or the store does not hand it out.
    """
    if track.etag == "unreadable":
        raise ReadError(f"{track.uri} may not be read; check its permissions")
    if track.etag == "irregular":
        raise NotAFileError(
            f"{track.uri} is no file but a folder, a pipe, a socket or a device; name an audio file"
        )
    if track.etag == "missing":
        raise NotFoundError(f"{track.uri} does not exist")
    try:
        with about(track=track.uri):
            return _open_local(track) if storage.is_local(track.uri) else _open_remote(track, again)
    except FileNotFoundError as error:
        raise NotFoundError(f"{track.uri} was listed but is gone from the store") from error
    except Exception as error:
        # Clients of stores have errors of their own, as when no credentials are to be had for a moment.
        if not is_store_error(error):
            raise
        failure = ReadError(
            f"{track.uri} cannot be read: {storage.reason(error)}; run again to try once more"
        )
        raise (_passing(failure) if passes(error) else failure) from error


def _open_local(track: TrackRef) -> OpenTrack:
    _, path = storage.split(track.uri)
    # A pipe that has taken the file's place would be waited for without O_NONBLOCK.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise NotAFileError(f"{track.uri} is no file but a pipe, a socket or a device; remove it")
    etag = etag_of(status)
    return OpenTrack(replace(track, size=status.st_size, etag=etag, modified_at=status.st_mtime), file)


def _open_remote(track: TrackRef, again: bool) -> OpenTrack:
    if again:
        now = stat_track(track.uri, track.track_id)
        if now.etag == "missing":
            raise FileNotFoundError(track.uri)
        track = replace(now, carried=track.carried)
    return OpenTrack(track, storage.open_binary(track.uri, track.size, etag=track.etag))


def fetched(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, Opener], None, None]:
    """Each track with a function that opens it; the next remote ones are fetched meanwhile."""
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


def in_rounds(
    tracks: list[TrackRef], once: Once[T], watch: Stopwatch
) -> Iterator[tuple[TrackRef, T | ReadError]]:
    """Try tracks, and those whose store failed once more when the others are done, after growing pauses.

    Parameters
    ----------
    tracks : list of TrackRef
        The tracks as listed.
    once : callable
        Tries each of some tracks once, in their order.
    watch : Stopwatch
        Counts the pauses as the stage ``wait``, and what the tries of each track take.

    Yields
    ------
    tuple of TrackRef and what came of it
        Each track once: put off until it is read, fails for good, or all rounds are over.
    """
    patience = ShardPatience(MOST_FAILING_S)
    for number in range(len(PAUSES_S) + 1):
        put_off: list[tuple[TrackRef, T | ReadError]] = []
        n_tried = 0
        with closing(once(tracks, number > 0)) as outcomes:
            for listed, (track, outcome) in zip(tracks, _timed(outcomes, watch), strict=False):
                n_tried += 1
                passing = isinstance(outcome, ReadError) and outcome.passing
                patience.note(failed=passing)
                if not passing:
                    yield track, outcome
                    continue
                put_off.append((listed, outcome))
                if patience.is_over:
                    log.warning("store failed for too long, tracks are left", tracks=len(tracks) - n_tried)
                    break
        if patience.is_over or number == len(PAUSES_S):
            yield from put_off
            yield from ((track, _not_tried(track)) for track in tracks[n_tried:])
            return
        if not put_off:
            return
        wait_s = pause_s(PAUSES_S[number])
        log.warning("store failed, retrying tracks", tracks=len(put_off), wait_s=wait_s, error=put_off[-1][1])
        with watch.stage("wait"):
            time.sleep(wait_s)
        tracks = [track for track, _ in put_off]


def _timed(outcomes: Iterator[tuple[TrackRef, T]], watch: Stopwatch) -> Iterator[tuple[TrackRef, T]]:
    """The same outcomes; the seconds that each took to come are its track's."""
    start = time.perf_counter()
    for track, outcome in outcomes:
        seconds = time.perf_counter() - start
        watch.track(track.uri, seconds)
        log.debug("track read", track=track.uri, seconds=seconds)
        yield track, outcome
        start = time.perf_counter()


def _not_tried(track: TrackRef) -> ReadError:
    return _passing(
        ReadError(
            f"{track.uri} was not read: its store has handed out nothing for {MOST_FAILING_S:.0f} s; run "
            "again when the store is well"
        )
    )


def _passing(error: ReadError) -> ReadError:
    error.passing = True
    return error
