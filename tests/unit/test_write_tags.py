"""Writing genres into files: what changes and, above all, what does not."""

import errno
import fcntl
import io
import os
import stat
from dataclasses import replace
from pathlib import Path

import av
import mutagen
import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
from mutagen.flac import FLAC, Picture
from mutagen.id3 import ID3, TDAT, TIPL, TYER
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from numpy.typing import NDArray

from jobs.cli.summaries.labels import print_taggings
from jobs.write_tags import Tagging, check_all, plan_copies, plan_in_place, write_all
from pipeline.audio.tags.tags import read_tags
from pipeline.audio.tags.write_tags import remove_leftovers, write_tagged
from pipeline.catalogs.track_refs import stat_track
from schemas.errors import EarmarkError, MisuseError
from schemas.tracks import Tags
from tests.encoders import encode, sweep
from tests.unit.test_tags import EXPECTED, MUTAGEN, tagged

SUFFIXES = {"vorbis": "ogg", "alac": "m4a"}


def _decoded(data: bytes) -> NDArray[np.float32]:
    with av.open(io.BytesIO(data), "r") as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=-1)


def _tags(path: Path) -> Tags:
    with path.open("rb") as file:
        return read_tags(file, str(path))


@pytest.fixture(params=MUTAGEN)
def track(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tagged file of each format, whose name does not show the format."""
    path = tmp_path / "catalog" / f"track.{SUFFIXES.get(request.param, request.param)}"
    path.parent.mkdir()
    path.write_bytes(tagged(request.param).getvalue())
    return path


def test_only_the_genre_changes(track: Path, tmp_path: Path) -> None:
    """A copy would sound different, or have lost its artist, or the original would have been touched."""
    before = track.read_bytes()
    target = tmp_path / "copies" / track.name
    write_tagged(str(track), len(before), target, "hiphop ✓")
    assert _tags(target) == replace(EXPECTED, genre_tag="hiphop ✓")
    np.testing.assert_array_equal(_decoded(target.read_bytes()), _decoded(before))
    assert track.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_file_without_tags_gets_one(track: Path) -> None:
    """Untagged files, which need a genre most, would be left out or fail."""
    form = track.suffix[1:]
    data = encode(sweep(48000, 1), 48000, {"ogg": "vorbis"}.get(form, form))
    track.write_bytes(data)
    write_tagged(str(track), len(data), track, "jazz")
    assert _tags(track).genre_tag == "jazz"
    np.testing.assert_array_equal(_decoded(track.read_bytes()), _decoded(data))


def test_id3_stays_in_its_version(tmp_path: Path) -> None:
    """Players that only support ID3 2.3 would see no tags, and dates and musicians would change frames."""
    path = tmp_path / "old.mp3"
    path.write_bytes(encode(sweep(44100, 1), 44100, "mp3"))
    old = ID3()
    for frame in (TYER(encoding=0, text=["1999"]), TDAT(encoding=0, text=["0305"])):
        old.add(frame)
    old.add(TIPL(encoding=0, people=[["producer", "X"]]))
    old.save(path, v2_version=3)
    before = ID3(path, translate=False)
    write_tagged(str(path), path.stat().st_size, path, "Ärger")
    after = ID3(path, translate=False)
    assert after.version == before.version == (2, 3, 0)
    assert after.pop("TCON").text == ["Ärger"]
    assert dict(after.items()) == dict(before.items())


def test_pictures_and_custom_fields_stay(tmp_path: Path) -> None:
    """Covers, ratings and custom fields would be lost from thousands of files."""
    flac, mp4 = tmp_path / "a.flac", tmp_path / "b.m4a"
    flac.write_bytes(tagged("flac").getvalue())
    picture = Picture()
    picture.data, picture.mime = os.urandom(5000), "image/png"
    opened = FLAC(flac)
    opened.add_picture(picture)
    opened["MOOD"], opened["artist"] = ["a", "b"], ["x", "y"]
    opened.save()
    mp4.write_bytes(tagged("m4a").getvalue())
    other = MP4(mp4)
    other["----:com.apple.iTunes:MOOD"], other["trkn"] = [b"calm"], [(3, 12)]
    other.save()
    for path in (flac, mp4):
        write_tagged(str(path), path.stat().st_size, path, "pop")
    assert FLAC(flac).pictures[0].data == picture.data
    assert (FLAC(flac)["mood"], FLAC(flac)["artist"], FLAC(flac)["genre"]) == (
        ["a", "b"],
        ["x", "y"],
        ["pop"],
    )
    assert (MP4(mp4)["----:com.apple.iTunes:MOOD"], MP4(mp4)["trkn"]) == ([b"calm"], [(3, 12)])


def test_riff_info_is_not_hidden(tmp_path: Path) -> None:
    """A wav of a sound editor would lose its artist and title to programs that find the new ID3 chunk."""
    path = tmp_path / "editor.wav"
    with sf.SoundFile(path, "w", 44100, 1, subtype="PCM_16") as sound:
        sound.artist, sound.title, sound.album, sound.date = "Sigur Rós", "Njósnavélin", "( )", "2002-10-28"
        sound.write(np.zeros(44100))
    before = _tags(path)
    write_tagged(str(path), path.stat().st_size, path, "rock")
    assert _tags(path) == replace(before, genre_tag="rock")


@pytest.mark.parametrize("form", ["wav", "aiff", "mp3"])
def test_comment_and_track_number_are_not_hidden(form: str, tmp_path: Path) -> None:
    """Programs that find the new ID3v2 would show them no more, or under another name."""
    path, rate = tmp_path / f"a.{form}", 44100
    path.write_bytes(encode(sweep(rate, 1), rate, form))
    if form == "mp3":
        id3v1 = b"TAG" + bytes(94) + b"live".ljust(28, b"\0") + b"\0\x03\xff"
        path.write_bytes(path.read_bytes() + id3v1)
    else:
        with sf.SoundFile(path, "w", rate, 1, subtype="PCM_16") as sound:
            sound.comment, sound.tracknumber, sound.copyright = "live", "3", "none"
            sound.write(np.zeros(rate))
    write_tagged(str(path), path.stat().st_size, path, "rock")
    tags = ID3(path, load_v1=False) if form == "mp3" else mutagen.File(path).tags
    assert [(comment.desc, comment.text) for comment in tags.getall("COMM")] == [("", ["live"])]
    assert tags.get("TRCK") == (None if form == "aiff" else "3")
    assert tags.get("TCOP") == (None if form == "mp3" else "none")


def test_a_file_that_cannot_be_tagged_is_unchanged(tmp_path: Path) -> None:
    """A broken or odd file would be replaced by half a copy, or end the command in a traceback."""
    for form, suffix in (("webm", "webm"), ("au", "au"), ("adts", "aac")):
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(encode(sweep(48000, 1), 48000, form))
        with pytest.raises(EarmarkError, match=r"cannot write tags to"):
            write_tagged(str(path), path.stat().st_size, path, "rock")
    text = tmp_path / "y.flac"
    text.write_bytes(b"fLaC and no more")
    with pytest.raises(EarmarkError, match=r"y\.flac"):
        write_tagged(str(text), 16, text, "rock")
    assert text.read_bytes() == b"fLaC and no more"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.aac", "x.au", "x.webm", "y.flac"]


def test_a_refused_copy_leaves_no_folder(tmp_path: Path) -> None:
    """The copies of an album that cannot be tagged were a tree of empty folders."""
    path = tmp_path / "x.webm"
    path.write_bytes(encode(sweep(48000, 1), 48000, "webm"))
    for folder in (tmp_path / "copies" / "artist" / "album", tmp_path):
        with pytest.raises(EarmarkError):
            write_tagged(str(path), path.stat().st_size, folder / "copy.webm", "jazz")
    assert list(tmp_path.iterdir()) == [path]
    good = _write(tmp_path / "a.flac")
    write_tagged(str(good), good.stat().st_size, tmp_path / "copies" / "artist" / "a.flac", "jazz")
    assert [each.name for each in (tmp_path / "copies" / "artist").iterdir()] == ["a.flac"]


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    """Files would become readable for all, or a link in the catalog a second copy of its file."""
    path, link = tmp_path / "real.mp3", tmp_path / "link.mp3"
    path.write_bytes(tagged("mp3").getvalue())
    path.chmod(0o640)
    link.symlink_to(path)
    write_tagged(str(link), path.stat().st_size, link, "rock")
    assert link.is_symlink()
    assert str(MP3(path).tags["TCON"]) == "rock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_extended_attributes_stay(tmp_path: Path) -> None:
    """File managers keep ratings and labels in extended attributes, which a new file would lose."""
    path = _write(tmp_path / "a.flac")
    try:
        os.setxattr(path, "user.xdg.tags", b"favorite")
    except (AttributeError, OSError):
        pytest.skip("this disk has no extended attributes")
    os.utime(path, (1e9, 1e9))
    write_tagged(str(path), path.stat().st_size, path, "jazz")
    assert os.getxattr(path, "user.xdg.tags") == b"favorite"
    assert path.stat().st_mtime > 1e9  # a new version, also where its size is the same


def test_a_read_only_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message named a scratch file that never existed, and the type of a Python exception."""
    path = _write(tmp_path / "a.flac")

    def refuse(self: Path, *args: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    for name in ("open", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(EarmarkError, match=rf"cannot write {path}: Read-only file system"):
        write_tagged(str(path), path.stat().st_size, path, "jazz")


def _labels(*rows: tuple[Path | str, str | None, str | None]) -> pa.Table:
    """Labels of files as they are now: file, genre, genre tag."""
    return pa.table(
        {
            "track_id": [f"id{i}" for i in range(len(rows))],
            "uri": [str(uri) for uri, _, _ in rows],
            "etag": [stat_track(str(uri), "").etag for uri, _, _ in rows],
            "genre": pa.array([genre for _, genre, _ in rows], pa.string()),
            "genre_tag": pa.array([tag for _, _, tag in rows], pa.string()),
        }
    )


def _with_ids(rows: pa.Table, *track_ids: str) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("track_id"), "track_id", [list(track_ids)])


def _write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tagged("mp3").getvalue())
    return path


def test_copies_lie_as_in_the_catalog(tmp_path: Path) -> None:
    """Copies would overwrite one another or what is there, or a second night would fail."""
    catalog, folder = tmp_path / "catalog", tmp_path / "copies"
    files = [_write(catalog / name) for name in ("a/x.mp3", "b/x.mp3", "x.mp3")]
    rows = _labels(*((file, "jazz", "Rock") for file in files))
    mine = folder / "x.mp3"
    mine.parent.mkdir()
    mine.write_text("mine")
    plan = plan_copies(rows, str(catalog), folder)
    assert [each.outcome for each in plan] == ["to write", "to write", "already there"]
    done = write_all(plan, lambda _: None)
    assert [each.outcome for each in done] == ["written", "written", "already there"]
    assert mine.read_text() == "mine"
    assert [_tags(folder / name).genre_tag for name in ("a/x.mp3", "b/x.mp3")] == ["jazz", "jazz"]
    again = plan_copies(rows, str(catalog), folder)
    assert {each.outcome for each in again} == {"already there"}


def test_copies_of_a_manifests_tracks_stay_in_their_folder(tmp_path: Path) -> None:
    """A uri with .. in it would write outside of the folder, and two tracks of one name to one file."""
    folder = tmp_path / "copies"
    one, two = _write(tmp_path / "m1" / "x.mp3"), _write(tmp_path / "m2" / "x.mp3")
    odd = f"{tmp_path}/m1/../m1/../../../../etc/x.mp3"
    rows = pa.concat_tables([_labels((one, "jazz", None), (two, "pop", None)), _labels((odd, "pop", None))])
    plan = plan_copies(rows, str(tmp_path / "list.csv"), folder)
    targets = [each.target for each in plan]
    assert len(set(targets)) == 3
    assert all(".." not in target.parts and target.is_relative_to(folder) for target in targets)
    mixed = pa.concat_tables([rows, _labels((one, "jazz", None)).set_column(1, "uri", [["s3://b/k/x.mp3"]])])
    assert all(each.target.is_relative_to(folder) for each in plan_copies(mixed, "s3://b/list.csv", folder))


def test_a_file_listed_under_two_ids_is_copied_once(tmp_path: Path) -> None:
    """A manifest giving one file the ids album/1 and album/2 would end the command in an internal error."""
    file, folder = _write(tmp_path / "m" / "a.mp3"), tmp_path / "copies"
    rows = _with_ids(_labels((file, "jazz", None), (file, "jazz", None)), "album/1", "album/2")
    done = write_all(plan_copies(rows, str(tmp_path / "list.csv"), folder), lambda _: None)
    assert [(each.target, each.outcome) for each in done] == [(folder / "a.mp3", "written")]


@pytest.mark.parametrize("track_id", ["album/1", "a\0b", "x" * 300, "..", ""])
def test_any_id_gives_a_copy_of_its_own(tmp_path: Path, track_id: str) -> None:
    """An id that is no file name would end the command, and two copies of one name would be one file."""
    folder = tmp_path / "copies"
    name = f"{'n' * 251}.mp3"  # the longest that a file may have
    one, same = _write(tmp_path / "m" / name), f"{tmp_path}/m/../m/{name}"
    rows = _labels((one, "jazz", None), (f"{tmp_path}/m/./{name}", "pop", None), (same, "rock", None))
    plan = plan_copies(_with_ids(rows, "0", track_id, track_id), str(tmp_path / "list.csv"), folder)
    done = write_all(plan, lambda _: None)
    assert [each.outcome for each in done] == ["written"] * 3
    assert len({each.target for each in done}) == 3
    for each in done:
        assert each.target.resolve().is_relative_to(folder)
        assert _tags(each.target).genre_tag == each.genre
    again = plan_copies(_with_ids(rows, "0", track_id, track_id), str(tmp_path / "list.csv"), folder)
    assert [each.target for each in again] == [each.target for each in done]
    assert {each.outcome for each in again} == {"already there"}


def test_copies_are_not_put_into_the_catalog(tmp_path: Path) -> None:
    """The next night would label the copies as new tracks, every night twice as many."""
    track = _write(tmp_path / "catalog" / "x.mp3")
    for folder in (tmp_path / "catalog", tmp_path / "catalog" / "new"):
        with pytest.raises(MisuseError, match="is inside the catalog"):
            plan_copies(_labels((track, "jazz", None)), str(tmp_path / "catalog"), folder)


def test_in_place(tmp_path: Path) -> None:
    """Files would be written for nothing, or a file that was replaced since be given the old one's genre."""
    same, other, changed, gone = (
        _write(tmp_path / f"{name}.mp3") for name in ("same", "other", "changed", "gone")
    )
    rows = _labels(
        (same, "Rock", "Rock"), (other, "jazz", "Rock"), (changed, "jazz", None), (gone, "pop", None)
    )
    rows = pa.concat_tables([rows, _labels((same, None, "Rock"))])
    changed.write_bytes(changed.read_bytes() + b"\0")
    gone.unlink()
    before = same.read_bytes()
    done = write_all(plan_in_place(rows), lambda _: None)
    assert [each.outcome for each in done] == ["unchanged", "written", "failed", "failed"]
    assert "changed since it was labeled" in done[2].reason
    assert same.read_bytes() == before
    assert _tags(other).genre_tag == "jazz"
    with pytest.raises(MisuseError, match="is not a local file"):
        plan_in_place(rows.set_column(1, "uri", [["s3://b/x.mp3"] * 5]))


def test_a_file_that_the_catalog_has_twice_is_written_once(tmp_path: Path) -> None:
    """Earmark would call a file that it has just written itself changed, and fail."""
    file, link, hard = _write(tmp_path / "a.mp3"), tmp_path / "link.mp3", tmp_path / "hard.mp3"
    link.symlink_to(file)
    os.link(file, hard)  # its content stays, so it needs a tag of its own
    paths = (file, link, file, hard)
    rows = _with_ids(_labels(*((path, "jazz", "Rock") for path in paths)), "0", "1", "album/1", "3")
    done = write_all(plan_in_place(rows), lambda _: None)
    assert [(each.target, each.outcome) for each in done] == [(file, "written"), (hard, "written")]
    for path in paths:
        assert _tags(path).genre_tag == "jazz"
    assert link.is_symlink()


def test_the_preview_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    """The preview promises 39 files, and the writing that follows it fails on those that nobody checked."""
    names = ("good.mp3", "protected.mp3", "changed.mp3", "gone.mp3")
    good, protected, changed, gone = (_write(tmp_path / name) for name in names)
    odd = tmp_path / "odd.mka"
    odd.write_bytes(encode(sweep(48000, 1), 48000, "webm"))
    protected.chmod(0o444)
    rows = _labels(*((file, "jazz", None) for file in (good, protected, changed, gone, odd)))
    changed.write_bytes(changed.read_bytes() + b"more")
    gone.unlink()
    planned = check_all(plan_in_place(rows), lambda _: None)
    assert [each.outcome for each in planned] == ["to write", *["refused"] * 4]
    done = write_all(plan_in_place(rows), lambda _: None)
    assert [each.outcome for each in done] == ["written", *["failed"] * 4]
    assert [each.reason for each in planned] == [each.reason for each in done]
    rows = _labels((odd, "jazz", None), (protected, "pop", None))
    copies = check_all(plan_copies(rows, str(tmp_path), tmp_path.parent / "copies"), lambda _: None)
    assert [each.outcome for each in copies] == ["refused", "to write"]
    assert not (tmp_path.parent / "copies").exists()


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    """A command that is repeated would call each file that it wrote itself changed, and fail."""
    files = [_write(tmp_path / f"{name}.mp3") for name in ("a", "b")]
    rows = _labels((files[0], "jazz", "Rock"), (files[1], "pop", None))
    assert [each.outcome for each in write_all(plan_in_place(rows), lambda _: None)] == ["written"] * 2
    before = [file.read_bytes() for file in files]
    again = write_all(plan_in_place(rows), lambda _: None)
    assert [each.outcome for each in again] == ["unchanged"] * 2
    assert [file.read_bytes() for file in files] == before
    other = rows.set_column(rows.schema.get_field_index("genre"), "genre", [["blues", "pop"]])
    done = write_all(plan_in_place(other), lambda _: None)
    assert [each.outcome for each in done] == ["failed", "unchanged"], "another genre is for another run"


def test_whatever_one_file_raises_the_others_are_written(tmp_path: Path) -> None:
    """One wav of a pipe, or whatever mutagen stumbles over, would leave the rest of a catalog unwritten."""
    rng = np.random.default_rng(0)
    files = []
    for form in ("wav", "aiff", "flac", "mp3", "ogg", "opus", "m4a", "wma"):
        good = tagged({"ogg": "vorbis"}.get(form, form)).getvalue()
        for number in range(15):
            data = np.frombuffer(good, np.uint8).copy()
            head = min(len(data), 4000)
            data[rng.integers(0, head, 1 + number)] = rng.integers(0, 256, 1 + number)
            path = tmp_path / f"{number}.{form}"
            path.write_bytes(data.tobytes()[: len(data) // 2 if number == 7 else None])
            files.append(path)
    last = _write(tmp_path / "last.mp3")
    contents = {path: path.read_bytes() for path in files}
    done = write_all(
        plan_in_place(_labels(*((path, "jazz", None) for path in [*files, last]))), lambda _: None
    )
    assert {each.outcome for each in done} == {"written", "failed"}
    assert done[-1].outcome == "written"
    for each in done:
        assert (each.reason == "") == (each.outcome == "written")
        if each.outcome == "failed":
            assert each.target.read_bytes() == contents[each.target]
        else:
            assert _tags(each.target).genre_tag == "jazz"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in [*files, last]}


def test_a_write_protected_file_is_left_alone(tmp_path: Path) -> None:
    """A file that its owner protected would be replaced all the same, since only its folder is asked."""
    path = _write(tmp_path / "a.mp3")
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises(EarmarkError, match="write-protected"):
        write_tagged(str(path), len(before), path, "jazz")
    assert path.read_bytes() == before
    copy = tmp_path / "copies" / "a.mp3"
    write_tagged(str(path), len(before), copy, "jazz")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o444
    assert _tags(copy).genre_tag == "jazz"


def test_another_name_of_the_file_keeps_its_content(tmp_path: Path) -> None:
    """A hard link that belongs to another program would be changed under it."""
    path, other = _write(tmp_path / "a.mp3"), tmp_path / "b.mp3"
    os.link(path, other)
    before = other.read_bytes()
    write_tagged(str(path), len(before), path, "jazz")
    assert _tags(path).genre_tag == "jazz"
    assert other.read_bytes() == before


def test_a_file_in_the_way_of_the_copies_is_said(track: Path, tmp_path: Path) -> None:
    """A folder named wrongly would end all of the writing as an internal error, to be reported."""
    (tmp_path / "copies").write_text("no folder")
    with pytest.raises(EarmarkError, match="a file is where a folder should be"):
        write_tagged(str(track), track.stat().st_size, tmp_path / "copies" / "album" / track.name, "pop")


def test_a_thousand_failures_do_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be written would print its reason once for every track of the catalog."""
    failed = Tagging("/m/a.mp3", "1", Path("/c/a.mp3"), "pop", None, "failed", "cannot write \x1b[31mthis")
    print_taggings([failed] * 1000)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) < 30
    assert "and 980 more failed" in printed
    assert "1,000 failed" in printed
    assert "\x1b" not in printed


def test_what_a_killed_command_left_among_the_music_is_removed(tmp_path: Path) -> None:
    """Copies as large as the tracks stay hidden in the music folder; what others made or use must stay."""
    path = tmp_path / "a.mp3"
    path.write_bytes(tagged("mp3").getvalue())
    left, used = (tmp_path / f".tmp-{digit * 32}.mp3" for digit in "0f")
    for file in (left, used, tmp_path / ".tmp-mine.mp3", tmp_path / f".tmp-{'0' * 32}"):
        file.write_bytes(b"x")
    track = stat_track(str(path), "")
    plan = [Tagging(track.uri, track.etag, path, "jazz", None)]
    with used.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        (done,) = write_all(plan, lambda _: None)
    assert done.outcome == "written"
    assert {each.name for each in tmp_path.iterdir()} == {
        *("a.mp3", used.name, ".tmp-mine.mp3", f".tmp-{'0' * 32}")
    }


def test_a_copy_that_is_being_written_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command would take it for a leftover."""
    path = tmp_path / "a.mp3"
    path.write_bytes(tagged("mp3").getvalue())

    def assert_same_audio(original: Path, copy: Path) -> None:
        remove_leftovers(tmp_path)
        assert copy.exists()

    monkeypatch.setattr("pipeline.audio.tags.write_tags.assert_same_audio", assert_same_audio)
    write_tagged(str(path), path.stat().st_size, path, "jazz")
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp3"]


@pytest.mark.parametrize("name", ["a", "a.mp3", "a." + "b" * 250])
def test_what_a_killed_command_fetched_is_removed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A track of a bucket would stay hidden beside its copy for ever, or be removed while it is copied."""
    data = tagged("mp3").getvalue()

    def assert_same_audio(original: Path, copy: Path) -> None:
        remove_leftovers(tmp_path)
        assert original.read_bytes() == data
        for each in (original, copy):
            (tmp_path / each.name.replace(each.name[5:37], "0" * 32)).write_bytes(b"left by another")

    monkeypatch.setattr("pipeline.audio.tags.write_tags.assert_same_audio", assert_same_audio)
    monkeypatch.setattr("pipeline.storage.storage.open_binary", lambda uri, size: io.BytesIO(data))
    write_tagged("s3://bucket/a.mp3", len(data), tmp_path / name, "jazz")
    remove_leftovers(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [name]
