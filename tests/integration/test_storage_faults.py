"""An object store that fails now and then, as they do: through a proxy that spoils a share of the answers."""

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from jobs.engine import lease as leases
from pipeline.catalogs.catalog import list_catalog
from pipeline.catalogs.track_refs import from_table, stat_track
from pipeline.shards import fetching
from pipeline.shards.fetching import open_track
from pipeline.shards.limits import TrackLimits
from pipeline.shards.outcomes import featurize_tracks
from pipeline.stopwatch import Stopwatch
from pipeline.storage import late_writes, storage
from pipeline.storage.errors import StoreFailingError, VersionChangedError
from pipeline.storage.s3 import REQUEST_TIMEOUT_S, CheckedS3
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import LeaseHeldError, NotFoundError, ReadError, StoreError
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures
from tests.e2e.earmark import earmark
from tests.encoders import encode
from tests.s3_proxy import KINDS, FaultyProxy, faulty_proxy
from tests.slow_joins import read_whole

pytestmark = pytest.mark.s3

SPEC = FeatureSpec(segment_s=2, max_segments=1)
LIMITS = TrackLimits.of(RunConfig())


@contextmanager
def through(proxy: FaultyProxy) -> Iterator[None]:
    """This process's object stores are reached through the proxy in the block."""
    before = os.environ["AWS_ENDPOINT_URL"]
    os.environ["AWS_ENDPOINT_URL"] = proxy.url
    storage.filesystem.cache_clear()
    try:
        yield
    finally:
        os.environ["AWS_ENDPOINT_URL"] = before
        storage.filesystem.cache_clear()


@pytest.fixture
def proxy(s3_environment: dict[str, str]) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_environment["AWS_ENDPOINT_URL"], seed=5) as running, through(running):
        yield running


def track_bytes(number: int, form: str, duration_s: float = 2.5) -> bytes:
    """A short piece that no other number has: tones with noise, encoded."""
    rng = np.random.default_rng(number)
    t = np.arange(round(22050 * duration_s)) / 22050
    tones = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 4000, 4))
    y = (0.15 * tones + rng.normal(0, 0.02, t.shape)).astype(np.float32)
    return encode(y, 22050, form)


def write_music(location: str, n_tracks: int) -> None:
    forms = ("flac", "mp3", "vorbis", "wav")

    def write(number: int) -> None:
        form = forms[number % len(forms)]
        suffix = "ogg" if form == "vorbis" else form
        storage.write_bytes(f"{location}/{number:03}.{suffix}", track_bytes(number, form))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(n_tracks)))


def table(root: str, name: str) -> pd.DataFrame:
    rows: pd.DataFrame = read_whole(Tables(root), name).to_pandas()
    return rows


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stale_listing"])
def test_each_kind_of_fault_is_got_over(bucket: str, proxy: FaultyProxy, kind: str) -> None:
    """A fifth of all answers spoiled: what is written is there and what is read is right, or the nightly job
    labels garbage, loses parts or gives up at the first hiccup."""
    rng = random.Random(3)
    blobs = {f"{bucket}/x/{number}.mp3": rng.randbytes(40_000) for number in range(7)}
    proxy.rate, proxy.kinds = 0.2, (kind,)
    for location, data in blobs.items():
        storage.write_bytes(location, data)
    assert list_catalog(f"{bucket}/x").num_rows == len(blobs)
    for track in from_table(list_catalog(f"{bucket}/x")):
        with storage.open_binary(track.uri, track.size, etag=track.etag) as file:
            assert file.read() == blobs[track.uri]
        with storage.open_binary(track.uri, track.size, etag=track.etag, whole_bytes=0) as file:
            file.seek(30_000)
            assert file.read() == blobs[track.uri][30_000:]
    for location in blobs:
        storage.delete(location)
    assert storage.list_names(f"{bucket}/x") == []
    assert proxy.injected[kind] >= 3, proxy.injected


def test_a_create_whose_answer_is_lost_knows_its_own_object(bucket: str, proxy: FaultyProxy) -> None:
    """A run must not be locked out by the lease that it made itself; nor take another's for its own."""
    proxy.rate, proxy.kinds = 0.6, ("lost_answer",)
    for number in range(5):
        location = f"{bucket}/create/{number}"
        assert storage.create(location, b"mine")
        assert not storage.create(location, b"another's")
        assert storage.read_bytes(location) == b"mine"
    assert proxy.injected["lost_answer"] >= 5


def test_a_lease_lives_through_faults(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of the answers spoiled: the lease is held, renewed, seen by others, released and held again;
    or a run ends because its store hiccupped, or two runs write at once."""
    monkeypatch.setattr(leases, "RENEW_S", 0.2)
    proxy.rate, proxy.kinds = 0.25, tuple(kind for kind in KINDS if kind != "stale_listing")
    said: list[str] = []
    for number in (1, 2, 3):
        with leases.hold(bucket, f"run-{number}", say=said.append) as lease:
            for _ in range(6):
                lease.check()
                time.sleep(0.1)
            proxy.rate = 0
            with (
                pytest.raises(LeaseHeldError),
                leases.hold(bucket, "intruder", say=said.append),
            ):
                pass
            proxy.rate = 0.25
            lease.check()
    assert not [sentence for sentence in said if "If-None-Match" in sentence]
    assert sum(proxy.injected.values()) > 3


def test_a_write_that_is_tried_again_looks_at_the_lease_each_time(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store away for longer than a lease lives: what the old run's worker had begun to write must not
    appear beside what the next run has written since."""
    monkeypatch.setattr(leases, "FRESH_S", 0.0)  # the next run waits for longer than a look holds
    tables, part = f"{bucket}/tables", f"{bucket}/tables/labels/part.parquet"
    storage.write_bytes(f"{tables}/_lease/00000001.json", b"{}")
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("internal_error",), "part.parquet"
    check = leases.Lease(tables, 1).check
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(storage.write_bytes, part, b"late", check=check)
        removing = pool.submit(storage.delete, part, check=check)
        while proxy.injected.total() < 4:
            time.sleep(0.01)
        storage.write_bytes(f"{tables}/_lease/00000002.json", b"{}")
        proxy.rate = 0.0
        for attempt in (writing, removing):
            with pytest.raises(leases.LeaseLostError):
                attempt.result()
    n_tries = sum("part.parquet" in path for path in proxy.paths)
    n_looks = sum("list-type=2" in path and "_lease" in path for path in proxy.paths)
    assert n_looks >= n_tries + 2, "tried again without a look at the lease"
    assert not storage.exists(part)


TakeOver = Callable[[str], leases.Lease]


@pytest.fixture
def taken_over(bucket: str, monkeypatch: pytest.MonkeyPatch) -> TakeOver:
    """Returns a lease that another run takes over during a kind of PUT, which lasts long."""
    monkeypatch.setattr(leases, "FRESH_S", 0.0)
    monkeypatch.setattr(late_writes, "LATE_S", 0.0)
    storage.write_bytes(f"{bucket}/_lease/00000001.json", b"{}")

    def lose_during(kind: str) -> leases.Lease:
        put = getattr(CheckedS3, kind)

        def slow_put(fs: CheckedS3, path: str, data: bytes) -> object:
            storage.write_bytes(f"{bucket}/_lease/00000002.json", b"{}")
            return put(fs, path, data)

        monkeypatch.setattr(CheckedS3, kind, slow_put)
        return leases.Lease(bucket, 1)

    return lose_during


def test_a_late_part_is_taken_back(bucket: str, taken_over: TakeOver) -> None:
    """It would appear beside what the next run has labeled again by then: each of its tracks twice."""
    part = f"{bucket}/labels/part.parquet"
    with pytest.raises(leases.LeaseLostError):
        storage.write_bytes(part, b"late", check=taken_over("put_new_once").check)
    assert not storage.exists(part)


def test_a_part_that_was_there_before_a_late_upload_stays(bucket: str, taken_over: TakeOver) -> None:
    """A node was thought lost, and the run was done without it: its late copy of a part must not cost the
    part, which the next run counts on."""
    part = f"{bucket}/labels/part.parquet"
    storage.write_bytes(part, b"done again elsewhere")
    with pytest.raises(leases.LeaseLostError):
        storage.write_bytes(part, b"late", check=taken_over("put_once").check)
    assert storage.read_bytes(part) == b"late"


def test_a_late_part_stays_while_the_lease_cannot_be_looked_at(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails for a moment would cost work of a run that holds its lease."""
    monkeypatch.setattr(late_writes, "LATE_S", 0.0)
    part = f"{bucket}/labels/part.parquet"
    looks: list[None] = []

    def check() -> None:
        looks.append(None)
        if len(looks) == 2:
            raise StoreError("the store answered with 503")

    with pytest.raises(StoreError):
        storage.write_bytes(part, b"ours", check=check)
    assert storage.read_bytes(part) == b"ours"


def test_only_late_writes_look_again_and_no_later_than_the_next_run_waits(bucket: str) -> None:
    """Each part would cost two requests more; or what is late would be missed."""
    looks: list[None] = []
    storage.write_bytes(f"{bucket}/part", b"in time", check=lambda: looks.append(None))
    assert len(looks) == 1
    assert late_writes.LATE_S == REQUEST_TIMEOUT_S


def test_a_body_cut_short_in_silence_is_read_again(bucket: str, proxy: FaultyProxy) -> None:
    """Half an object that is said to be the whole must never be decoded: half a song would get the label."""
    data = track_bytes(1, "wav")
    storage.write_bytes(f"{bucket}/m/a.wav", data)
    (track,) = from_table(list_catalog(f"{bucket}/m"))
    proxy.rate, proxy.kinds = 1.0, ("truncated_body",)
    with pytest.raises(StoreFailingError, match=f"{len(data) // 2} of {len(data)} bytes"):
        storage.open_binary(track.uri, track.size, etag=track.etag)
    with pytest.raises(StoreFailingError, match="MD5"):
        storage.read_bytes(track.uri)


def test_a_tag_that_is_no_md5_does_not_keep_an_object_from_being_read(bucket: str) -> None:
    """Some stores and encryptions have tags of 32 digits that are no MD5: their parts must be readable."""

    class Tagged(CheckedS3):
        async def _answered(self, request: dict[str, str]) -> object:
            answer = await super()._answered(request)
            return type(answer)(answer.data, "0" * 32, maybe_md5=True)

    storage.write_bytes(f"{bucket}/x", b"as it is")
    assert Tagged(skip_instance_cache=True).fetch(storage.split(f"{bucket}/x")[1]) == b"as it is"


def test_a_large_track_is_never_read_from_two_versions(bucket: str) -> None:
    """Overwritten between two range requests: half of one song and half of another must not get a label."""
    location = f"{bucket}/m/a.wav"
    storage.write_bytes(location, b"a" * 3_000_000)
    track = stat_track(location, "a")
    with storage.open_binary(location, track.size, etag=track.etag, whole_bytes=0) as file:
        assert file.read(10) == b"a" * 10
        storage.write_bytes(location, b"b" * 3_000_000)
        with pytest.raises(VersionChangedError):
            file.read()


def test_a_large_track_that_changed_is_read_again_as_it_is_now(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more than 32 MB only ranges are read: the new version's must be, from the first to the last."""
    monkeypatch.setattr(fetching, "RETRY_PAUSES_S", (0.1,))
    rng = np.random.default_rng(0)
    old, new = (
        encode((0.1 * rng.standard_normal((44100 * seconds, 2))).astype(np.float32), 44100, "wav")
        for seconds in (200, 210)
    )
    location = f"{bucket}/m/long.wav"
    storage.write_bytes(location, old)
    listed = from_table(list_catalog(f"{bucket}/m"))
    assert listed[0].size > storage.WHOLE_OBJECT_BYTES
    storage.write_bytes(location, new)
    ((track, outcome),) = featurize_tracks(listed, SPEC, Stopwatch(), LIMITS)
    assert isinstance(outcome, TrackFeatures)
    assert outcome.info.duration_s == 210
    assert track == stat_track(location, track.track_id)


def test_a_track_that_changed_since_the_listing_is_read_as_it_is_now(bucket: str) -> None:
    """What a label was made from must be what its etag names, or the next night labels it again, for ever."""
    write_music(f"{bucket}/m", 3)
    listed = from_table(list_catalog(f"{bucket}/m"))
    new = track_bytes(99, "flac")
    storage.write_bytes(listed[0].uri, new)
    storage.delete(listed[1].uri)
    outcomes = {
        track.uri: (track, outcome) for track, outcome in featurize_tracks(listed, SPEC, Stopwatch(), LIMITS)
    }
    track, outcome = outcomes[listed[0].uri]
    assert isinstance(outcome, TrackFeatures)
    assert (track.etag, track.size) == (stat_track(track.uri, "").etag, len(new))
    assert track.etag != listed[0].etag
    assert isinstance(outcomes[listed[1].uri][1], NotFoundError)
    assert outcomes[listed[2].uri][0] == listed[2]


def test_tracks_of_a_failing_store_are_put_off_and_their_neighbors_are_not(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad disk in a store must not hold up the shard; a track that can be read later must be."""
    monkeypatch.setattr(fetching, "RETRY_PAUSES_S", (0.2, 0.2))
    write_music(f"{bucket}/m", 6)
    listed = from_table(list_catalog(f"{bucket}/m"))
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("slow_down",), "001.mp3"
    order = []
    for track, outcome in featurize_tracks(listed, SPEC, Stopwatch(), LIMITS):
        assert isinstance(outcome, TrackFeatures)
        order.append(track.uri.rsplit("/")[-1])
        if len(order) == 5:
            proxy.rate = 0.0
    assert order[-1] == "001.mp3"


def test_what_stays_away_is_a_failure_that_the_next_run_tries_again(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that refuses one key all night costs that key's label, with the reason, and no more."""
    monkeypatch.setattr(fetching, "RETRY_PAUSES_S", (0.1,))
    write_music(f"{bucket}/m", 3)
    listed = from_table(list_catalog(f"{bucket}/m"))
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("internal_error",), "001.mp3"
    outcomes = {track.uri: outcome for track, outcome in featurize_tracks(listed, SPEC, Stopwatch(), LIMITS)}
    failed = outcomes[listed[1].uri]
    assert isinstance(failed, ReadError)
    assert failed.retryable
    assert "the store answered with" in str(failed)
    assert sum(isinstance(outcome, TrackFeatures) for outcome in outcomes.values()) == 2


def test_what_is_forbidden_is_not_tried_again(bucket: str, proxy: FaultyProxy) -> None:
    """Refusals are final: asking on, for thousands of tracks, costs a night and wakes the store's owner."""
    storage.write_bytes(f"{bucket}/m/a.mp3", b"x")
    (track,) = from_table(list_catalog(f"{bucket}/m"))
    before = os.environ["AWS_SECRET_ACCESS_KEY"]
    os.environ["AWS_SECRET_ACCESS_KEY"] = "wrong"  # noqa: S105
    storage.filesystem.cache_clear()
    proxy.requests.clear()
    try:
        with pytest.raises(ReadError, match="access is denied") as caught:
            open_track(track)
    finally:
        os.environ["AWS_SECRET_ACCESS_KEY"] = before
    assert not caught.value.transient
    assert proxy.requests.total() == 1


def test_a_store_that_never_answers_is_given_up(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is taken and then silent must not hold a worker for ever."""
    from pipeline.storage import retry as patience
    from pipeline.storage import s3 as checked_s3

    storage.write_bytes(f"{bucket}/x", b"x")
    monkeypatch.setitem(checked_s3.CONFIG, "read_timeout", 0.3)
    monkeypatch.setattr(patience, "_GIVE_UP_S", 1.0)
    storage.filesystem.cache_clear()
    proxy.silent = True
    with pytest.raises(StoreFailingError):
        storage.read_bytes(f"{bucket}/x")


def test_a_listing_that_fails_is_an_error_and_nothing_is_done(bucket: str, proxy: FaultyProxy) -> None:
    """Half a listing would take the other half of the catalog for gone."""
    write_music(f"{bucket}/m", 2)
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("service_unavailable",), "list-type=2"
    refused = earmark("run", f"{bucket}/m", f"{bucket}/tables", AWS_ENDPOINT_URL=proxy.url)
    assert refused.returncode == 1
    assert refused.stderr.count("error:") == 1
    assert "ServiceUnavailable" in refused.stderr
    assert "Traceback" not in refused.stderr
    proxy.rate = 0.0
    assert not storage.exists(f"{bucket}/tables")
