"""The installed command over a real S3 server that fails, lies about its listing, or has no room left."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.catalogs.track_refs import stat_track
from pipeline.models.bundle import ModelBundle
from pipeline.storage import storage
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.report import Counts
from tests.e2e.earmark import EARMARK, earmark
from tests.encoders import encode
from tests.s3_proxy import KINDS, FaultyProxy, faulty_proxy
from tests.slow_joins import read_whole

N_TRACKS = 40
FORMS = {"flac": "flac", "mp3": "mp3", "vorbis": "ogg", "wav": "wav"}


def piece(number: int, duration_s: int = 3) -> bytes:
    """A piece that no other number has: tones with noise, encoded."""
    rng = np.random.default_rng(number)
    t = np.arange(duration_s * 22050) / 22050
    tones = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 4000, 4))
    y = (0.15 * tones + rng.normal(0, 0.02, t.shape)).astype(np.float32)
    return encode(y, 22050, list(FORMS)[number % len(FORMS)])


@dataclass(frozen=True)
class Catalog:
    """A catalog in a bucket, and its features and labels as made without faults."""

    bucket: str
    endpoint: str
    features: pd.DataFrame
    labels: pd.DataFrame

    @property
    def music(self) -> str:
        return f"{self.bucket}/music"


def rows(root: str, name: str) -> pd.DataFrame:
    table: pd.DataFrame = read_whole(Tables(root), name).to_pandas()
    keys = [key for key in ("track_id", "segment") if key in table]
    return table.sort_values(keys).reset_index(drop=True)


@pytest.fixture(scope="module")
def catalog(s3_environment: dict[str, str]) -> Catalog:
    bucket = "s3://faulty-store"
    storage.filesystem.cache_clear()
    storage.filesystem("s3").mkdir("faulty-store")

    def upload(number: int) -> None:
        suffix = list(FORMS.values())[number % len(FORMS)]
        storage.write_bytes(f"{bucket}/music/{number:03}.{suffix}", piece(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upload, range(N_TRACKS)))
    done = earmark("run", f"{bucket}/music", f"{bucket}/plain", "--cpus", "2")
    assert done.returncode == 0, done.stderr
    return Catalog(
        bucket,
        s3_environment["AWS_ENDPOINT_URL"],
        rows(f"{bucket}/plain", "features"),
        rows(f"{bucket}/plain", "labels"),
    )


@pytest.fixture
def proxy(catalog: Catalog) -> Iterator[FaultyProxy]:
    with faulty_proxy(catalog.endpoint, seed=int(os.environ.get("EARMARK_FAULT_SEED", "1"))) as running:
        yield running


def run(catalog: Catalog, tables: str, proxy: FaultyProxy) -> "subprocess.CompletedProcess[str]":
    done = earmark("run", catalog.music, tables, "--cpus", "2", AWS_ENDPOINT_URL=proxy.url)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    return done


def last_counts(tables: str) -> Counts:
    return read_reports(Tables(tables), last=1)[0].counts


@pytest.mark.thorough
@pytest.mark.s3
def test_a_run_over_a_store_that_fails_at_one_request_in_twenty(catalog: Catalog, proxy: FaultyProxy) -> None:
    """The promise on a bad night: every track once, none labeled from half a body, and nobody is paged; what
    a run could not do it says, and the next one does it."""
    tables = f"{catalog.bucket}/faulty"
    proxy.rate, proxy.kinds, proxy.stale_below = 0.05, KINDS, "prefix=music"
    codes = []
    for _ in range(4):
        done = run(catalog, tables, proxy)
        codes.append(done.returncode)
        print(done.returncode, proxy.requests.total(), dict(proxy.injected), done.stderr[-300:], done.stdout)
        if done.returncode == 0 and last_counts(tables).failed == 0:
            break
        assert done.returncode == 0 or "error:" in done.stderr
    assert codes[-1] == 0
    features, labels = rows(tables, "features"), rows(tables, "labels")
    assert Counter(labels["uri"]) == dict.fromkeys(catalog.labels["uri"], 1)
    columns = ["track_id", "etag", "segment", "start_s", "duration_s", "log_mel", "n_frames", "range_db"]
    pd.testing.assert_frame_equal(features[columns], catalog.features[columns])
    pd.testing.assert_frame_equal(
        labels[["track_id", "etag", "genre", "confidence"]],
        catalog.labels[["track_id", "etag", "genre", "confidence"]],
    )
    assert sum(proxy.injected.values()) >= 5
    proxy.rate = 0.0
    assert run(catalog, tables, proxy).stdout.startswith("nothing to do")


@pytest.mark.thorough
@pytest.mark.s3
def test_a_stale_listing_costs_a_night_and_no_label(catalog: Catalog, proxy: FaultyProxy) -> None:
    """Some stores list what is gone, or do not list what is there: the first is a failure with a name, the
    second comes back with the next right listing, and its label with it, without being decoded again."""
    tables, music = f"{catalog.bucket}/stale", f"{catalog.bucket}/few"
    for number in range(3):
        storage.write_bytes(f"{music}/{number}.flac", piece(4 * number))

    def nightly() -> Counts:
        done = earmark("run", music, tables, "--cpus", "1", AWS_ENDPOINT_URL=proxy.url)
        assert done.returncode == 0, done.stderr
        return last_counts(tables)

    assert nightly().labeled == 3
    storage.delete(f"{music}/1.flac")
    storage.write_bytes(f"{music}/3.flac", piece(40))
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("stale_listing",), "prefix=few"
    proxy.stale_below = "prefix=few"
    # Listed but gone, and labeled already: there is nothing to read. There, but not listed: not seen yet.
    counts = nightly()
    assert (counts.listed, counts.labeled, counts.gone) == (3, 0, 0)
    proxy.rate = 0.0
    counts = nightly()
    assert (counts.listed, counts.labeled, counts.gone) == (3, 1, 1)
    labeled_at = rows(tables, "labels").set_index("uri")["labeled_at"]
    # A listing that lacks a track: it is gone from the current labels for the night.
    storage.delete(f"{music}/0.flac")
    assert nightly().gone == 1
    storage.write_bytes(f"{music}/0.flac", piece(0))
    counts = nightly()
    assert (counts.labeled, counts.labeled_before) == (0, 3)
    assert rows(tables, "labels").set_index("uri")["labeled_at"].equals(labeled_at)


@pytest.mark.thorough
@pytest.mark.s3
@pytest.mark.parametrize("first", ["_format.json", "features", "_index"])
def test_most_of_a_minute_of_an_overloaded_store_ends_no_run(
    catalog: Catalog, proxy: FaultyProxy, first: str
) -> None:
    """Fails: 503 from the store ends the night, before the work, in it or after it. Single requests are
    retried for some 20 seconds, or 5 while they are under the lease."""
    tables = f"{catalog.bucket}/overloaded {first}"
    proxy.begins, proxy.kinds = (
        f"PUT /{tables.removeprefix('s3://').replace(' ', '%20')}/{first}",
        ("slow_down",),
    )
    command: list[str | Path] = [EARMARK, "run", catalog.music, tables, "--cpus", "2"]
    with subprocess.Popen(
        command, env=os.environ | {"AWS_ENDPOINT_URL": proxy.url}, stderr=subprocess.PIPE, text=True
    ) as started:
        while started.poll() is None and not proxy.injected["slow_down"]:
            time.sleep(0.1)
        time.sleep(45)
        proxy.rate = 0.0
        _, said = started.communicate(timeout=400)
    assert started.returncode == 0, said
    assert proxy.injected["slow_down"] > 5
    pd.testing.assert_frame_equal(
        rows(tables, "labels")[["uri", "genre", "confidence"]], catalog.labels[["uri", "genre", "confidence"]]
    )


@pytest.mark.thorough
@pytest.mark.s3
def test_a_track_that_is_listed_but_gone_is_a_failure(catalog: Catalog, proxy: FaultyProxy) -> None:
    """Deleted between listing and reading: a row that says so, not an error of the run; then it is gone."""
    tables, music = f"{catalog.bucket}/vanish", f"{catalog.bucket}/vanishing"
    for number in range(3):
        storage.write_bytes(f"{music}/{number}.flac", piece(4 * number))
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("stale_listing",), "prefix=vanishing"
    proxy.stale_below = "prefix=vanishing"
    assert earmark("scan", music, AWS_ENDPOINT_URL=proxy.url).returncode == 0
    storage.delete(f"{music}/1.flac")
    changed = piece(77)
    storage.write_bytes(f"{music}/2.flac", changed)
    done = earmark("run", music, tables, "--cpus", "1", AWS_ENDPOINT_URL=proxy.url)
    assert done.returncode == 0, done.stderr
    assert proxy.injected["stale_listing"] >= 1
    (failure,) = rows(tables, "failures").to_dict("records")
    assert (failure["uri"], failure["error_type"]) == (f"{music}/1.flac", "NotFoundError")
    # The one that changed meanwhile was labeled as what was read: the next run finds nothing to do.
    now = stat_track(f"{music}/2.flac", "")
    for table in ("tracks", "features", "labels"):
        etags = rows(tables, table).merge(rows(tables, "tracks")[["track_id", "uri"]], on="track_id")
        uri = "uri" if "uri" in etags else "uri_y"
        assert set(etags[etags[uri] == now.uri]["etag"]) == {now.etag}
    proxy.rate = 0.0
    again = earmark("run", music, tables, "--cpus", "1", AWS_ENDPOINT_URL=proxy.url)
    assert again.stdout.startswith("nothing to do: 2 tracks listed, 2 already done")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes, of its own; skips where this user may mount none."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.thorough
def test_a_full_disk_is_said_and_got_over(small_disk: Path, tmp_path: Path) -> None:
    """One sentence that names the disk's trouble and what to do; no half part; with room the run finishes."""
    music, tables = tmp_path / "music", small_disk / "tables"
    music.mkdir()
    for number in range(12):
        (music / f"{number:02}.flac").write_bytes(piece(4 * number, 30))
    filler = small_disk / "filler"
    # Room for the model and the reports, but not for a shard's features, of some 50 kB a track.
    filler.write_bytes(b"\0" * ((4 << 20) - len(ModelBundle.load("gtzan").weights) - 250_000))
    full = earmark("run", music, tables, "--cpus", "1", "--model", "gtzan")
    assert full.returncode == 1, full.stdout
    assert "the disk is full (No space left on device)" in full.stderr
    assert str(tables) in full.stderr
    assert full.stderr.count("error:") == 1
    assert "Traceback" not in full.stderr
    assert "internal error" not in full.stderr
    parts = [path for path in tables.rglob("*") if path.is_file()]
    assert not [path for path in parts if path.name.startswith(".tmp")]
    for part in tables.rglob("*.parquet"):
        pd.read_parquet(part)
    filler.unlink()
    done = earmark("run", music, tables, "--cpus", "1", "--model", "gtzan")
    assert done.returncode == 0, done.stderr
    assert Counter(pd.read_parquet(tables / "labels")["uri"]) == {str(path): 1 for path in music.iterdir()}


def test_a_disk_without_any_room_is_said_at_once(small_disk: Path, tmp_path: Path) -> None:
    """Not even the lease can be written: a sentence, not a traceback."""
    music = tmp_path / "music"
    music.mkdir()
    (music / "a.flac").write_bytes(piece(0))
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        filler.write(b"\0" * (8 << 20))
    full = earmark("run", music, small_disk / "tables", "--cpus", "1")
    assert full.returncode == 1
    assert "the disk is full" in full.stderr
    assert str(small_disk / "tables") in full.stderr
    assert "Traceback" not in full.stderr
    assert "internal error" not in full.stderr
