"""The standard streams of the command, as other programs start it."""

from pathlib import Path

import pytest

from tests.e2e.earmark import earmark
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
