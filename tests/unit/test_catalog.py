"""Listing folders and manifests."""

import contextlib
import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.catalogs.catalog import canonical, is_same, list_catalog, survey
from pipeline.catalogs.track_refs import from_table, to_batch
from pipeline.shards.fetching import open_track
from schemas.errors import EarmarkError, MisuseError, NotAFileError, StoreError
from schemas.tables import LISTING
from schemas.tracks import TrackRef


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def below(folder: Path) -> list[str]:
    return [os.path.relpath(uri, folder) for uri in list_catalog(str(folder))["uri"].to_pylist()]


def test_a_modification_time_that_no_calendar_has_is_unknown() -> None:
    """One such file would end the listing of a million others; disks with 64 bits for a time allow it."""
    tracks = [TrackRef("a", "/a.mp3", 1, "x", seconds) for seconds in (3e11, -1e14, 1e300, 0.0, 86400.0)]
    times = to_batch(tracks)["modified_at"].to_pylist()
    assert times == [None, None, None, None, datetime(1970, 1, 2, tzinfo=UTC)]


def test_all_audio_in_a_folder_is_listed(tmp_path: Path) -> None:
    """A file left out is never labeled; one listed by mistake becomes a failure that every user sees."""
    names = ["a.mp3", "sub/b.FLAC", "sub/deep/c d #1 100% ü.ogg", "empty.wav"]
    for name in names:
        touch(tmp_path / name, b"" if "empty" in name else b"xyz")
    for name in ["cover.jpg", "notes.txt", "mp3", "a.mp3.part", ".nomedia"]:
        touch(tmp_path / name)
    listing = list_catalog(str(tmp_path))
    assert below(tmp_path) == sorted(names)
    assert (
        dict(zip(listing["uri"].to_pylist(), listing["size"].to_pylist(), strict=True))[
            str(tmp_path / "empty.wav")
        ]
        == 0
    )
    assert len(set(listing["track_id"].to_pylist())) == 4
    assert listing.schema == LISTING


def test_names_that_begin_with_a_dot_are_listed(tmp_path: Path) -> None:
    """ "...And Justice for All" is an album; half a catalog of such names was silently left out."""
    names = ["Metallica/...And Justice for All/01.mp3", "Britney/...Baby One More Time.mp3", ".mp3", "..wav"]
    for name in [*names, "Plain/01.mp3", ".hidden/deep/x.Wv", "odd ends/a.mp3 ", "odd ends/b.mp3."]:
        touch(tmp_path / name)
    assert len(below(tmp_path)) == len(names) + 4
    assert set(names) < set(below(tmp_path))


def test_system_files_are_left_out_and_counted(tmp_path: Path) -> None:
    """A NAS's indexes, recycle bins and AppleDouble files look like tracks; the user reads what they were."""
    for name in [
        *("a.mp3", "Lost+Found/b.mp3"),
        *("x/@eaDir/a.mp3/SYNOAUDIO.mp3", "@eadir/y.mp3", "#recycle/z.mp3", "$Recycle.Bin/S-1/q.mp3"),
        *("System Volume Information/t.mp3", ".Trash-1000/files/w.mp3", ".git/objects/v.mp3"),
        *("lost+found/u.mp3", ".zfs/snapshot/s/a.mp3", "__MACOSX/._a.mp3"),
        *("._a.mp3", ".DS_Store", f".tmp-{'0af' * 10}00.mp3", "cover.JPG", "b.jpg", "x/disc.cue", "LICENSE"),
    ]:
        touch(tmp_path / name)
    listing = survey(str(tmp_path))
    assert below(tmp_path) == ["Lost+Found/b.mp3", "a.mp3"]
    assert listing.left_out.not_audio == {"jpg": 2, "cue": 1, "no extension": 1}
    assert listing.left_out.system == {
        "@eaDir": 2, "#recycle": 1, "$RECYCLE.BIN": 1, "System Volume Information": 1, ".Trash-*": 1,
        ".git": 1, "lost+found": 1, "__MACOSX": 1, ".zfs (not opened)": 1,
        "._*": 1, ".DS_Store": 1, ".tmp-*": 1,
    }  # fmt: skip


def test_counts_of_extensions_are_bounded(tmp_path: Path) -> None:
    """Numbered extensions (song.00001) must not make a list as long as the catalog, here or in the report."""
    for number in range(600):
        touch(tmp_path / f"part.{number:05}")
    counts = survey(str(tmp_path)).left_out.not_audio
    assert (sum(counts.values()), counts["other"], len(counts)) == (600, 100, 501)


def test_a_link_into_a_hidden_folder_keeps_its_ids(tmp_path: Path) -> None:
    """Earlier releases did not enter hidden folders: a track listed through a link into one keeps its id."""
    touch(tmp_path / ".store" / "deep" / "a.mp3")
    touch(tmp_path / ".store" / "b.mp3")
    (tmp_path / "zz album").symlink_to(tmp_path / ".store" / "deep")
    (tmp_path / ".link").symlink_to(tmp_path / ".store")
    assert below(tmp_path) == [".store/b.mp3", "zz album/a.mp3"]


def test_ids_stay_when_the_catalog_moves_and_versions_change_with_content(tmp_path: Path) -> None:
    """A moved bucket must not be labeled again; a replaced file must be."""
    touch(tmp_path / "one" / "x" / "a.mp3")
    before = list_catalog(str(tmp_path / "one")).to_pylist()[0]
    (tmp_path / "one").rename(tmp_path / "two")
    moved = list_catalog(str(tmp_path / "two") + "/").to_pylist()[0]
    assert (moved["track_id"], moved["etag"]) == (before["track_id"], before["etag"])
    os.utime(tmp_path / "two" / "x" / "a.mp3", ns=(1, 1))
    assert list_catalog(str(tmp_path / "two")).to_pylist()[0]["etag"] != before["etag"]


@pytest.mark.parametrize("link", ["best", "new", "fav", "x1", "x2", "x3", "zz"])
def test_a_new_link_changes_no_id(tmp_path: Path, link: str) -> None:
    """The order of directory entries decided whether link or folder was listed: all tracks were new."""
    touch(tmp_path / "albums" / "deep" / "a.mp3")
    before = list_catalog(str(tmp_path)).to_pylist()
    (tmp_path / link).symlink_to(tmp_path / "albums" / "deep")
    (tmp_path / f"{link}0").symlink_to(tmp_path / "albums")
    assert list_catalog(str(tmp_path)).to_pylist() == before


def test_link_loops_end_and_dangling_links_are_missing_tracks(tmp_path: Path) -> None:
    """A link to a parent folder must not be listed forever; a dangling link must become a named failure."""
    touch(tmp_path / "album" / "a.mp3")
    (tmp_path / "album" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.mp3").symlink_to(tmp_path / "nowhere.mp3")
    (tmp_path / "self.mp3").symlink_to(tmp_path / "self.mp3")
    (tmp_path / "below").symlink_to(tmp_path / "album" / "a.mp3" / "below")
    listing = list_catalog(str(tmp_path)).to_pylist()
    assert [(Path(row["uri"]).name, row["etag"] == "missing") for row in listing] == [
        ("a.mp3", False),
        ("gone.mp3", True),
        ("self.mp3", True),
    ]


def test_a_pipe_does_not_block_the_listing(tmp_path: Path) -> None:
    """Opening a pipe named x.wav would wait forever; a folder of that name is entered like any other."""
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


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipping it would look as if its tracks were gone."""
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


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EHOSTDOWN, errno.ENOTCONN])
def test_a_link_to_a_mount_that_is_away_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It was taken for a file that is no audio, so all tracks on the mount were recorded as gone."""

    class Link:
        name, path = "nas", str(tmp_path / "nas")

        def is_dir(self) -> bool:
            raise OSError(number, os.strerror(number), self.path)

    scandir = os.scandir

    def list_link(folder: str) -> object:
        found = scandir(folder)
        return contextlib.nullcontext([Link(), *found]) if folder == str(tmp_path) else found

    touch(tmp_path / "a.mp3")
    monkeypatch.setattr(os, "scandir", list_link)
    with pytest.raises(EarmarkError, match=f"cannot list {tmp_path}: {os.strerror(number)}"):
        list_catalog(str(tmp_path))


def test_a_disk_that_fails_at_a_file_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network mount whose server went away ended the listing in an internal error."""
    touch(tmp_path / "a.mp3")
    look = os.stat

    def fail(path: str, **options: bool) -> os.stat_result:
        if str(path).endswith("a.mp3"):
            raise OSError(errno.EIO, "Input/output error", path)
        return look(path, **options)

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(StoreError, match=r"cannot look at .*/a\.mp3: Input/output error") as caught:
        list_catalog(str(tmp_path))
    assert caught.value.transient


def test_limit_and_progress(tmp_path: Path) -> None:
    """--limit is for trying things out on a large catalog: it must not wait for the whole listing."""
    for number in range(20):
        touch(tmp_path / f"{number:02}.mp3")
    seen: list[int] = []
    assert survey(str(tmp_path), limit=7, progress=seen.append).tracks.num_rows == 7
    assert seen == [7]


def test_a_single_file_is_a_catalog(tmp_path: Path) -> None:
    """`earmark run song.mp3 TABLES` is what new users try first."""
    path = touch(tmp_path / "song.mp3")
    assert list_catalog(str(path))["uri"].to_pylist() == [str(path)]


@pytest.mark.parametrize("what", ["nothing", "notes.txt"])
def test_a_path_that_is_not_a_catalog_is_named(tmp_path: Path, what: str) -> None:
    """The message for a mistyped path contains that path."""
    touch(tmp_path / "notes.txt")
    with pytest.raises(MisuseError, match=what):
        list_catalog(str(tmp_path / what))


def test_listing_rows_round_trip() -> None:
    """Workers receive tracks as Arrow rows; nothing may change in the conversion."""
    tracks = [
        TrackRef("1", "s3://bucket/ü #.mp3", 3, "abc", 1.5e9, {"label": "x"}),
        TrackRef("2", "/a b", 0, "missing"),
    ]
    assert from_table(to_batch(tracks)) == tracks


def test_canonical_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same catalog must be recognized in every spelling."""
    monkeypatch.chdir(tmp_path)
    assert canonical("music/") == canonical(str(tmp_path / "music")) == str(tmp_path / "music")
    assert canonical("s3://bucket/music/") == canonical("s3a://bucket/music") == "s3://bucket/music"
    assert canonical("S3N://bucket/music//") == "s3://bucket/music"
    assert canonical(str(Path("s3://bucket/music/"))) == canonical("S3A:/bucket/music") == "s3://bucket/music"
    assert canonical("s3://bucket//music") == "s3://bucket//music"  # keys that begin with a slash are others
    local = str(tmp_path / "music")
    for written in (f"file://{local}", f"file://localhost{local}", f"file:{local}/", f"FILE://{local}//"):
        assert canonical(written) == local
    assert canonical("music/../music") == local
    assert canonical(f"file://{local}/caf%E9") == f"file://{local}/caf%E9"
    with pytest.raises(MisuseError, match="the machine tmp; write a local file as file:///tmp/music"):
        canonical("file://tmp/music")
    for address in ("https://host/music", "data://x", "memory://tables"):
        with pytest.raises(MisuseError, match=":// locations are not supported; use a path or a store"):
            canonical(address)
    for address in ("s3://", "s3:///music", "gs://", "gs:///music"):
        with pytest.raises(MisuseError, match=f"names no bucket.* {address[:5]}bucket/music"):
            canonical(address)
    assert canonical("hdfs:///music") == "hdfs:///music"


def test_one_catalog_under_many_names(tmp_path: Path) -> None:
    """Through a link, tables were refused as another catalog's, and the night ended without labels."""
    touch(tmp_path / "music" / "a.mp3")
    touch(tmp_path / "other" / "a.mp3")
    (tmp_path / "link").symlink_to(tmp_path / "music")
    music = str(tmp_path / "music")
    for name in (
        tmp_path / "link",
        f"{music}/../music",
        f"file:{music}",
        f"{music}/",
        tmp_path / "link" / ".",
    ):
        assert is_same(str(name), music)
        assert is_same(music, str(name))
    for name in (tmp_path / "other", tmp_path / "nothing", tmp_path, f"s3:/{music}"):
        assert not is_same(str(name), music)
    assert is_same("s3a://b/m/", "s3://b/m")
    assert is_same("gcs://b/m", "gs://b/m")
    assert not is_same("s3://b//m", "s3://b/m")
