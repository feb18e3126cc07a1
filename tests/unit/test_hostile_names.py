"""Genres, names and folders that look like markup, steer terminals or break lines, through all commands."""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv as pyarrow_csv
from typer.testing import CliRunner

from jobs.cli.main import app
from jobs.console import output
from jobs.console.messages import printable
from jobs.console.progress import Meter
from jobs.read_tables import open_tables, pick_embedding_model
from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables, encode_part
from schemas.errors import MisuseError
from tests.table_history import SPEC, TableHistory, failed

NAMES = (
    "rock [dub]",
    "[bold]jazz",
    "[/bold] [/]",
    "[link=http://example.org]x[/link]",
    "carriage\rreturn",
    "line\nend, with a comma",
    "quotes \"and\" 'others'",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b2J c1",
    "tab\tbed",
    "evil \u202etxt.exe",
    "\u2066isolated\u2069 \u200emark",
    "line\u2028separator\x85next",
    "; =1+1",
    " blank at both ends ",
    "👩\u200d🎤 Ünïcode 日本\u3000語",
    "back\\slash",
)
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What no terminal may get, the line ends between our own lines excepted."""


BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
"""What breaks a line of a playlist."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Tables whose genres, tracks, folders, tags and failures bear such names."""
    made = TableHistory(tmp_path_factory.mktemp("hostile") / "tables [red]")
    made.model()
    ids = dict.fromkeys((f"{name}/{name}" for name in NAMES), "1")
    run = made.run(ids, failing={f"bad {name}": "1" for name in NAMES}, shard_tracks=1000)
    root = Path(made.tables.root)
    for part in (root / "labels").rglob("*.parquet"):
        rows = made.labels(list(ids.items()), run)
        genre = pa.array([NAMES[n % 10] for n in range(rows.num_rows)], pa.string())
        rows = rows.set_column(rows.schema.get_field_index("genre"), rows.schema.field("genre"), genre)
        rows = rows.replace_schema_metadata({"genres": json.dumps(NAMES[:10])})
        part.write_bytes(encode_part(rows))
    for part in (root / "failures").rglob("*.parquet"):
        from schemas.errors import DecodeError

        rows = [failed([(f"bad {name}", "1")], DecodeError(f"{name} is no audio")) for name in NAMES]
        part.write_bytes(encode_part(pa.concat_tables(rows)))
    for part in (root / "tracks").rglob("*.parquet"):
        import pyarrow.parquet as pq

        rows = pq.ParquetFile(part).read()
        for column in ("artist", "title", "album", "genre_tag"):
            values = pa.array([NAMES[n % len(NAMES)] for n in range(rows.num_rows)], pa.string())
            rows = rows.set_column(rows.schema.get_field_index(column), rows.schema.field(column), values)
        part.write_bytes(encode_part(rows))
    return made.tables


def run(*arguments: object) -> str:
    """A command's stdout and stderr; whatever it is, it must not fail inside."""
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert "internal error" not in done.output
    return done.output


@pytest.mark.parametrize(
    "command",
    [
        ("status",), ("failures",), ("labels",), ("labels", "--genre", NAMES[1]),
        ("trends", "--by", "artist"),
        ("trends", "--by", "folder"), ("trends", "--show", "disagreements", "--by", "album"), ("verify",),
        ("verify", "--format", "json"), ("vacuum",), ("compact", "--dry-run"), ("report", "--list"),
        ("labels", "--format", "json"), ("labels", "--write-tags", "nowhere [bold]"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_sends_a_name_raw_to_the_terminal(tables: Tables, command: tuple[str, ...]) -> None:
    """A title must not be able to move the cursor, forge a line, or turn the direction of what follows."""
    output = run(command[0], tables.root, *command[1:])
    assert not RAW.search(output), ascii(RAW.search(output))


def test_markup_in_names_is_shown_as_it_stands(tables: Tables) -> None:
    """`rock [dub]` would be shown as `rock`, and `[/]` would end the command."""
    labels = run("labels", tables.root)
    failures = run("failures", tables.root)
    trends = run("trends", tables.root, "--by", "artist", "--top", len(NAMES))
    for name in NAMES[:10]:
        assert printable(name).strip() in labels
        assert printable(name).strip() in trends
    for name in NAMES:
        assert printable(f"{name} is no audio").strip() in failures


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    """In a log, a name with a line end could pretend to be a sentence of Earmark's."""
    sink = io.StringIO()
    console = output.PlainConsole(file=sink, width=500, force_terminal=True)
    for name in NAMES:
        console.print(f"a {name} b")
        console.print(name, style="italic")
    lines = sink.getvalue().splitlines()
    assert len(lines) == 2 * len(NAMES)
    assert [line.rstrip() for line in lines[::2]] == [f"a {printable(name)} b" for name in NAMES]


def test_names_of_all_scripts_are_left_alone() -> None:
    """Escapes in every other Japanese title, or in place of an emoji, would make the table unreadable."""
    for name in ("👩\u200d🎤", "日本\u3000語", "می\u200cخواهم", "naïve\u00a0!"):
        assert printable(name) == name
    assert printable("a\x1b[2J\r\n\u202e") == r"a\x1b[2J\r\n\u202e"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_names_as_they_stand(terminal: bool) -> None:
    """The bar and the lines are printed in another place than the tables."""
    sink = io.StringIO()
    console = output.PlainConsole(file=sink, width=300, force_terminal=terminal)
    meter = Meter("[bold]labeling", 3, "tracks", console)
    meter._last = float("-inf")
    meter.show(1, "[/] in rock [dub]")
    meter.close()
    assert "[/] in rock [dub]" in sink.getvalue()
    assert "[bold]labeling" in sink.getvalue()


def rows_of_names() -> pa.Table:
    values = list(NAMES)
    return pa.table({"uri": values, 'genre [x], "y"': values[::-1], "n": np.arange(len(values))})


def test_csv_is_read_back_by_all_readers_as_it_was(tmp_path: Path) -> None:
    """A carriage return in a title ended the row: everything after it was in the wrong column."""
    rows = rows_of_names()
    path = tmp_path / "rows.csv"
    output.write_rows(rows, "csv", str(path))
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == rows.column_names
    assert [line[0] for line in lines] == list(NAMES)
    read = pd.read_csv(path)
    assert read["uri"].tolist() == list(NAMES)
    assert read.columns.tolist() == rows.column_names
    options = pyarrow_csv.ParseOptions(newlines_in_values=True)
    assert pyarrow_csv.read_csv(path, parse_options=options).to_pydict() == rows.to_pydict()
    found = duckdb.execute(f"select uri from read_csv('{path}', header = true)").fetchall()
    assert [row[0] for row in found] == list(NAMES)


@pytest.mark.parametrize("command", [("labels",), ("failures",), ("trends", "--by", "artist")], ids=" ".join)
def test_commands_write_csv_that_is_read_back(
    tables: Tables, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Row for row the same as Parquet has, which knows no line ends."""
    for form in ("csv", "parquet"):
        run(command[0], tables.root, *command[1:], "--format", form, "--out", tmp_path / f"rows.{form}")
    truth = pd.read_parquet(tmp_path / "rows.parquet")
    read = pd.read_csv(tmp_path / "rows.csv", keep_default_na=False, dtype=str)
    texts = [name for name in truth if truth[name].map(lambda value: isinstance(value, str)).all()]
    assert {"uri", "group", "genre", "message"} & set(texts)
    for name in texts:
        assert read[name].tolist() == truth[name].tolist(), name


def test_descriptors_are_read_back(tmp_path: Path) -> None:
    """The published form is CSV: a name must not shift its 57 numbers."""
    made = TableHistory(tmp_path / "tables")
    made.model()
    names = [name for name in NAMES if "/" not in name]
    run_name = made.run(dict.fromkeys(names, "1"), shard_tracks=1000)
    spec = SPEC.model_copy(update={"descriptors": True})
    rows = made.features([(name, "1") for name in names]).to_pylist()
    rows = [row | dict.fromkeys(DESCRIPTOR_NAMES, 0.5) for row in rows if row["segment"] == 0]
    from pipeline.tables.tables import stored_schema

    made.write(
        "features", "d", pa.Table.from_pylist(rows, stored_schema("features")),
        feature_set=spec.feature_set, run=run_name,
    )  # fmt: skip
    from pipeline.tables.runs import read_reports, write_report

    (report,) = read_reports(made.tables)
    write_report(
        made.tables,
        report.model_copy(update={"features": spec.model_dump(), "feature_set": spec.feature_set}),
    )
    run("export-descriptors", made.tables.root, "--csv", tmp_path / "d.csv")
    read = pd.read_csv(tmp_path / "d.csv", keep_default_na=False)
    assert sorted(read["filename"]) == sorted(f"{name}.mp3" for name in names)


def test_playlists_hold_one_line_a_track(tables: Tables, tmp_path: Path) -> None:
    """A line end in a title would be a track that no player finds."""
    run("labels", tables.root, "--format", "m3u", "--out", tmp_path / "lists")
    entries = 0
    for playlist in (tmp_path / "lists").iterdir():
        lines = playlist.read_bytes().decode().split("\n")
        assert not any(BREAKS.search(line) for line in lines)
        entries += sum(bool(line) and not line.startswith("#") for line in lines)
    assert entries == len(NAMES)


def test_a_command_in_a_message_can_be_copied_into_a_shell(tmp_path: Path) -> None:
    """The music is in "My Music", and the command that a message advises takes it for two folders."""
    location = tmp_path / "My Music"
    with pytest.raises(MisuseError) as caught:
        open_tables(str(location))
    advised = str(caught.value).partition("create them with '")[2].removesuffix("'")
    assert shlex.split(advised) == ["earmark", "run", "CATALOG", str(location)]
    with pytest.raises(MisuseError) as caught:
        pick_embedding_model(list_objects(Tables(str(location))), None)
    advised = str(caught.value).partition("add some with '")[2].removesuffix("'")
    assert shlex.split(advised) == ["earmark", "run", "CATALOG", str(location), "--embeddings"]
