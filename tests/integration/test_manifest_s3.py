"""Manifests of objects on a real S3 server: what they cost, and what comes of those that are out of date."""

import gzip
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogs.catalog import list_catalog, survey
from pipeline.storage import storage
from schemas.errors import MisuseError, StoreError
from tests.e2e.earmark import ask, succeed
from tests.integration.test_storage_faults import through, track_bytes
from tests.s3_proxy import FaultyProxy, faulty_proxy

pytestmark = pytest.mark.s3


@pytest.fixture
def proxy(s3_environment: dict[str, str]) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_environment["AWS_ENDPOINT_URL"], seed=1) as running, through(running):
        yield running


def fill(bucket: str, names: list[str]) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: storage.write_bytes(f"{bucket}/{name}", name.encode()), names))


def requests(proxy: FaultyProxy) -> tuple[int, int]:
    """Listings and questions for single objects since the last call."""
    listings = sum("list-type=2" in path for path in proxy.paths)
    heads = sum(path.startswith("HEAD") for path in proxy.paths)
    proxy.paths.clear()
    return listings, heads


def write_manifest(folder: Path, rows: list[str], header: str = "uri") -> str:
    (folder / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder / "list.csv")


def test_many_objects_of_a_bucket_are_found_in_its_listing(
    bucket: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """A HEAD for each row of a manifest is 44 minutes for a million of them."""
    names = [f"music/{number % 7}/ü {number:04}.mp3" for number in range(1100)]
    fill(bucket, [*names, *(f"other/{number}.mp3" for number in range(50))])
    expected = {row["uri"]: row for row in list_catalog(f"{bucket}/music").to_pylist()}
    requests(proxy)
    rows = [f"{bucket}/{name}" for name in reversed(names)] + [f"{bucket}/music/3/gone.mp3"]
    listed = list_catalog(write_manifest(tmp_path, rows)).to_pylist()
    n_listings, n_heads = requests(proxy)
    assert n_listings <= 3
    assert n_heads == 1  # what the listing lacks is asked for before it counts as missing
    assert [row["uri"] for row in listed] == rows
    assert listed[-1]["etag"] == "missing"
    facts = ("uri", "size", "etag", "modified_at")
    for row in listed[:-1]:
        assert [row[name] for name in facts] == [expected[row["uri"]][name] for name in facts]


@pytest.mark.thorough
def test_a_few_objects_among_many_are_asked_for(bucket: str, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Ten tracks of a bucket of millions must not cost the listing of the bucket."""
    names = [f"{number:04}.mp3" for number in range(1300)]
    fill(bucket, names)
    requests(proxy)
    picked = [f"{bucket}/{name}" for name in names[::100]]
    listed = list_catalog(write_manifest(tmp_path, picked)).to_pylist()
    n_listings, n_heads = requests(proxy)
    assert n_listings <= 1
    assert n_listings + n_heads <= len(picked) + 1
    assert [(row["uri"], row["size"]) for row in listed] == [(uri, 8) for uri in picked]


def test_a_manifest_with_sizes_and_versions_asks_for_nothing(
    bucket: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """What `earmark scan --out` wrote, or an inventory, is a listing already."""
    fill(bucket, [f"{number:02}.mp3" for number in range(30)])
    listed = list_catalog(bucket)
    pq.write_table(listed.drop_columns(["carried"]), tmp_path / "list.parquet")
    requests(proxy)
    again = list_catalog(str(tmp_path / "list.parquet"))
    assert requests(proxy) == (0, 0)
    assert again == listed


@pytest.mark.thorough
def test_a_manifest_that_is_out_of_date_is_labeled_once(bucket: str, tmp_path: Path) -> None:
    """An object that was replaced since the manifest was written was read again each night, for ever."""
    for name, number in (("a.wav", 1), ("b.wav", 2)):
        storage.write_bytes(f"{bucket}/{name}", track_bytes(number, "wav"))
    row_of = {row["uri"]: row for row in list_catalog(bucket).to_pylist()}
    rows = [f"{uri},{row['size']},{row['etag']}" for uri, row in row_of.items()]
    rows.append(f"{bucket}/gone.wav,9,abc")
    manifest, tables = write_manifest(tmp_path, rows, "uri,size,etag"), tmp_path / "tables"
    storage.write_bytes(f"{bucket}/b.wav", track_bytes(3, "flac"))
    first = succeed("run", manifest, tables)
    assert "3 tracks listed: 2 labeled, 1 failed" in first
    second = succeed("run", manifest, tables)
    assert "3 tracks listed: 0 labeled, 1 failed" in second
    third = succeed("run", manifest, tables)
    assert third.startswith(
        "nothing to do: 3 tracks listed, 2 already done, 1 failed in earlier runs, not retried"
    )
    ask("verify", tables)
    storage.write_bytes(f"{bucket}/gone.wav", track_bytes(4, "wav"))
    assert "1 labeled, 0 failed" in succeed("run", manifest, tables)


def in_parquet(rows: list[dict[str, object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def deliver(bucket: str, kind: str, files: dict[str, bytes]) -> str:
    """Write an inventory as S3 does: data files beside a manifest.json that names them and their columns."""
    for name, data in files.items():
        storage.write_bytes(f"{bucket}/inventory/data/{name}", data)
    manifest = {
        "sourceBucket": "music",
        "destinationBucket": bucket.replace("s3://", "arn:aws:s3:::"),
        "fileFormat": kind,
        "fileSchema": "Bucket, Key, Size, ETag" if kind == "CSV" else "message s3.inventory {}",
        "files": [{"key": f"inventory/data/{name}", "size": len(data)} for name, data in files.items()],
    }
    location = f"{bucket}/inventory/2026-11-28T01-00Z/manifest.json"
    storage.write_bytes(location, json.dumps(manifest).encode())
    return location


def test_an_inventory_is_read_as_s3_delivers_it(bucket: str) -> None:
    """Its CSV files have no header, and a bucket may have many: only manifest.json says what they are."""
    rows = [
        b'"music","a%2Bb+1.mp3","5","abc"\n"music","cover.jpg","6","def"\n',
        b'"music","c.mp3","7","ghi"\n',
    ]
    csv = deliver(
        bucket, "CSV", {f"{number}.csv.gz": gzip.compress(part) for number, part in enumerate(rows)}
    )
    listing = survey(csv)
    assert listing.left_out.not_audio == {"jpg": 1}
    facts = [(row["uri"], row["size"], row["etag"]) for row in listing.tracks.to_pylist()]
    assert facts == [("s3://music/a+b 1.mp3", 5, "abc"), ("s3://music/c.mp3", 7, "ghi")]
    parts = [{"bucket": "music", "key": uri[11:], "size": size, "e_tag": etag} for uri, size, etag in facts]
    parquet = deliver(bucket, "Parquet", {f"{part['e_tag']}.parquet": in_parquet([part]) for part in parts})
    assert list_catalog(parquet) == listing.tracks
    assert list_catalog(deliver(bucket, "CSV", {})).num_rows == 0
    with pytest.raises(MisuseError, match=r"in the format ORC; let S3 write it as CSV or Parquet"):
        list_catalog(deliver(bucket, "ORC", {}))


def test_a_folder_that_spark_wrote_to_a_bucket_is_one_manifest(bucket: str) -> None:
    """The data engineer's list does not exist, because Spark writes every table as a folder of parts."""
    fill(bucket, ["a.mp3", "b.mp3", "list.parquet/_SUCCESS"])
    for number, name in enumerate("ab"):
        rows = io.BytesIO()
        pq.write_table(pa.table({"uri": [f"{name}.mp3"]}), rows)
        storage.write_bytes(f"{bucket}/list.parquet/part-{number:05}.parquet", rows.getvalue())
    for location in (f"{bucket}/list.parquet", f"{bucket}/list.parquet/"):
        listed = list_catalog(location).to_pylist()
        assert [(row["uri"], row["size"]) for row in listed] == [
            (f"{bucket}/a.mp3", 5),
            (f"{bucket}/b.mp3", 5),
        ]
    with pytest.raises(StoreError, match=r"other\.parquet: it does not exist"):
        list_catalog(f"{bucket}/other.parquet")
