"""A label names the version that it was made from, even if the file changes in the meantime."""

import io
import os
import pickle
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.audio.decode.source import Source
from pipeline.audio.features.featurize import featurize_track
from pipeline.catalogs.track_refs import MISSING, UNREADABLE, stat_track, to_batch
from pipeline.shards import fetching, outcomes
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.fetching import open_track, try_in_rounds
from pipeline.shards.limits import TrackLimits
from pipeline.shards.outcomes import featurize_tracks, is_suspect
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.storage.file_versions import etag_of
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import (
    DecodeError,
    EmptyFileError,
    FeatureError,
    NotAFileError,
    NotFoundError,
    ReadError,
)
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures, TrackRef
from tests.encoders import encode, sweep
from tests.slow_joins import read_whole

SPEC = FeatureSpec(segment_s=2, max_segments=1)
LIMITS = TrackLimits.of(RunConfig())


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "RETRY_PAUSES_S", (0.01, 0.01, 0.01))


def listed(path: Path, data: bytes) -> TrackRef:
    path.write_bytes(data)
    return stat_track(str(path), path.name)


def shard_of(tracks: list[TrackRef]) -> Shard:
    table = pa.Table.from_batches([to_batch(tracks)])
    table = table.append_column("attempts", pa.array([2] * len(tracks), pa.int32()))
    return Shard("000000", "run", SPEC.feature_set, table, datetime.now(UTC))


def test_only_what_a_node_may_have_caused_is_left_to_another_to_judge() -> None:
    """A node without the mount would fail its tracks for good; and a store that is away would be asked twice
    as often, for tracks of which each node knows that they are not there."""
    refused, away, gone = ReadError("access is denied"), ReadError("503"), NotFoundError("gone")
    away.transient = True
    assert [is_suspect(error, "etag") for error in (refused, away, gone)] == [True, False, True]
    assert [is_suspect(refused, UNREADABLE), is_suspect(gone, MISSING)] == [False, False]
    assert is_suspect(FeatureError("odd"), "etag")
    assert not is_suspect(DecodeError("it is a text file"), "etag")


def test_a_file_that_changed_since_the_listing_has_its_current_version(tmp_path: Path) -> None:
    """Fails: the tables give the label to the old content, and the next run labels the new one again."""
    same = listed(tmp_path / "same.wav", encode(sweep(22050, 3), 22050, "wav"))
    changed = listed(tmp_path / "changed.wav", encode(sweep(22050, 3), 22050, "wav"))
    emptied = listed(tmp_path / "emptied.wav", b"x")
    Path(changed.uri).write_bytes(encode(sweep(22050, 4), 22050, "wav"))
    Path(emptied.uri).write_bytes(b"")
    tables = Tables(str(tmp_path / "tables"))
    shard = shard_of([same, changed, emptied])
    result = featurize_shard(shard, tables, SPEC, lambda: None, limits=LIMITS)
    now = {uri: etag_of(Path(uri).stat()) for uri in (changed.uri, emptied.uri)}
    assert result.changed == {"changed.wav": now[changed.uri], "emptied.wav": now[emptied.uri]}
    for name in ("tracks", "features"):
        rows = read_whole(tables, name).to_pandas().set_index("track_id")
        assert rows.loc["changed.wav", "etag"] == now[changed.uri]
        assert rows.loc["same.wav", "etag"] == same.etag
    (failure,) = read_whole(tables, "failures").to_pylist()
    assert (failure["etag"], failure["error_type"]) == (now[emptied.uri], EmptyFileError.__name__)
    # Another version's attempts do not count.
    assert failure["attempts"] == 1
    read = dict(
        zip(*shard.as_read(result.changed).select(["track_id", "etag"]).to_pydict().values(), strict=True)
    )
    assert read == {"same.wav": same.etag, **result.changed}


def test_a_file_that_is_written_to_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: a file that is still being copied gets a label of half of it, under the etag of the whole."""
    track = listed(tmp_path / "a.wav", encode(sweep(22050, 3), 22050, "wav"))
    whole = encode(sweep(22050, 5), 22050, "wav")
    reads = []

    def copying(file: io.BufferedReader, *rest: Any) -> TrackFeatures:
        reads.append(1)
        features = featurize_track(file, *rest)
        if len(reads) == 1:
            Path(track.uri).write_bytes(whole)
            os.utime(track.uri, (1, 1))
        return features

    monkeypatch.setattr(outcomes, "featurize_track", copying)
    ((read, outcome),) = featurize_tracks([track], SPEC, Stopwatch(), LIMITS)
    assert isinstance(outcome, TrackFeatures)
    assert outcome.info.duration_s == 5
    assert read.etag == etag_of(Path(track.uri).stat())
    assert len(reads) == 2


def test_a_file_that_keeps_changing_is_a_retryable_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: a recording in progress blocks its shard forever, or is remembered as broken."""
    track = listed(tmp_path / "a.wav", encode(sweep(22050, 3), 22050, "wav"))
    reads = []

    def writing(file: io.BufferedReader, *rest: Any) -> TrackFeatures:
        reads.append(1)
        os.utime(track.uri, (len(reads), len(reads)))
        return featurize_track(file, *rest)

    monkeypatch.setattr(outcomes, "featurize_track", writing)
    ((_, outcome),) = featurize_tracks([track], SPEC, Stopwatch(), LIMITS)
    assert isinstance(outcome, ReadError)
    assert outcome.retryable
    assert len(reads) == 4


def test_missing_files_and_non_files_are_named(tmp_path: Path) -> None:
    """Fails: a run hangs on a pipe that replaced a file, or a deleted file looks like a broken one."""
    gone = listed(tmp_path / "gone.wav", b"x")
    Path(gone.uri).unlink()
    with pytest.raises(NotFoundError, match="was listed but no longer exists"):
        open_track(gone)
    pipe = listed(tmp_path / "pipe.wav", b"x")
    Path(pipe.uri).unlink()
    os.mkfifo(pipe.uri)
    with pytest.raises(NotAFileError, match="pipe"):
        open_track(pipe)


def test_a_folder_that_replaced_a_listed_file_is_named_and_closed(tmp_path: Path) -> None:
    """It was said to be worth a retry, and cost a file descriptor."""
    track = listed(tmp_path / "a.wav", b"x")
    Path(track.uri).unlink()
    Path(track.uri).mkdir()
    with pytest.raises(NotAFileError, match=f"{track.uri} is a directory"):
        open_track(track)
    held = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)]
    assert track.uri not in held


def test_missing_credentials_are_not_a_tracks_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore's error is not an OSError. Fails: every track on that node becomes a permanent failure."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    storage.filesystem.cache_clear()
    try:
        with pytest.raises(ReadError, match="credentials") as caught:
            open_track(TrackRef("a", "s3://bucket/a.mp3", 100, "0" * 32))
    finally:
        storage.filesystem.cache_clear()
    assert caught.value.retryable


def test_rounds_are_bounded_and_yield_each_track_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: a track is lost, duplicated, retried endlessly, or called broken because its store was away."""
    tracks = [TrackRef(str(number), f"s3://b/{number}", 1, "e") for number in range(6)]
    tries: dict[str, int] = {}

    def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, str | ReadError], None, None]:
        for track in tracks:
            assert again == (track.track_id in tries)
            tries[track.track_id] = tries.get(track.track_id, 0) + 1
            error = ReadError("away")
            error.transient = True
            hopeless, late = track.track_id == "1", track.track_id == "2" and tries["2"] < 3
            yield track, error if hopeless or late else "read"

    came = {track.track_id: outcome for track, outcome in try_in_rounds(tracks, once, Stopwatch())}
    assert list(came) == ["0", "3", "4", "5", "2", "1"]
    assert isinstance(came.pop("1"), ReadError)
    assert set(came.values()) == {"read"}
    assert tries == {"0": 1, "1": 4, "2": 3, "3": 1, "4": 1, "5": 1}


def test_a_track_is_not_charged_for_the_wait_of_another() -> None:
    """The report sent the curator to a small file that merely followed one whose store had failed."""
    tracks = [TrackRef(str(number), f"s3://b/{number}", 1, "e") for number in range(3)]

    def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, str | ReadError], None, None]:
        for track in tracks:
            error = ReadError("away")
            error.transient = True
            away = track.track_id == "0" and not again
            time.sleep(0.5 * away)
            yield track, error if away else "read"
            time.sleep(0.02)

    watch = Stopwatch()
    for _ in try_in_rounds(tracks, once, watch):
        time.sleep(0.5)
    assert watch.slowest[0][1] == "s3://b/0"
    assert watch.slowest[0][0] < 0.9 + watch.seconds["wait"]
    assert watch.slowest[1][0] < 0.4


def test_a_store_that_is_down_is_not_tried_for_every_track(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: each of ten thousand tracks waits for its own timeouts, and the run takes forever."""
    monkeypatch.setattr(fetching, "MAX_FAILING_S", -1.0)
    tracks = [TrackRef(str(number), f"s3://b/{number}", 1, "e") for number in range(9)]
    tried = []

    def once(tracks: list[TrackRef], again: bool) -> Generator[tuple[TrackRef, ReadError], None, None]:
        for track in tracks:
            tried.append(track)
            error = ReadError("down")
            error.transient = True
            yield track, error

    came = list(try_in_rounds(tracks, once, Stopwatch()))
    assert [track for track, _ in came] == tracks
    assert all(isinstance(outcome, ReadError) and outcome.retryable for _, outcome in came)
    assert "nothing" in str(came[-1][1])
    assert len(tried) == 1


def test_a_retried_shard_leaves_nothing_of_its_first_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: a track that could not be read at first is failed and labeled in one run, which then reports an
    error of its own."""
    track = listed(tmp_path / "a.wav", encode(sweep(22050, 3), 22050, "wav"))
    tables = Tables(str(tmp_path / "tables"))
    good = Path(track.uri).rename(tmp_path / "away.wav")
    other = listed(tmp_path / "b.wav", encode(sweep(22050, 3), 22050, "wav"))
    write = storage.write_bytes

    def full(location: str, data: bytes, **options: Any) -> None:
        if "/features/" in location:
            raise OSError(28, "No space left on device")
        write(location, data, **options)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            featurize_shard(
                shard_of([track, other]), tables, SPEC, lambda: None, limits=LIMITS, confirming=True
            )
    assert read_whole(tables, "failures").num_rows == 1
    good.rename(track.uri)
    done = featurize_shard(shard_of([track, other]), tables, SPEC, lambda: None, limits=LIMITS, retried=True)
    assert done.n_featurized == 2
    assert read_whole(tables, "failures").num_rows == 0


@pytest.mark.parametrize(
    ("failure", "transient"), [(ConnectionResetError("cut"), True), (PermissionError("refused"), False)]
)
def test_a_failed_read_in_a_decoder_says_whether_it_is_transient(failure: OSError, transient: bool) -> None:
    """Fails: a transient error in the middle of a large file is never retried, or a refusal is."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise failure

    source = Source(Failing(b"RIFF"), "s3://bucket/a.wav")
    assert source.read(4) == b""
    with pytest.raises(ReadError, match="could not be read") as caught:
        source.raise_if_failed()
    assert caught.value.transient == transient
    assert pickle.loads(pickle.dumps(caught.value)).transient == transient  # noqa: S301 (our own bytes)
