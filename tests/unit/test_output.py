"""What commands print and write: tables that can be read, files that are what their names say."""

import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from jobs.cli.main import app
from jobs.console import output
from jobs.console.formats import Format
from jobs.playlists import write_playlist
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError
from tests.trend_tables import write_trend_tables

COLUMNS = ("genre", "tracks", "share", "bytes", "track")
ROWS = [
    ("rock", "1,234", "92.6", "12.0 kB", "/music/a-name-without-any-blanks-that-is-long.flac"),
    ("pop", "7", "–", "0 B", "/b"),
]


def _printed(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, color_system=None, width=width, soft_wrap=True)
    monkeypatch.setattr(output, "console", terminal)
    output.print_table(COLUMNS, ROWS)
    return out.getvalue().splitlines()


def test_a_terminal_shows_heads_in_bold_and_no_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every head on a terminal would be \\x1b[1mgenre\\x1b[0m, while the tests, without one, see nothing."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    monkeypatch.setattr(output, "console", output.PlainConsole(file=out, force_terminal=True, width=100))
    output.print_table(COLUMNS, [("\x1b[31mred", *ROWS[0][1:])])
    head, row = out.getvalue().splitlines()
    assert head.startswith("\x1b[1mgenre")
    assert re.sub(r"\x1b\[\d+m", "", head).split() == list(COLUMNS)
    assert row.startswith("\\x1b[31mred"), "codes in names are text"


def test_numbers_stand_right_and_names_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,234 and 7 would begin at the same place, and the eye would take them for alike."""
    assert _printed(monkeypatch, 100) == [
        "genre  tracks  share    bytes  track",
        "rock    1,234   92.6  12.0 kB  /music/a-name-without-any-blanks-that-is-long.flac",
        "pop         7      –      0 B  /b",
    ]


def test_a_narrow_terminal_folds_names_but_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """92.6 would stand as 92. over 6: the shares of ten genres are wider than 80 columns."""
    lines = _printed(monkeypatch, 30)
    assert lines[0] == "genre  tracks  share    bytes  track"
    assert lines[1] == "rock    1,234   92.6  12.0 kB  /music/a-name-wi"
    assert "".join(line.strip() for line in lines[2:5]) == "thout-any-blanks-that-is-long.fl" + "ac"


def test_the_title_of_a_narrow_table_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Who looks for the title in a log would not find it: it was folded to the width of the table."""
    output.print_table(("a", "b"), [("c", "1")], title="shares of genres by folder")
    assert capsys.readouterr().out.splitlines()[0] == "shares of genres by folder"


@pytest.mark.parametrize("n_rows", [0, 1, 7])
def test_parquet_is_written_group_by_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    """Rows of ten million tracks, encoded at once, would need gigabytes; or a group would be lost."""
    monkeypatch.setattr(output, "_ROW_GROUP_ROWS", 3)
    rows = pa.table(
        {
            "track_id": pa.array([str(number) for number in range(n_rows)], pa.string()),
            "genre": pa.array(["jazz"] * n_rows, pa.string()),
            "probabilities": pa.array([[number / 7] for number in range(n_rows)], pa.list_(pa.float32())),
        }
    )
    output.write_rows(rows, "parquet", str(tmp_path / "labels.parquet"))
    file = pq.ParquetFile(tmp_path / "labels.parquet")
    assert file.read().equals(rows)
    assert file.num_row_groups == -(-n_rows // 3)


def test_the_name_of_a_file_says_what_it_holds(tmp_path: Path) -> None:
    """``--out labels.parquet`` would be CSV, and the next program could not read it."""
    rows = pa.table({"genre": ["jazz"], "confidence": [0.5]})

    def written(name: str, form: Format = "table") -> bytes:
        output.write_rows(rows, form, str(tmp_path / name))
        return (tmp_path / name).read_bytes()

    assert written("a.csv") == written("a.txt") == written("a") == b"genre,confidence\njazz,0.5\n"
    assert written("a.tsv") == b"genre\tconfidence\njazz\t0.5\n"
    assert json.loads(written("a.json")) == [{"genre": "jazz", "confidence": 0.5}]
    written("a.Parquet")
    assert pq.read_table(tmp_path / "a.Parquet").equals(rows)
    assert written("b.parquet", "csv") == written("a.csv"), "--format is the last word"


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.csv.gz", "page.HTML"])
def test_no_other_format_is_feigned(tmp_path: Path, name: str) -> None:
    """A spreadsheet program would call the file damaged, and a browser show commas: it would hold CSV."""
    rows, out = pa.table({"a": [1]}), tmp_path / name
    with pytest.raises(MisuseError, match=r"rows are not written as \.\w+; name a file that ends in \.csv"):
        output.write_rows(rows, "table", str(out))
    assert not out.exists()
    output.write_rows(rows, "csv", str(out))
    assert out.read_text() == "a\n1\n"


def test_nothing_is_exported_into_a_table(tmp_path: Path) -> None:
    """Readers would take the export for part of the table, and end with an error."""
    (tmp_path / "tables" / "labels").mkdir(parents=True)
    (tmp_path / "tables" / "_format.json").write_text("{}")
    rows = pa.table({"genre": ["jazz"]})
    for name in ("labels/a.csv", "labels/model=x/a.parquet"):
        with pytest.raises(MisuseError, match=r"is in a table of .*/tables; choose another folder"):
            output.write_rows(rows, "csv", str(tmp_path / "tables" / name))
    output.write_rows(rows, "csv", str(tmp_path / "tables" / "labels.csv"))
    assert not list((tmp_path / "tables" / "labels").iterdir())


@pytest.mark.parametrize("name", ["song.flac", "dir/SONG.Mp3"])
def test_a_track_is_not_overwritten_with_rows(tmp_path: Path, name: str) -> None:
    """Who mixes up two arguments would find a table of text in place of a song."""
    song = tmp_path / name
    song.parent.mkdir(exist_ok=True)
    song.write_bytes(b"music")
    with pytest.raises(MisuseError, match="the name of an audio file"):
        output.write_rows(pa.table({"a": [1]}), "table", str(song))
    with pytest.raises(MisuseError, match="the name of an audio file"):
        write_playlist("mix", pa.table({"uri": ["a"]}).slice(0, 0), str(song), "/music")
    assert song.read_bytes() == b"music"


@pytest.mark.parametrize(
    ("command", "audio"),
    [
        ("trends TABLES --html OUT", True),
        ("trends TABLES --out OUT --format csv", True),
        ("report TABLES --out OUT", True),
        ("evaluate default TABLES --html OUT", True),
        ("evaluate default TABLES --json OUT", True),
        ("export-descriptors TABLES --csv OUT", True),
        ("plot SONG --out OUT.png", False),
        ("explain SONG --out OUT.json", False),
        ("scan FOLDER --out OUT.csv", False),
        ("labels TABLES --write-tags OUT", False),
    ],
)
def test_no_command_writes_over_music_or_into_a_table(tmp_path: Path, command: str, audio: bool) -> None:
    """Who mixes up two arguments would lose a song; readers would take a page for a part of a table."""
    root, song = tmp_path / "tables", tmp_path / "song.flac"
    write_trend_tables(Tables(str(root)), 3)
    (root / "_format.json").write_text("{}")
    song.write_bytes(b"music")
    places = {"is in a table of ": root / "labels" / "a"} | ({"may be music": song} if audio else {})
    for said, out in places.items():
        words = {"TABLES": root, "SONG": song, "FOLDER": tmp_path}
        arguments = [str(words.get(word, word)).replace("OUT", str(out)) for word in command.split()]
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, MisuseError), done.output
        assert said in str(done.exception)
    assert song.read_bytes() == b"music"
    assert not [path for path in (root / "labels").iterdir() if not path.is_dir()]


def test_copies_need_a_folder_with_a_name(tmp_path: Path) -> None:
    """``--write-tags "$COPIES"`` with a variable that is not set fills the working directory."""
    done = CliRunner().invoke(app, ["labels", str(tmp_path), "--write-tags", "", "--yes"])
    assert "the file or folder to write is empty; check that its variable is set" in str(done.exception)
