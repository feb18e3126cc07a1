"""A shard of tracks becomes one part of ``tracks/``, ``failures/`` and ``features/``."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import pyarrow as pa

from pipeline import storage
from pipeline.descriptors import DESCRIPTOR_NAMES
from pipeline.failures import Failure, failure_rows
from pipeline.featurize import featurize_track
from pipeline.stopwatch import Stopwatch, slowest_of
from pipeline.tables import Tables, encode_part
from pipeline.track_refs import from_table, to_batch
from schemas.errors import EmptyFileError, FeatureError, NotFoundError, ReadError, TooShortError, TrackError
from schemas.features import FeatureSpec
from schemas.tables import LISTING, TRACKS, features_schema
from schemas.tracks import TrackFeatures, TrackRef

_ROW_GROUP_SEGMENTS = 64
_FETCH_AHEAD = 2

Check = Callable[[], None]
"""Called before each part is written; raises if this run may not write any more."""
Guard = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard and where its parts go.

    Attributes
    ----------
    name : str
        Name of the parts; a retried shard writes the same objects again.
    run : str
        The run it belongs to.
    feature_set : str
        Partition of the features.
    tracks : pyarrow.Table
        Schema `LISTING` and ``attempts``.
    listed_at : datetime
        When the catalog was listed.
    """

    name: str
    run: str
    feature_set: str
    tracks: pa.Table
    listed_at: datetime

    def parts(self, tables: Tables) -> dict[str, str]:
        """Locations of the parts it writes, by table."""
        return {
            "tracks": tables.part("tracks", self.name, run=self.run),
            "failures": tables.part("failures", self.name, run=self.run),
            "features": tables.part("features", self.name, feature_set=self.feature_set, run=self.run),
        }


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What featurizing a shard came to.

    Attributes
    ----------
    n_featurized, n_failed : int
        Tracks.
    n_segments : int
        Rows of the features part.
    audio_s : float
        Length of the segments that were read, seconds.
    seconds : dict
        Wall-clock seconds by stage.
    slowest : tuple of (float, str)
        Seconds and URI of the tracks that took longest, the slowest first.
    """

    n_featurized: int
    n_failed: int
    n_segments: int
    audio_s: float
    seconds: dict[str, float]
    slowest: tuple[tuple[float, str], ...] = ()


def featurize_shard(
    shard: Shard, tables: Tables, spec: FeatureSpec, check: Check, *, guard: Guard = nullcontext
) -> ShardResult:
    """Featurize the tracks of a shard and write its parts.

    Errors of a track become failures. The features part is written last: when it is there, so are the others.

    Parameters
    ----------
    shard : Shard
        The tracks.
    tables : Tables
        Where the parts go.
    spec : FeatureSpec
        Which features.
    check : callable
        Called before each write.
    guard : callable
        Gives a context in which each track is read and featurized, such as a watchdog.

    Raises
    ------
    OSError
        If a part cannot be written.
    """
    watch = Stopwatch()
    tracks = from_table(shard.tracks)
    times: list[tuple[float, str]] = []
    done, failures = _sorted_out(shard, _timed(_featurized(tracks, spec, watch, guard), times))
    parts = shard.parts(tables)
    rows = {
        "tracks": track_rows(tracks, {track.track_id: features for track, features in done}, shard.listed_at),
        "failures": failure_rows(failures),
        "features": _feature_rows(done, spec),
    }
    with watch.stage("write"):
        for table, part in parts.items():
            if rows[table].num_rows:
                data = encode_part(
                    rows[table], row_group_size=_ROW_GROUP_SEGMENTS if table == "features" else None
                )
                check()
                storage.write_bytes(part, data)
    segments = [segment for _, features in done for segment in features.segments]
    audio_s = sum(segment.duration_s for segment in segments)
    return ShardResult(
        len(done), len(failures), len(segments), audio_s, dict(watch.seconds), slowest_of(times)
    )


def _timed(
    outcomes: Iterable[tuple[TrackRef, TrackFeatures | TrackError]], times: list[tuple[float, str]]
) -> Iterator[tuple[TrackRef, TrackFeatures | TrackError]]:
    """The same outcomes; the seconds that each took to come go to `times`, with its URI."""
    start = time.perf_counter()
    for track, outcome in outcomes:
        times.append((time.perf_counter() - start, track.uri))
        yield track, outcome
        start = time.perf_counter()


def _sorted_out(
    shard: Shard, outcomes: Iterable[tuple[TrackRef, TrackFeatures | TrackError]]
) -> tuple[list[tuple[TrackRef, TrackFeatures]], list[Failure]]:
    """Tracks with their features, and failures."""
    rows = shard.tracks.select(["track_id", "attempts"]).to_pydict()
    attempts = dict(zip(rows["track_id"], rows["attempts"], strict=True))
    done: list[tuple[TrackRef, TrackFeatures]] = []
    failures: list[Failure] = []
    for track, outcome in outcomes:
        if isinstance(outcome, TrackFeatures):
            done.append((track, outcome))
            continue
        feature_set = shard.feature_set if isinstance(outcome, FeatureError | TooShortError) else None
        tried = attempts[track.track_id] + 1
        failures.append(
            Failure(track.track_id, track.uri, track.etag, tried, outcome, feature_set=feature_set)
        )
    return done, failures


def _featurized(
    tracks: list[TrackRef], spec: FeatureSpec, watch: Stopwatch, guard: Guard
) -> Iterator[tuple[TrackRef, TrackFeatures | TrackError]]:
    for track, opened in _fetched(tracks):
        outcome: TrackFeatures | TrackError
        try:
            with watch.stage("fetch"):
                file = opened()
            with file, guard():
                outcome = featurize_track(file, track.uri, spec, watch)
        except TrackError as error:
            outcome = error
        except Exception as error:  # one bad file costs one row, whatever a decoder raises
            outcome = FeatureError(f"{track.uri}: {type(error).__name__}: {error}")
        yield track, outcome


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
    if track.size == 0:
        raise EmptyFileError(f"{track.uri} is empty (0 bytes)")
    try:
        return storage.open_binary(track.uri, track.size)
    except FileNotFoundError as error:
        raise NotFoundError(f"{track.uri} was listed but is gone from the store") from error
    except Exception as error:  # a store's client raises many kinds, all of them about reading
        raise ReadError(f"{track.uri} cannot be read: {storage.reason(error)}") from error


def track_rows(tracks: list[TrackRef], done: dict[str, TrackFeatures], listed_at: datetime) -> pa.Table:
    """Rows of the table ``tracks``: as listed, with tags and audio facts of those that were read.

    Parameters
    ----------
    tracks : list of TrackRef
        The tracks.
    done : dict
        Features by track id.
    listed_at : datetime
        When the catalog was listed.
    """
    listing = pa.Table.from_batches([to_batch(tracks)], LISTING)
    rows = []
    for track in tracks:
        row: dict[str, object] = {"present": True, "listed_at": listed_at}
        if features := done.get(track.track_id):
            tags, info = features.tags, features.info
            row |= {
                "artist": tags.artist, "album": tags.album, "title": tags.title, "year": tags.year,
                "release_date": tags.release_date, "genre_tag": tags.genre_tag, "codec": info.codec,
                "duration_s": info.duration_s, "sample_rate": info.sample_rate, "channels": info.channels,
            }  # fmt: skip
        rows.append(row)
    facts = pa.Table.from_pylist(
        rows, pa.schema([field for field in TRACKS if field.name not in LISTING.names])
    )
    return pa.Table.from_arrays([*listing.columns, *facts.columns], schema=TRACKS)


def _feature_rows(done: list[tuple[TrackRef, TrackFeatures]], spec: FeatureSpec) -> pa.Table:
    rows = [
        {
            "track_id": track.track_id,
            "etag": track.etag,
            "segment": number,
            "start_s": segment.start_s,
            "duration_s": segment.duration_s,
            "log_mel": None if segment.log_mel is None else segment.log_mel.tobytes(),
            "n_frames": 0 if segment.log_mel is None else segment.log_mel.shape[1],
            "range_db": segment.range_db,
        }
        | dict(
            zip(DESCRIPTOR_NAMES, () if segment.descriptors is None else segment.descriptors, strict=False)
        )
        for track, features in done
        for number, segment in enumerate(features.segments)
    ]
    # Every part has every column: readers take the first part's columns for the table's.
    schema = features_schema(DESCRIPTOR_NAMES).with_metadata({"feature_spec": spec.model_dump_json()})
    return pa.Table.from_pylist(rows, schema)
