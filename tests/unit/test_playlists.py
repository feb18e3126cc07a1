"""Playlists: what a player makes of the file."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from jobs.cli.main import app
from jobs.playlists import add_track_columns, relative_to_playlist, render_playlist, write_playlists
from pipeline.storage import storage
from pipeline.tables.current import current_labels
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError
from tests.trend_tables import MODEL, write_trend_tables

ODD = [
    "/music/a b/100 %/Été #1?.mp3",
    "/music/two\nlines\r.mp3",
    "/music/ends in a space.mp3 ",
    "/music/日/夜.flac",
    "file:///music/caf%E9.mp3",
    "s3://bucket/a b/c#d?.mp3",
    "s3://bucket/two\nlines.mp3",
]


def _opened(line: str) -> str:
    """The file that a player opens for a line, which it strips and reads as a path or a URI."""
    assert line == line.strip()
    assert not line.startswith("#")
    return unquote(urlsplit(line).path, errors="surrogateescape") if line.startswith("file://") else line


def test_every_track_can_be_opened() -> None:
    """A player would skip tracks with odd names, or take the rest of a name for a track of its own."""
    tracks = [{"uri": uri, "artist": None, "title": None, "duration_s": None} for uri in ODD]
    lines = render_playlist("rock", tracks).splitlines()
    assert lines[:2] == ["#EXTM3U", "#PLAYLIST:rock"]
    assert len(lines) == 2 + 2 * len(ODD)
    entries = [_opened(line) for line in lines[3::2]]
    assert entries[:5] == [*ODD[:4], "/music/caf\udce9.mp3"]
    assert entries[5:] == ["s3://bucket/a b/c#d?.mp3", "s3://bucket/two%0Alines.mp3"]


def test_captions() -> None:
    """A player would show nothing, or a tag's newline would end in a broken list."""
    tracks: list[dict[str, Any]] = [
        {"uri": "/m/x.mp3", "artist": "Björk", "title": "Jóga", "duration_s": 304.6},
        {"uri": "/m/01 Name.mp3", "artist": None, "title": None, "duration_s": None},
        {"uri": "/m/y.mp3", "artist": "A\nB", "title": "  #EXTINF:1,\r\nc ", "duration_s": 0.4},
    ]
    captions = render_playlist("a\nb", tracks).splitlines()[2::2]
    assert captions == ["#EXTINF:305,Björk - Jóga", "#EXTINF:-1,01 Name", "#EXTINF:0,A B - #EXTINF:1, c"]


def test_a_list_for_each_genre(tmp_path: Path) -> None:
    """Tracks would be in no list, in two, or in the wrong one."""
    tables = Tables(str(tmp_path / "tables"))
    write_trend_tables(tables, 200)
    labels = current_labels(tables, MODEL)
    open_ended = pa.array(
        [None, *labels["genre"].to_pylist()[1:]], pa.string()
    )  # as --min-confidence leaves it
    labels = labels.set_column(labels.column_names.index("genre"), "genre", open_ended)
    written = write_playlists(add_track_columns(tables, labels), str(tmp_path / "lists"), "/music")
    assert sum(written.values()) == 199
    found: dict[str, str] = {}
    for location, n_tracks in written.items():
        lines = Path(location).read_text("utf-8").splitlines()
        assert len(lines) == 2 + 2 * n_tracks
        assert all(line.startswith("#EXTINF:240,Artist ") for line in lines[2::2])
        found |= dict.fromkeys(lines[3::2], Path(location).stem)
    rows = zip(labels["uri"].to_pylist(), labels["genre"].to_pylist(), strict=True)
    assert found == {uri: genre for uri, genre in rows if genre is not None}


def test_a_playlist_in_the_catalog_moves_with_it(tmp_path: Path) -> None:
    """On a stick that another computer mounts elsewhere, no track would be found."""
    stick = tmp_path / "stick"
    (stick / "lists").mkdir(parents=True)
    (tmp_path / "link").symlink_to(stick)
    rows = pa.table(
        {"uri": [f"{stick}/a b/1.mp3", f"{stick}/#2.mp3", f"{stick}/x\n.mp3", "/elsewhere/3.mp3"]}
    )

    def listed(folder: Path, catalog: Path = stick) -> list[str]:
        found: list[str] = relative_to_playlist(rows, str(folder), str(catalog))["uri"].to_pylist()
        return found

    given = rows["uri"].to_pylist()
    assert listed(stick / "lists") == ["../a b/1.mp3", "../#2.mp3", *given[2:]]
    assert listed(stick) == ["a b/1.mp3", *given[1:]]
    assert listed(tmp_path / "link" / "new" / "lists") == ["../../a b/1.mp3", "../../#2.mp3", *given[2:]]
    assert listed(tmp_path) == listed(tmp_path / "stick2") == given
    assert listed(stick, stick / "list.csv") == given
    linked = pa.table({"uri": [f"{tmp_path}/link/a b/1.mp3"]})
    found = relative_to_playlist(linked, str(stick / "lists"), f"{tmp_path}/link")
    assert found["uri"].to_pylist() == ["../a b/1.mp3"]


def test_playlists_of_genres_that_no_track_has_any_more_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A player would go on with files that are gone."""
    (tmp_path / "disco.m3u8").write_text("#EXTM3U\n/gone.mp3\n")
    columns = {"uri": ["/a.mp3"], "confidence": [0.5], "duration_s": [1.0], "artist": ["x"], "title": ["x"]}
    rows = pa.table({**columns, "genre": ["jazz"]})
    write_playlists(rows, str(tmp_path), "/music")
    assert "1 other playlists, such as disco.m3u8, which are left" in capsys.readouterr().err


def test_genres_make_file_names(tmp_path: Path) -> None:
    """A genre called ../x would be written outside of the folder, and one list would replace another."""
    columns = {"uri": ["/a.mp3", "/b.mp3"], "confidence": [0.5, 0.6], "duration_s": [1.0, 2.0]}
    columns |= {"artist": ["x", "y"], "title": ["x", "y"]}
    folder = tmp_path / "lists"
    write_playlists(pa.table({**columns, "genre": ["../up", "R&B / soul"]}), str(folder), "/music")
    assert sorted(path.name for path in folder.iterdir()) == ["R&B _ soul.m3u8", "___up.m3u8"]
    assert [path.name for path in tmp_path.iterdir()] == ["lists"]
    with pytest.raises(MisuseError, match="the playlists of a/b and a:b would both be"):
        write_playlists(pa.table({**columns, "genre": ["a/b", "a:b"]}), str(folder), "/music")
    assert len(list(folder.iterdir())) == 2, "one of them was written before the other was seen"


def test_playlists_keep_names_of_any_script(tmp_path: Path) -> None:
    """Vowel signs became underscores, and genres that differ only in them could not be written at all."""
    genres = ["ลูกทุ่ง", "हिन्दी", "हिन्दू", "cafe\u0301"]
    columns = {"uri": [f"/{place}.mp3" for place in range(4)], "confidence": [0.5] * 4}
    columns |= {"duration_s": [1.0] * 4, "artist": ["x"] * 4, "title": ["x"] * 4}
    write_playlists(pa.table({**columns, "genre": genres}), str(tmp_path), "/music")
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(genres)


def test_a_folder_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that names it is not set, and every genre becomes a file in the root of the disk."""
    monkeypatch.setattr(storage, "write_or_explain", lambda *arguments: pytest.fail("it was written"))
    columns = {"uri": ["/a.mp3"], "confidence": [0.5], "duration_s": [1.0], "artist": ["x"], "title": ["x"]}
    for folder in ("", " "):
        with pytest.raises(MisuseError, match="to write is empty; check that its variable is set"):
            write_playlists(pa.table({**columns, "genre": ["jazz"]}), folder, "/music")


def test_one_playlist_of_all_genres_is_refused(tmp_path: Path) -> None:
    """A file with the name of a playlist would hold a table that no player opens."""
    write_trend_tables(Tables(str(tmp_path / "tables")), 20)
    out = tmp_path / "mix.m3u8"
    done = CliRunner().invoke(app, ["labels", str(tmp_path / "tables"), "--out", str(out)])
    assert isinstance(done.exception, MisuseError)
    assert "add --format m3u and name a folder" in str(done.exception)
    assert not out.exists()
