"""Listing folders and manifests."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogs.catalog import canonical, list_catalog
from pipeline.catalogs.track_refs import from_table, to_batch
from pipeline.shards.fetching import open_track
from schemas.errors import EarmarkError, MisuseError, NotAFileError
from schemas.tables import LISTING
from schemas.tracks import TrackRef


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_folder_is_listed_with_everything_in_it_that_is_audio(tmp_path: Path) -> None:
    """What is left out here is never labelled; what is wrongly in becomes a failure every user sees."""
    names = ["a.mp3", "sub/b.FLAC", "sub/deep/c d #1 100% ü.ogg", "empty.wav"]
    for name in names:
        touch(tmp_path / name, b"" if "empty" in name else b"xyz")
    for name in [".hidden.mp3", ".cache/x.mp3", "cover.jpg", "notes.txt", "mp3"]:
        touch(tmp_path / name)
    listing = list_catalog(str(tmp_path))
    assert [os.path.relpath(uri, tmp_path) for uri in listing["uri"].to_pylist()] == sorted(names)
    assert (
        dict(zip(listing["uri"].to_pylist(), listing["size"].to_pylist(), strict=True))[
            str(tmp_path / "empty.wav")
        ]
        == 0
    )
    assert len(set(listing["track_id"].to_pylist())) == 4
    assert listing.schema == LISTING


def test_ids_stay_when_the_catalog_moves_and_versions_change_with_content(tmp_path: Path) -> None:
    """A moved bucket must not be labelled again; a replaced file must be."""
    touch(tmp_path / "one" / "x" / "a.mp3")
    before = list_catalog(str(tmp_path / "one")).to_pylist()[0]
    (tmp_path / "one").rename(tmp_path / "two")
    moved = list_catalog(str(tmp_path / "two") + "/").to_pylist()[0]
    assert (moved["track_id"], moved["etag"]) == (before["track_id"], before["etag"])
    os.utime(tmp_path / "two" / "x" / "a.mp3", ns=(1, 1))
    assert list_catalog(str(tmp_path / "two")).to_pylist()[0]["etag"] != before["etag"]


@pytest.mark.parametrize("link", ["best", "new", "fav", "x1", "x2", "x3", "zz"])
def test_a_link_that_is_added_changes_no_id(tmp_path: Path, link: str) -> None:
    """Whether link or folder was listed hung on the order of the disk's directory: all tracks were new."""
    touch(tmp_path / "albums" / "deep" / "a.mp3")
    before = list_catalog(str(tmp_path)).to_pylist()
    (tmp_path / link).symlink_to(tmp_path / "albums" / "deep")
    (tmp_path / f"{link}0").symlink_to(tmp_path / "albums")
    assert list_catalog(str(tmp_path)).to_pylist() == before


def test_loops_of_links_end_and_dangling_links_are_tracks_that_are_missing(tmp_path: Path) -> None:
    """A link to a parent folder must not list for ever; a link to nothing must end as a named failure."""
    touch(tmp_path / "album" / "a.mp3")
    (tmp_path / "album" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.mp3").symlink_to(tmp_path / "nowhere.mp3")
    (tmp_path / "self.mp3").symlink_to(tmp_path / "self.mp3")
    listing = list_catalog(str(tmp_path)).to_pylist()
    assert [(Path(row["uri"]).name, row["etag"] == "missing") for row in listing] == [
        ("a.mp3", False),
        ("gone.mp3", True),
        ("self.mp3", True),
    ]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """To open a pipe called x.wav is to wait for ever; a folder of that name is entered like any other."""
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    touch(tmp_path / "album.mp3" / "a.wav")
    rows = {Path(row["uri"]).name: row for row in list_catalog(str(tmp_path)).to_pylist()}
    assert set(rows) == {"pipe.wav", "zero.wav", "a.wav"}
    assert [rows[name]["etag"] for name in ("pipe.wav", "zero.wav")] == ["irregular"] * 2
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri\npipe.wav\nalbum.mp3\n/dev/zero\n")
    for track in from_table(list_catalog(str(manifest))):
        with pytest.raises(NotAFileError, match=track.uri):
            open_track(track)


@pytest.mark.parametrize(
    "written", ["http://metadata/x.mp3", "ftp://h/x.mp3", "zip://a::http://h/x", "github://o:r@/x.mp3"]
)
def test_a_manifest_names_no_web_address(tmp_path: Path, written: str) -> None:
    """Whoever writes a manifest must not have the workers ask hosts of their own network."""
    (tmp_path / "list.csv").write_text(f"uri\n{written}\n")
    with pytest.raises(MisuseError, match=r"row 1 .* copy the track to a folder or a bucket"):
        list_catalog(str(tmp_path / "list.csv"))


def test_a_local_manifest_may_name_any_local_file(tmp_path: Path) -> None:
    """A manifest of one's own may name what one may read, beside its folder too."""
    touch(tmp_path / "a.mp3")
    manifest = touch(tmp_path / "lists" / "list.csv", f"uri\n../a.mp3\nfile://{tmp_path}/a.mp3\n".encode())
    assert [row["size"] for row in list_catalog(str(manifest)).to_pylist()] == [1, 1]


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving it out would look as if its tracks were gone."""
    touch(tmp_path / "a.mp3")
    secret = touch(tmp_path / "secret" / "b.mp3").parent
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if str(folder) == str(secret):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(EarmarkError, match=f"cannot list {secret}: Permission denied"):
        list_catalog(str(tmp_path))


def test_limit_and_progress(tmp_path: Path) -> None:
    """--limit is for trying things out on a large catalog: it must not wait for the whole listing."""
    for number in range(20):
        touch(tmp_path / f"{number:02}.mp3")
    seen: list[int] = []
    assert list_catalog(str(tmp_path), limit=7, progress=seen.append).num_rows == 7
    assert seen == [7]


def test_a_single_file_is_a_catalog(tmp_path: Path) -> None:
    """`earmark run song.mp3 TABLES` is the first thing somebody tries."""
    path = touch(tmp_path / "song.mp3")
    assert list_catalog(str(path))["uri"].to_pylist() == [str(path)]


@pytest.mark.parametrize("what", ["nothing", "notes.txt"])
def test_what_is_no_catalog_is_named(tmp_path: Path, what: str) -> None:
    """A mistyped path is answered with that path."""
    touch(tmp_path / "notes.txt")
    with pytest.raises(MisuseError, match=what):
        list_catalog(str(tmp_path / what))


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


def test_a_parquet_manifest_with_a_missing_file(tmp_path: Path) -> None:
    """A manifest may name what is gone: that is one failed track, not a failed run."""
    manifest = tmp_path / "list.parquet"
    touch(tmp_path / "a.mp3")
    gone = [str(tmp_path / "gone.mp3"), f"{'x' * 300}.mp3", "a.mp3/b.mp3", "nul\0.mp3"]
    pq.write_table(pa.table({"uri": gone, "plays": [3, 4, 5, 6]}), manifest)
    tracks = from_table(list_catalog(str(manifest)))
    assert [track.etag for track in tracks] == ["missing"] * 4
    assert tracks[0].carried == {"plays": "3"}


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_manifests_of_pandas_and_polars(tmp_path: Path, kind: pa.DataType) -> None:
    """pandas 3 writes large strings, and categories as dictionaries: both are text."""
    touch(tmp_path / "a.mp3")
    pq.write_table(pa.table({" uri ": pa.array(["a.mp3"]).cast(kind)}), tmp_path / "list.parquet")
    assert list_catalog(str(tmp_path / "list.parquet"))["uri"].to_pylist() == [str(tmp_path / "a.mp3")]


def test_a_damaged_parquet_manifest_is_explained(tmp_path: Path) -> None:
    """A half-copied manifest is told from an empty one."""
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
        ("path\na.mp3\n", "no column 'uri'"),
        ("uri\na.mp3\na.mp3\n", "rows 1 and 2"),
        ('uri,track_id\na.mp3,1\n"",2\n', "row 2 .* no uri"),
        ("uri,uri\na.mp3,b.mp3\n", "two columns of the same name"),
        ("", "cannot be read"),
        ("uri,x\na.mp3\n", "cannot be read"),
    ],
)
def test_a_bad_manifest_is_explained(tmp_path: Path, text: str, message: str) -> None:
    """The message says which row or column, so that it can be mended."""
    manifest = tmp_path / "list.csv"
    manifest.write_text(text)
    with pytest.raises(MisuseError, match=message):
        list_catalog(str(manifest))


def test_listing_rows_round_trip() -> None:
    """Workers get tracks as Arrow rows; nothing of them may change on the way."""
    tracks = [
        TrackRef("1", "s3://bucket/ü #.mp3", 3, "abc", 1.5e9, {"label": "x"}),
        TrackRef("2", "/a b", 0, "missing"),
    ]
    assert from_table(to_batch(tracks)) == tracks


def test_canonical_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same catalog must be known again, however it is spelled."""
    monkeypatch.chdir(tmp_path)
    assert canonical("music/") == canonical(str(tmp_path / "music")) == str(tmp_path / "music")
    assert canonical("s3://bucket/music/") == canonical("s3a://bucket/music") == "s3://bucket/music"
