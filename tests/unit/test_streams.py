"""The standard streams of the command, as other programs start it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.earmark import EARMARK, earmark
from tests.table_history import TableHistory


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = TableHistory(tmp_path_factory.mktemp("streams") / "tables")
    made.model()
    made.run({"Élan.mp3": "1"})
    return Path(made.tables.root)


def test_an_encoding_without_accents_escapes_them(tables: Path) -> None:
    """A table with one such name ends as an internal error."""
    done = earmark("labels", tables, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xc9lan.mp3" in done.stdout


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_of_no_width_prints_all_the_same(tables: Path, columns: str) -> None:
    """Some programs start others with COLUMNS=0, and every command would print nothing."""
    assert earmark("labels", tables, COLUMNS=columns).stdout == earmark("labels", tables).stdout != ""


def in_shell(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command, as $0, with redirections."""
    return subprocess.run(
        ["sh", "-c", command, EARMARK, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("how", ["", "--format csv", "--format json", "--format parquet"])
def test_a_full_disk_behind_stdout_is_named(tables: Path, how: str) -> None:
    """`earmark labels TABLES > labels.csv` on a full disk is an internal error, or exits with 120."""
    done = in_shell(f'"$0" labels "$1" {how} >/dev/full', tables)
    assert done.returncode == 1
    assert done.stderr == (
        "earmark: error: cannot write the output: the disk is full (No space left on device); "
        "free some space\n"
    )


@pytest.mark.parametrize("stderr", ["/dev/full", "&-"])
def test_messages_that_arrive_nowhere_fail_no_command(tables: Path, tmp_path: Path, stderr: str) -> None:
    """A nightly export fails because the disk of the log is full, or its messages go into the output."""
    done = in_shell(f'"$0" --log-level debug labels "$1" --out "$2" 2>{stderr}', tables, tmp_path / "x.csv")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "x.csv").exists()
    refused = in_shell(f'"$0" labels "$1" 2>{stderr}', tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_a_missing_stdout_is_none(tables: Path, tmp_path: Path) -> None:
    """A file that the command opens takes the place of stdout, and gets what is printed."""
    done = in_shell('"$0" labels "$1" >&- <&-', tables)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command",
    ["labels TABLES", "labels TABLES --format json", "run --help"],
)
def test_a_reader_that_ends_early_is_no_failure(tables: Path, command: str) -> None:
    """`earmark labels TABLES | head -1` says what nobody understands, or exits with 1 like a failed store."""
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [str(tables) if word == "TABLES" else word for word in command.split()]
    done = subprocess.run([EARMARK, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
