"""Manifests: files that list a catalog's tracks."""

import gzip
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogs import bulk_stat
from pipeline.catalogs.catalog import list_catalog, survey
from pipeline.catalogs.manifest_uris import resolve_uris
from pipeline.catalogs.track_refs import from_table, track_id_of
from schemas.errors import MisuseError
from tests.unit.test_catalog import touch


@pytest.mark.parametrize(
    "written", ["http://metadata/x.mp3", "ftp://h/x.mp3", "zip://a::http://h/x", "github://o:r@/x.mp3"]
)
def test_a_manifest_names_no_web_address(tmp_path: Path, written: str) -> None:
    """The author of a manifest must not be able to make workers send requests in their network."""
    (tmp_path / "list.csv").write_text(f"uri\n{written}\n")
    with pytest.raises(MisuseError, match=r"row 1 .* copy the track to a folder or a bucket"):
        list_catalog(str(tmp_path / "list.csv"))


def test_a_local_manifest_may_name_any_local_file(tmp_path: Path) -> None:
    """A local manifest may name any readable file, also outside its folder."""
    touch(tmp_path / "a.mp3")
    manifest = touch(tmp_path / "lists" / "list.csv", f"uri\n../a.mp3\nfile://{tmp_path}/a.mp3\n".encode())
    assert [row["size"] for row in list_catalog(str(manifest)).to_pylist()] == [1, 1]


def test_a_csv_manifest_keeps_ids_order_and_further_columns_as_written(tmp_path: Path) -> None:
    """Ids such as 007 are ids, not numbers; other columns are carried along for the analyst."""
    touch(tmp_path / "music" / "b.mp3")
    touch(tmp_path / "a.mp3")
    manifest = tmp_path / "list.csv"
    manifest.write_text("track_id,uri,label,year\n007,music/b.mp3,Blue Note,1959\n,a.mp3,,\n")
    first, second = from_table(list_catalog(str(manifest)))
    assert (first.track_id, first.uri) == ("007", str(tmp_path / "music" / "b.mp3"))
    assert first.carried == {"label": "Blue Note", "year": "1959"}
    assert len(second.track_id) == 20
    assert second.size == 1


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_of_parquet_files_as_spark_writes_it_is_one_manifest(tmp_path: Path, slash: str) -> None:
    """The data engineer's list has no tracks, because Spark writes every table as a folder of parts."""
    for name in "abc":
        touch(tmp_path / f"{name}.mp3")
    parts = tmp_path / "list.parquet"
    parts.mkdir()
    touch(parts / "_SUCCESS")
    touch(parts / "._SUCCESS.crc")
    no_plays = pa.table({"uri": ["b.mp3", "c.mp3"], "plays": pa.nulls(2)})
    pq.write_table(no_plays, parts / "part-00001.snappy.parquet")
    pq.write_table(pa.table({"uri": ["a.mp3"], "plays": [3]}), parts / "part-00000.snappy.parquet")
    tracks = from_table(list_catalog(f"{parts}{slash}"))
    assert [track.uri for track in tracks] == [str(tmp_path / f"{name}.mp3") for name in "abc"]
    assert [track.carried for track in tracks] == [{"plays": "3"}, {}, {}]


def test_the_files_of_a_manifest_have_columns_of_the_same_types(tmp_path: Path) -> None:
    """The user sees an error of Arrow."""
    parts = tmp_path / "list.parquet"
    parts.mkdir()
    pq.write_table(pa.table({"uri": ["a.mp3"], "plays": ["3"]}), parts / "0.parquet")
    pq.write_table(pa.table({"uri": ["b.mp3"], "plays": [3]}), parts / "1.parquet")
    with pytest.raises(MisuseError, match=r"list\.parquet have columns of different types: .*plays"):
        list_catalog(str(parts))


def test_a_folder_of_music_may_have_the_name_of_a_manifest(tmp_path: Path) -> None:
    """An album is called "Names.csv", and its tracks are gone from the tables."""
    touch(tmp_path / "Names.csv" / "a.mp3")
    assert list_catalog(str(tmp_path / "Names.csv")).num_rows == 1


def test_a_parquet_manifest_with_a_missing_file(tmp_path: Path) -> None:
    """A manifest may name a missing file: that is one failed track, not a failed run."""
    manifest = tmp_path / "list.parquet"
    touch(tmp_path / "a.mp3")
    gone = [str(tmp_path / "gone.mp3"), f"{'x' * 300}.mp3", "a.mp3/b.mp3", "nul\0.mp3"]
    pq.write_table(pa.table({"uri": gone, "plays": [3, 4, 5, 6]}), manifest)
    tracks = from_table(list_catalog(str(manifest)))
    assert [track.etag for track in tracks] == ["missing"] * 4
    assert tracks[0].carried == {"plays": "3"}


def test_numbers_and_dates_of_pandas_are_carried_as_they_were_meant(tmp_path: Path) -> None:
    """One track without a year, and no track has a year: they are 1999.0, and dates have a time."""
    columns = {
        "year": pd.Series([1999, None]),
        "plays": pd.Categorical([3.0, 4.0]),
        "gain": [1.0, -0.5],
        "huge": [1e300, 1.0],
        "released": pd.to_datetime(["1999-05-03", "NaT"]),
        "added": pd.to_datetime(["1999-05-03 00:00", "1999-05-03 12:00"]),
        "genres": [["Kölsch", "jazz"], None],
    }
    pd.DataFrame({"uri": ["a.mp3", "b.mp3"]} | columns).to_parquet(tmp_path / "list.parquet")
    first, second = (track.carried for track in from_table(list_catalog(str(tmp_path / "list.parquet"))))
    assert first == {
        "year": "1999",
        "plays": "3",
        "gain": "1.0",
        "huge": "1e+300",
        "released": "1999-05-03",
        "added": "1999-05-03 00:00:00",
        "genres": '["Kölsch", "jazz"]',
    }
    assert second == {"plays": "4", "gain": "-0.5", "huge": "1.0", "added": "1999-05-03 12:00:00"}


def test_not_a_number_is_no_value(tmp_path: Path) -> None:
    """Polars writes it for a gap. "nan" was carried, but only if another track's value had a fraction."""
    columns = {"uri": ["a.mp3", "b.mp3"], "gain": [-0.5, float("nan")], "year": [1999.0, float("nan")]}
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    first, second = (track.carried for track in from_table(list_catalog(str(tmp_path / "list.parquet"))))
    assert (first, second) == ({"gain": "-0.5", "year": "1999"}, {})


def test_the_rows_of_a_frame_that_was_filtered_are_not_carried(tmp_path: Path) -> None:
    """Their numbers change from night to night, and with them what is carried along with each track."""
    frame = pd.DataFrame({"uri": ["a.mp3", "b.mp3"], "mood": ["glad", "sad"]}, index=[7, 3])
    frame.to_parquet(tmp_path / "list.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "list.parquet").names
    listed = from_table(list_catalog(str(tmp_path / "list.parquet")))
    assert [track.carried for track in listed] == [{"mood": "glad"}, {"mood": "sad"}]


def test_a_date_that_python_has_not_is_carried(tmp_path: Path) -> None:
    """Databases export "for ever" as a late date, which ended the listing in an internal error."""
    dates = pa.array([None, 3_700_000], pa.date32())
    pq.write_table(pa.table({"uri": ["a.mp3", "b.mp3"], "until": dates}), tmp_path / "list.parquet")
    tracks = from_table(list_catalog(str(tmp_path / "list.parquet")))
    assert [track.carried for track in tracks] == [{}, {"until": "12100-04-04"}]


def test_spaces_around_a_name_are_kept_where_a_program_wrote_it(tmp_path: Path) -> None:
    """A folder lists ``a.mp3 `` too; trimmed, it would be another file or none. By hand, spaces slip in."""
    names = ["a.mp3 ", " b.mp3", "c.mp3"]
    for name in names:
        touch(tmp_path / name)
    scanned = "".join(f'{number},"{name}",1,x\n' for number, name in enumerate(names))
    (tmp_path / "scan.csv").write_text(f"track_id,uri,size,etag\n{scanned}")
    (tmp_path / "typed.csv").write_text("track_id , uri\n 2 , c.mp3  \n")
    for manifest, found in (("scan.csv", names), ("typed.csv", ["c.mp3"])):
        tracks = from_table(list_catalog(str(tmp_path / manifest)))
        assert [track.track_id for track in tracks] == [str(names.index(name)) for name in found]
        assert [track.uri for track in tracks] == [f"{tmp_path}/{name}" for name in found]
        assert "missing" not in {track.etag for track in tracks}


def test_paths_of_a_manifest_in_the_root_folder_and_in_a_bucket() -> None:
    """Containers mount manifests at ``/list.csv``; and ``./`` is no part of a key."""
    written = pa.array(["a.mp3", "./b.mp3", "c/././d.mp3", ".e/f.mp3"])
    tidy = ["a.mp3", "b.mp3", "c/d.mp3", ".e/f.mp3"]
    assert resolve_uris(written, "/list.csv").to_pylist() == [f"/{path}" for path in tidy]
    assert resolve_uris(written, "s3://bucket/lists/list.csv").to_pylist() == [
        f"s3://bucket/lists/{path}" for path in tidy
    ]


def test_commas_in_the_only_column_of_a_tsv(tmp_path: Path) -> None:
    """``Earth, Wind & Fire.mp3`` was taken for two columns."""
    touch(tmp_path / "Earth, Wind & Fire.mp3")
    (tmp_path / "list.tsv").write_text("uri\nEarth, Wind & Fire.mp3\n")
    assert from_table(list_catalog(str(tmp_path / "list.tsv")))[0].size == 1


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_manifests_of_pandas_and_polars(tmp_path: Path, kind: pa.DataType) -> None:
    """pandas 3 writes large strings, and categories as dictionaries: both are text."""
    touch(tmp_path / "a.mp3")
    pq.write_table(pa.table({" uri ": pa.array(["a.mp3"]).cast(kind)}), tmp_path / "list.parquet")
    assert list_catalog(str(tmp_path / "list.parquet"))["uri"].to_pylist() == [str(tmp_path / "a.mp3")]


def test_a_damaged_parquet_manifest_is_explained(tmp_path: Path) -> None:
    """A truncated manifest is distinguished from an empty one."""
    manifest = tmp_path / "list.parquet"
    pq.write_table(pa.table({"uri": ["a.mp3"] * 1000}), manifest)
    manifest.write_bytes(manifest.read_bytes()[:100])
    with pytest.raises(MisuseError, match="cannot be read"):
        list_catalog(str(manifest))
    pq.write_table(pa.table({"uri": [["a.mp3"]]}), manifest)
    with pytest.raises(MisuseError, match=r"column 'uri' .* not text"):
        list_catalog(str(manifest))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.mp3\n", "no column 'uri' .* rename the column 'path' to 'uri'"),
        ("URI,Title\na.mp3,A\n", "no column 'uri' .* rename the column 'URI' to 'uri'"),
        ("Filename;Title\na.mp3;A\n", r"its columns are Filename, Title\); rename the column 'Filename'"),
        ("artist,title\na,b\n", r"its columns are artist, title\)$"),
        ("uri\na.mp3\na.mp3\n", "rows 1 and 2"),
        ('uri,track_id\na.mp3,1\n"",2\n', "row 2 .* no uri"),
        ("uri,b,b\na.mp3,1,2\n", "two columns 'b'; rename one of them"),
        ("", "cannot be read"),
        ("uri,x\na.mp3\n", "cannot be read"),
    ],
)
def test_a_bad_manifest_is_explained(tmp_path: Path, text: str, message: str) -> None:
    """The message names the row or column, so that the user can fix it."""
    manifest = tmp_path / "list.csv"
    manifest.write_text(text)
    with pytest.raises(MisuseError, match=message):
        list_catalog(str(manifest))


def uris(manifest: Path) -> list[str]:
    return [Path(uri).name for uri in list_catalog(str(manifest))["uri"].to_pylist()]


TEXT = "uri,title\nÄ 音.mp3,Ä\nb.mp3,x\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("l.csv", TEXT.encode("utf-8-sig")),
        ("l.csv", TEXT.encode("utf-16")),
        ("l.csv", b"\xfe\xff" + TEXT.encode("utf-16-be")),
        ("l.csv", TEXT.replace(",", ";").encode()),
        ("l.csv", TEXT.replace(",", "\t").encode("utf-16")),
        ("l.csv", TEXT.replace(",", "|").encode()),
        ("l.tsv", TEXT.replace(",", "\t").encode()),
        ("l.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("L.CSV", TEXT.replace("\n", "\r\n").encode()),
        ("l.csv", TEXT.replace("\n", "\n\n").encode()),
        ("l.csv", b"sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n").encode()),
        ("l.csv", ("SEP=\t\n" + TEXT.replace(",", "\t")).encode("utf-16")),
        ("l.csv", b'"sep=,"\n' + TEXT.encode()),
        ("l.csv", b"sep=^\n" + TEXT.replace(",", "^").encode()),
        ("l.csv", TEXT.replace("\n", ",,\n").encode()),
        ("l.csv", b",uri,title\n0,\xc3\x84 \xe9\x9f\xb3.mp3,\xc3\x84\n1,b.mp3,x\n"),
    ],
)
def test_dialects_of_csv(tmp_path: Path, name: str, data: bytes) -> None:
    """Excel writes UTF-16 with tabs, semicolons, a byte order mark or nameless columns: each is detected."""
    manifest = touch(tmp_path / name, data)
    assert uris(manifest) == ["Ä 音.mp3", "b.mp3"]
    assert [track.carried for track in from_table(list_catalog(str(manifest)))] == [
        {"title": "Ä"},
        {"title": "x"},
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"uri\na.mp3\ncaf\xe9.mp3\n", "line 3 of the manifest .* is not UTF-8; save the manifest as UTF-8"),
        (
            "uri\na.mp3\n".encode("utf-16-le"),
            "has zero bytes, like UTF-16 without a byte order mark; save it as",
        ),
        (b"", "it is empty"),
        (b"sep=;\n", "it is empty"),
        (b"\n\n", "it is empty"),
        (b'uri,x\n"a.mp3,1\nb.mp3,2\n', "cannot be read: CSV parse error: Row #2"),
        (b'uri,x\na.mp3,1\nb.mp3,"2\nc.mp3,3\nd.mp3,4\n', "row 2 has an unclosed quotation mark"),
        (b'uri\na.mp3\n"b.mp3\nc.mp3', "row 2 has an unclosed quotation mark"),
        (
            b'"b","x/a.mp3","5"\n"b","x/b.mp3","5"\n',
            "its first row is a track, so insert a row with the column names",
        ),
    ],
)
def test_a_manifest_in_another_encoding_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    """Names in Latin-1 are ambiguous: no track is looked up under a guess."""
    with pytest.raises(MisuseError, match=message):
        list_catalog(str(touch(tmp_path / "l.csv", data)))


@pytest.mark.parametrize(
    "data",
    [
        b'uri,title\na.mp3,"Heroes\nb.mp3,x\nc.mp3,"Low\nd.mp3,y\n',
        b'uri,title\na.mp3,"Heroes\nb.mp3,Low"\n',
        b'title,uri,x\n"Heroes,a.mp3,\nLow",b.mp3,\n',
        b'id,title,uri\n1,"Heroes,a.mp3\r\n2,x,b.mp3\r\n3,Low",c.mp3\r\n',
    ],
)
def test_two_stray_quotation_marks_hide_no_tracks(tmp_path: Path, data: bytes) -> None:
    """All tracks between them were left out of the catalog, without a word."""
    with pytest.raises(MisuseError, match=r"row 1 .* has a quotation mark that hides the rows after it"):
        list_catalog(str(touch(tmp_path / "l.csv", data)))


def test_newlines_and_commas_in_quotes(tmp_path: Path) -> None:
    """Titles contain anything that people type into them."""
    manifest = touch(
        tmp_path / "l.csv", b'uri,title\n"a, b.mp3","one\ntwo, ""three"""\nc.mp3,"see d.mp3\n"\n'
    )
    first, second = from_table(list_catalog(str(manifest)))
    assert (Path(first.uri).name, first.carried["title"]) == ("a, b.mp3", 'one\ntwo, "three"')
    assert Path(second.uri).name == "c.mp3"


def test_uris_and_ids_never_change(tmp_path: Path) -> None:
    """A change in how manifests are read must not make all their tracks new."""
    written = [
        "a.mp3",
        "./b.mp3",
        "x//c.mp3",
        "../d.mp3",
        " e.mp3 ",
        "/abs/./f.mp3",
        "s3a://b/k",
        "x/./g.mp3",
        "~h",
    ]
    pq.write_table(pa.table({"uri": written, "size": [1.0] * 9, "etag": ["e"] * 9}), tmp_path / "l.parquet")
    tracks = from_table(list_catalog(str(tmp_path / "l.parquet")))
    assert [track.track_id for track in tracks] == [track_id_of(text.strip()) for text in written]
    folder = str(tmp_path)
    assert [track.uri for track in tracks] == [
        *(f"{folder}/a.mp3", f"{folder}/b.mp3", f"{folder}/x/c.mp3", f"{folder}/../d.mp3", f"{folder}/e.mp3"),
        *("/abs/f.mp3", "s3a://b/k", f"{folder}/x/g.mp3", f"{folder}/~h"),
    ]


def test_sizes_and_versions_of_objects_are_trusted(tmp_path: Path) -> None:
    """A million rows took 44 minutes of requests for what the manifest states; this test has no store."""
    (tmp_path / "l.csv").write_text(
        "uri,Size,ETag,modified_at,label\n"
        's3://no-such/a.mp3,7,"""abc-2""",2024-01-02 03:04:05.5Z,rock\n'
        "s3://no-such/b.mp3, 8 ,def,,\n"
    )
    listing = survey(str(tmp_path / "l.csv"))
    first, second = from_table(listing.tracks)
    assert (first.size, first.etag, first.carried) == (7, "abc-2", {"label": "rock"})
    assert first.modified_at == 1704164645.5
    assert (second.size, second.etag, second.modified_at) == (8, "def", 0.0)
    assert listing.unverified is not None
    assert listing.unverified.to_pylist() == [True, True]


def test_local_files_are_always_looked_up(tmp_path: Path) -> None:
    """A manifest from last week's scan must not hide files that were changed or removed since."""
    touch(tmp_path / "a.mp3", b"xyz")
    (tmp_path / "l.csv").write_text("uri,size,etag\na.mp3,1,1-1\ngone.mp3,1,1-1\n")
    here, gone = from_table(list_catalog(str(tmp_path / "l.csv")))
    assert (here.size, here.etag.startswith("3-"), gone.etag) == (3, True, "missing")


@pytest.mark.parametrize("size", ["-1", "1.5", "1 MB", "0x10", "inf"])
def test_an_invalid_size_is_named(tmp_path: Path, size: str) -> None:
    """Columns in the wrong order are detected before a night is spent on them."""
    (tmp_path / "l.csv").write_text(f"uri,size,etag\ns3://b/a,1,x\ns3://b/b,{size},y\n")
    with pytest.raises(MisuseError, match=rf"row 2 .* has the size '{size}', which is not a number of bytes"):
        list_catalog(str(tmp_path / "l.csv"))


INVENTORY = {
    "Bucket": ["b"] * 7,
    "Key": [
        *(
            "music/Caf%C3%A9+del+Mar/01.mp3",
            "music/a%2Bb%20c.flac",
            "cover.JPG",
            "music/",
            "m/%40eaDir/x.mp3",
        ),
        *("old.mp3", "gone.mp3"),
    ],
    "IsLatest": ["true"] * 5 + ["false", "true"],
    "IsDeleteMarker": ["false"] * 6 + ["true"],
    "Size": ["5", "6", "7", "0", "8", "9", ""],
    "LastModifiedDate": ["2024-01-02T03:04:05.000Z"] * 7,
    "ETag": ["abc"] * 7,
}


def test_an_s3_inventory_is_a_manifest(tmp_path: Path) -> None:
    """AWS lists all objects of a bucket in such files daily, with URL-encoded keys in CSV."""
    lines = [
        ",".join(INVENTORY),
        *(",".join(f'"{cell}"' for cell in row) for row in zip(*INVENTORY.values(), strict=True)),
    ]
    (tmp_path / "i.csv").write_text("\n".join(lines))
    listing = survey(str(tmp_path / "i.csv"))
    first, second = from_table(listing.tracks)
    assert (first.uri, first.size, first.etag) == ("s3://b/music/Café del Mar/01.mp3", 5, "abc")
    assert first.modified_at == 1704164645.0
    assert first.track_id == track_id_of(first.uri)
    assert second.uri == "s3://b/music/a+b c.flac"
    assert (listing.left_out.not_audio, listing.left_out.system) == ({"jpg": 1}, {"@eaDir": 1})


def test_an_inventory_in_parquet_has_other_column_names_and_plain_keys(tmp_path: Path) -> None:
    """In Parquet, names are in snake case, sizes are numbers, and keys are not encoded."""
    table = pa.table(
        {
            "bucket": ["b", "b"],
            "key": ["100% + %41.mp3", "x.txt"],
            "is_latest": [True, True],
            "size": pa.array([5, 6], pa.int64()),
            "last_modified_date": pa.array([1704164645000] * 2, pa.timestamp("ms")),
            "e_tag": ["abc", "def"],
        }
    )
    pq.write_table(table, tmp_path / "i.parquet")
    listing = survey(str(tmp_path / "i.parquet"))
    (track,) = from_table(listing.tracks)
    assert (track.uri, track.size, track.etag) == ("s3://b/100% + %41.mp3", 5, "abc")
    assert (track.modified_at, listing.left_out.not_audio) == (1704164645.0, {"txt": 1})


def test_keys_that_are_not_encoded_are_not_decoded(tmp_path: Path) -> None:
    """A handwritten list with these headers has spaces and lone percent signs, unlike encoded keys."""
    (tmp_path / "i.csv").write_text("Bucket,Key,Size,ETag\nb,100% a+b.mp3,1,x\nb,a%20b.mp3,1,y\n")
    assert list_catalog(str(tmp_path / "i.csv"))["uri"].to_pylist() == [
        "s3://b/100% a+b.mp3",
        "s3://b/a%20b.mp3",
    ]


def test_another_manifest_json_is_named(tmp_path: Path) -> None:
    """Web pages and packages have a file of this name too."""
    (tmp_path / "manifest.json").write_text('{"name": "app"}')
    with pytest.raises(MisuseError, match=r"manifest.json is not the manifest of an S3 Inventory"):
        list_catalog(str(tmp_path / "manifest.json"))


@pytest.mark.slow
def test_a_refused_manifest_never_aborts_the_process(tmp_path: Path) -> None:
    """Arrow's thread held a Python object while the interpreter shut down: exit code 134, one time in 20."""
    touch(tmp_path / "l.csv", b"path\na.wav\n")
    code = (
        "from pipeline.catalogs.catalog import list_catalog\nfrom schemas.errors import MisuseError\n"
        f"try:\n    list_catalog({str(tmp_path / 'l.csv')!r})\nexcept MisuseError:\n    raise SystemExit(2)\n"
    )
    codes = [subprocess.run([sys.executable, "-c", code], check=False).returncode for _ in range(12)]
    assert codes == [2] * 12


def test_sizes_of_pandas_and_manifests_of_nothing(tmp_path: Path) -> None:
    """pandas converts sizes to floats if one is missing; and some days a list is empty."""
    uris = ["s3://b/1.mp3", "s3://b/2.mp3"]
    table = pa.table({"uri": uris, "size": [12345678901.0, 2e9], "etag": ["x", "y"]})
    pq.write_table(table, tmp_path / "l.parquet")
    assert list_catalog(str(tmp_path / "l.parquet"))["size"].to_pylist() == [12345678901, 2000000000]
    for gap, kind in ((float("nan"), pa.float64()), (None, pa.decimal128(12, 2))):
        sizes = pa.array([7, gap], kind)
        local = pa.table({"uri": ["s3://b/1.mp3", "a.mp3"], "size": sizes, "etag": ["x", None]})
        pq.write_table(local, tmp_path / "l.parquet")
        assert list_catalog(str(tmp_path / "l.parquet"))["size"].to_pylist() == [7, 0]
    pq.write_table(table.slice(0, 0), tmp_path / "l.parquet")
    assert list_catalog(str(tmp_path / "l.parquet")).num_rows == 0
    assert list_catalog(str(touch(tmp_path / "l.csv", b"uri,label\n"))).num_rows == 0


def test_a_csv_of_pandas_with_a_gap(tmp_path: Path) -> None:
    """One missing size turns the others into 1234.0, and gaps have many spellings: all must be read."""
    rows = "".join(f"{number}.mp3,{gap},{gap}\n" for number, gap in enumerate(("", "NaN", "NULL", "None")))
    touch(tmp_path / "l.csv", f"uri,size,etag\ns3://b/1.mp3,1234.0,x\n{rows}".encode())
    listing = survey(str(tmp_path / "l.csv"))
    assert listing.tracks["size"].to_pylist() == [1234, 0, 0, 0, 0]
    assert listing.unverified is not None
    assert listing.unverified.to_pylist() == [True, False, False, False, False]


def test_a_quotation_mark_within_text_is_part_of_it(tmp_path: Path) -> None:
    """Titles use it for inches, where it closes nothing."""
    touch(tmp_path / "l.tsv", b'uri\ttitle\na.mp3\tLove 12" Mix\nb.mp3\ty')
    assert [track.carried for track in from_table(list_catalog(str(tmp_path / "l.tsv")))] == [
        {"title": 'Love 12" Mix'},
        {"title": "y"},
    ]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "Europe/Berlin")), "22:13:20.123456"),
        (pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")), "22:13:20.123456"),
        (pa.array(["2024-13-45T00:00:00Z"]), None),
        (pa.array(["2024-01-05T25:00:00+01:00"]), None),
        (pa.array(["0000-01-01 00:00:00Z"]), None),
        (pa.array(["9999-12-31 23:59:59-05:00"]), None),
        (pa.array([300_000_000_000], pa.timestamp("s", "UTC")), None),
    ],
)
def test_an_invalid_time_does_not_end_the_listing(
    tmp_path: Path, time: pa.Array, expected: str | None
) -> None:
    """pandas writes nanoseconds, and some exporters invalid dates: the track exists all the same."""
    table = pa.table({"uri": ["s3://b/1.mp3"], "size": [1], "etag": ["x"], "modified_at": time})
    pq.write_table(table, tmp_path / "l.parquet")
    (modified_at,) = list_catalog(str(tmp_path / "l.parquet"))["modified_at"].to_pylist()
    assert (modified_at and f"{modified_at:%H:%M:%S.%f}") == expected


def test_a_file_from_a_year_that_no_calendar_has_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder listed it; a manifest that names it ended each run in an internal error."""
    touch(tmp_path / "a.mp3")
    manifest = touch(tmp_path / "l.csv", b"uri\na.mp3\nb.mp3\nc.mp3\n")
    found = [(1, "1-x", seconds) for seconds in (3e11, 1e14, 86400.0)]
    monkeypatch.setattr(bulk_stat, "stat_many", lambda uris: iter([found]))
    times = [track.modified_at for track in from_table(list_catalog(str(manifest)))]
    assert times == [0.0, 0.0, 86400.0]


@pytest.mark.parametrize("column", ["size", "etag"])
@pytest.mark.parametrize("value", [{"a": 1}, [1], b"\xff", True])
def test_a_column_of_another_kind_is_named(tmp_path: Path, column: str, value: object) -> None:
    """A nested column caused an Arrow error that named neither the manifest nor the column."""
    columns = {"uri": ["s3://b/1.mp3"], "size": [1], "etag": ["x"], column: [value]}
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    with pytest.raises(MisuseError, match=f"column '{column}' of the manifest .* is .*, not "):
        list_catalog(str(tmp_path / "l.parquet"))
