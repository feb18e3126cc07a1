"""Catalog and tables on a real S3 server."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from botocore.exceptions import ClientError
from botocore.session import get_session

from jobs.engine import lease as leases
from pipeline.audio.decode.audio import read_segments
from pipeline.catalogs import remote_folder
from pipeline.catalogs.catalog import list_catalog, survey
from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.storage import storage
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError, LeaseHeldError, MisuseError
from schemas.features import FeatureSpec
from tests.e2e.earmark import ask, earmark, succeed

pytestmark = pytest.mark.s3

ROOT = Path(__file__).resolve().parents[2]


def upload(folder: Path, location: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            storage.write_bytes(f"{location}/{path.relative_to(folder)}", path.read_bytes())


def test_a_bucket_is_labeled_and_labeled_again_only_where_it_changed(bucket: str, tmp_path: Path) -> None:
    """The data engineer's case: music in a bucket, tables in a bucket, the command again every night."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=6, duration_s=15)
    music, tables = f"{bucket}/music", f"{bucket}/tables"
    upload(tmp_path / "catalog", music)
    settings = tmp_path / "settings.toml"
    settings.write_text("shard_tracks = 2\n")
    first = succeed("run", music, tables, "--config", settings)
    assert f"{6 + N_BROKEN} tracks listed: 6 labeled, {N_BROKEN} failed" in first
    merged = {table: len(found) for table, found in list_objects(Tables(tables)).parts.items() if found}
    assert merged == {"tracks": 1, "features": 1, "labels": 1, "failures": 1}
    assert storage.list_names(f"{tables}/{LOG_FOLDER}") == []
    assert succeed("run", music, tables).startswith("nothing to do")
    playable = sorted((tmp_path / "catalog").rglob("*.flac"))
    changed = playable[0]
    y, sr = soundfile.read(changed)
    soundfile.write(changed, y[: 12 * sr], sr)
    storage.write_bytes(f"{music}/{changed.relative_to(tmp_path / 'catalog')}", changed.read_bytes())
    assert "1 labeled, 0 failed" in succeed("run", music, tables)
    labels = ask("labels", tables, "--format", "csv").splitlines()
    assert len(labels) == 1 + 6
    assert all(f",{music}/" in line for line in labels[1:])
    parts = storage.filesystem("s3").find(storage.split(tables)[1])
    assert not [part for part in parts if ".tmp" in part]
    assert "none missing, none duplicated" in ask("verify", tables, "--deep")


def test_names_are_taken_as_they_stand(bucket: str) -> None:
    """Keys with spaces, #, %, + and unicode are listed, read and written back under just those names."""
    names = ["a b.mp3", "c#d.mp3", "100%25 +.mp3", "ü/ж 音.mp3", "a::b.mp3", "UPPER.MP3", "...And/...x.wv"]
    for name in [*names, "._a.mp3", "sub/@eaDir/x.mp3/y.mp3", "cover.jpg", "sub/.snapshot/z.mp3", "folder/"]:
        storage.write_bytes(f"{bucket}/{name}", name.encode())
    listed = list_catalog(bucket)["uri"].to_pylist()
    assert sorted(listed) == sorted(f"{bucket}/{name}" for name in names)
    for uri in listed:
        assert storage.read_bytes(uri).decode() == uri.removeprefix(f"{bucket}/")
    left_out = survey(bucket).left_out
    assert (left_out.not_audio, left_out.system) == ({"jpg": 1}, {"._*": 1, "@eaDir": 1, ".snapshot": 1})


def test_an_export_larger_than_one_request_arrives_whole(bucket: str) -> None:
    """Labels of ten million tracks go through a file, in several requests, and appear at once."""
    chunks = [bytes([number]) * (1 << 20) for number in range(120)]
    storage.write_chunks(f"{bucket}/labels.csv", iter(chunks))
    assert storage.read_bytes(f"{bucket}/labels.csv") == b"".join(chunks)

    def fail() -> Iterator[bytes]:
        yield chunks[0]
        raise EarmarkError("a part is damaged")

    with pytest.raises(EarmarkError, match="damaged"):
        storage.write_chunks(f"{bucket}/labels.csv", fail())
    assert storage.read_bytes(f"{bucket}/labels.csv")[:3] == bytes(3)
    assert storage.list_names(bucket) == ["labels.csv"]


def test_a_prefix_that_is_named_like_a_file_is_a_prefix(bucket: str) -> None:
    """An album called "Live.ra" is a folder of tracks, not a track that is empty."""
    storage.write_bytes(f"{bucket}/Live.ra/01.mp3", b"x")
    storage.write_bytes(f"{bucket}/song.mp3", b"x")
    assert list_catalog(f"{bucket}/Live.ra")["uri"].to_pylist() == [f"{bucket}/Live.ra/01.mp3"]
    assert list_catalog(f"{bucket}/song.mp3")["uri"].to_pylist() == [f"{bucket}/song.mp3"]


def test_two_slashes_are_another_key(bucket: str) -> None:
    """m/x.mp3 and m//x.mp3 are two objects; with one id they would replace each other nightly."""
    for key in ("m/x.mp3", "m//x.mp3", "m/m/x.mp3"):
        storage.write_bytes(f"{bucket}/{key}", b"x")
    assert len(set(list_catalog(f"{bucket}/m")["track_id"].to_pylist())) == 3
    assert len(set(list_catalog(bucket)["track_id"].to_pylist())) == 3


def test_listing_goes_on_after_a_page_of_a_thousand(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 lists a thousand keys a page; the rest of the catalog must not be taken for gone."""
    folders = ("A", "A/b", "A b", "Ä", "a+b", "a%20b", "日本", "~", "2024/01")
    names = [f"m/{folders[number % 9]}/{number:04}.mp3" for number in range(1003)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: storage.write_bytes(f"{bucket}/{name}", b"x"), names))
    seen: list[int] = []
    listed = survey(f"{bucket}/m", progress=seen.append).tracks
    assert seen[:1] == [1000]
    assert listed["uri"].to_pylist() == sorted((f"{bucket}/{name}" for name in names), key=str.encode)
    assert survey(f"{bucket}/m", limit=10).tracks.equals(listed.slice(0, 10))
    # The same in many requests at a time.
    page, pages = remote_folder.s3_page, []

    def small_page(request: dict[str, Any]) -> dict[str, Any]:
        pages.append(threading.get_ident())
        return page(request | {"MaxKeys": 20})

    monkeypatch.setattr(remote_folder, "s3_page", small_page)
    assert list_catalog(f"{bucket}/m").equals(listed)
    assert 51 <= len(pages) <= 80
    assert len(set(pages)) > 4


def test_of_sixteen_writers_one_creates(bucket: str) -> None:
    """The lease rests on If-None-Match: exactly one of many contenders may win."""
    for round_ in range(5):
        barrier = threading.Barrier(16)

        def contend(writer: int, location: str, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return storage.create(location, str(writer).encode())

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(contend, range(16), [f"{bucket}/race/{round_}"] * 16))
        assert won.count(True) == 1
        assert storage.read_bytes(f"{bucket}/race/{round_}") == str(won.index(True)).encode()


def test_a_lease_on_s3(bucket: str) -> None:
    """Held, refused with the holder's name, released, and held again."""
    with leases.hold(bucket, "run-1", say=print) as lease:
        lease.check()
        with (
            pytest.raises(LeaseHeldError, match="run-1"),
            leases.hold(bucket, "run-2", say=print),
        ):
            pass
    with leases.hold(bucket, "run-3", say=print) as lease:
        assert lease.number == 2


def test_excerpts_of_a_long_file_are_read_by_ranges(bucket: str, tmp_path: Path) -> None:
    """Three excerpts of a ten-minute 105 MB wav (an hour's are the same) must not fetch all of it."""
    rng = np.random.default_rng(0)
    y = rng.integers(-9000, 9000, (600 * 44100, 2), dtype=np.int16)
    soundfile.write(tmp_path / "long.wav", y, 44100)
    size = (tmp_path / "long.wav").stat().st_size
    storage.write_bytes(f"{bucket}/long.wav", (tmp_path / "long.wav").read_bytes())
    with storage.open_binary(f"{bucket}/long.wav", size) as file:
        info, segments = read_segments(file, "long.wav", FeatureSpec())
        fetched = file.cache.total_requested_bytes  # type: ignore[attr-defined]  # of fsspec
    assert [len(samples) for _, samples in segments] == [661_500] * 3
    assert info.duration_s == 600
    assert fetched < 30e6
    with (tmp_path / "long.wav").open("rb") as file:
        _, local = read_segments(file, "long.wav", FeatureSpec())
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(segments, local, strict=True))


def test_what_s3_refuses_is_explained(bucket: str) -> None:
    """Wrong keys, a missing bucket and an empty prefix each get a sentence and an exit code of their own."""
    storage.write_bytes(f"{bucket}/a.mp3", b"x")
    wrong = earmark("run", bucket, f"{bucket}/tables", AWS_SECRET_ACCESS_KEY="wrong")  # noqa: S106
    assert wrong.returncode == 1
    assert "access is denied" in wrong.stderr
    assert "wrong" not in wrong.stderr
    nowhere = earmark("run", "s3://no-such-bucket-of-ours/music", f"{bucket}/tables")
    assert nowhere.returncode in {1, 2}
    assert "s3://no-such-bucket-of-ours/music" in nowhere.stderr
    empty = earmark("run", f"{bucket}/nothing", f"{bucket}/tables")
    assert (empty.returncode, "contains no audio files" in empty.stderr) == (1, True)
    read_only = earmark("run", bucket, "s3://no-such-bucket-of-ours/tables")
    assert read_only.returncode == 1
    assert "cannot open the tables s3://no-such-bucket-of-ours/tables" in read_only.stderr
    assert "Traceback" not in wrong.stderr + nowhere.stderr + empty.stderr + read_only.stderr
    assert storage.list_names(f"{bucket}/tables/_lease") == []


def test_a_remote_manifest_names_no_local_files(bucket: str) -> None:
    """Whoever may write a manifest to the bucket must not make the workers read their own disks."""
    for written in ["file:///etc/passwd", "/etc/passwd", "../../other/x.mp3"]:
        storage.write_bytes(f"{bucket}/list.csv", f"uri\n{written}\n".encode())
        with pytest.raises(MisuseError, match="row 1"):
            list_catalog(f"{bucket}/list.csv")
    storage.write_bytes(f"{bucket}/music/a.mp3", b"x")
    storage.write_bytes(f"{bucket}/list.csv", b"uri\nmusic/a.mp3\n")
    assert list_catalog(f"{bucket}/list.csv")["uri"].to_pylist() == [f"{bucket}/music/a.mp3"]


def test_a_store_that_is_away_is_an_error_of_the_run(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection must not look like an empty catalog."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    storage.filesystem.cache_clear()
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    with pytest.raises(EarmarkError, match="cannot list"):
        list_catalog(f"{bucket}/music")


@pytest.mark.thorough
def test_the_documented_rights_are_enough(bucket: str, tmp_path: Path) -> None:
    """The nightly run, or the monthly one, is refused by a store whose operator gave just the rights of
    infra/aws/iam-policy.json; or those rights let a flaw in a decoder delete the music."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=4, duration_s=5)
    upload(tmp_path / "catalog", f"{bucket}/music")
    name = bucket.removeprefix("s3://")
    policy = json.loads(
        (ROOT / "infra" / "aws" / "iam-policy.json").read_text().replace(":::bucket", f":::{name}")
    )
    for statement in policy["Statement"]:  # as a policy of the bucket, since Ceph's gateway has no roles
        statement["Principal"] = {"AWS": ["arn:aws:iam:::user/guest"]}
    s3_client().put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    guest = {"AWS_ACCESS_KEY_ID": "guest", "AWS_SECRET_ACCESS_KEY": "guestguest"}
    tables = f"{bucket}/tables"
    for form in ("delta", "parquet"):
        published = ("--publish", f"{bucket}/labels/{form}", "--publish-format", form)
        assert "4 rows published" in succeed("run", f"{bucket}/music", tables, *published, **guest)
    succeed("compact", tables, "--older-than", 0, **guest)
    succeed("vacuum", tables, "--older-than", 0, "--delete", **guest)
    key = {"Bucket": name, "Key": "music/new.mp3"}
    allowed = s3_client(**guest)
    forbidden: list[Callable[[], object]] = [
        lambda: allowed.put_object(**key, Body=b""),
        lambda: allowed.delete_object(**key),
        lambda: allowed.put_object(Bucket=name, Key="elsewhere", Body=b""),
        lambda: allowed.list_objects_v2(Bucket=name, Prefix="other/"),
    ]
    for ask_for in forbidden:
        with pytest.raises(ClientError, match="AccessDenied"):
            ask_for()


def s3_client(**credentials: str) -> Any:
    """A client of the test's server, of its owner unless other credentials are given."""
    variables = os.environ | credentials
    return get_session().create_client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_DEFAULT_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
