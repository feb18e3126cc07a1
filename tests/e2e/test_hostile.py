"""A catalog of files that are made to harm: each ends once, with the right reason, and harms nobody else."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.earmark import ask, earmark, outcomes, read_table, succeed
from tests.hostile import (
    EVIL_TEXT,
    FAILING,
    LABELED,
    LONG_TEXT,
    STRANGE,
    absurd_wav,
    write_hostile_catalog,
    write_sparse,
)

TIMEOUT_S = 30
"""Much more than what is well needs even on a slow day, much less than what hangs."""


@dataclass(frozen=True)
class Survived:
    catalog: Path
    tables: Path
    stderr: str


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Survived:
    folder = tmp_path_factory.mktemp("hostile")
    write_hostile_catalog(folder / "music")
    done = earmark("run", folder / "music", folder / "tables", "--track-timeout", TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return Survived(folder / "music", folder / "tables", done.stderr)


def test_each_file_ends_once_and_harms_no_neighbor(survived: Survived) -> None:
    """One file of a hundred thousand that somebody uploaded on purpose must not cost a run."""
    labeled = set(read_table(survived.tables, "labels")["uri"])
    names = {str(survived.catalog / name) for name in LABELED}
    assert names <= labeled
    (latin,) = labeled - names
    assert latin == f"file://{survived.catalog}/caf%E9.wav"
    assert set(outcomes(survived.tables).values()) == {1}


@pytest.mark.parametrize(("name", "error"), [*FAILING.items(), *STRANGE.items()])
def test_what_fails_says_why(survived: Survived, name: str, error: str) -> None:
    """A wrong reason sends the user to the wrong remedy."""
    failures = read_table(survived.tables, "failures").set_index("uri")
    row = failures.loc[str(survived.catalog / name)]
    assert row["error_type"] == error, row["message"]
    assert row["message"].startswith(str(survived.catalog / name))
    assert len(failures) == len(FAILING) + len(STRANGE)


def test_what_is_remembered_is_not_tried_again(survived: Survived) -> None:
    """A hang that is tried anew each night costs its timeout each night."""
    again = succeed("run", survived.catalog, survived.tables, "--dry-run")
    assert re.search(r"^ +0 to featurize$", again, re.MULTILINE), again


def test_tags_and_names_come_unharmed_into_the_tables(survived: Survived) -> None:
    """An analyst must find what the file says, not what a terminal or a page would make of it."""
    tracks = read_table(survived.tables, "tracks").set_index("uri")
    evil = tracks.loc[str(survived.catalog / "evil tags.flac")]
    assert (evil["artist"], evil["album"]) == (EVIL_TEXT, LONG_TEXT)
    assert evil["genre_tag"] == "; ".join(f"genre {number}" for number in range(500))
    assert tracks.loc[str(survived.catalog / "cover.mp3"), "title"] == "Cover"
    assert tracks.loc[str(survived.catalog / "private.mp3"), "title"] == "Private"


@pytest.mark.parametrize("command", ["status", "failures", "labels", "scan"])
def test_no_control_character_reaches_the_terminal(survived: Survived, command: str) -> None:
    """A file's name or tags must not color, move or type on the operator's terminal."""
    done = earmark(command, survived.catalog if command == "scan" else survived.tables)
    assert done.returncode == 0
    assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)
    assert "red" in done.stdout or command != "labels"


def test_json_carries_names_as_they_are(survived: Survived) -> None:
    """A program that reads the labels must find the files under the names it gets."""
    rows = json.loads(ask("labels", survived.tables, "--format", "json"))
    paths = [Path(row["uri"]) for row in rows if not row["uri"].startswith("file://")]
    assert len(paths) == len(LABELED)
    assert all(path.is_file() for path in paths)


@pytest.mark.thorough
def test_the_limit_of_memory_is_the_users(survived: Survived, tmp_path: Path) -> None:
    """On a node with little memory --track-memory decides what is decoded, and the message names it."""
    for name in ("cover.mp3", "floats.wav"):
        (tmp_path / "music").mkdir(exist_ok=True)
        (tmp_path / "music" / name).write_bytes((survived.catalog / name).read_bytes())
    greedy = tmp_path / "music" / "greedy.wav"
    # Far above the one limit and below the other: what a process has freed is taken first, and is no growth.
    write_sparse(greedy, *absurd_wav(1_000_000))
    said = succeed("run", tmp_path / "music", tmp_path / "little", "--track-memory", 64)
    assert "2 labeled, 1 failed" in said
    (failure,) = read_table(tmp_path / "little", "failures").to_dict("records")
    assert (failure["error_type"], failure["uri"]) == ("TooMuchMemoryError", str(greedy))
    assert "more than 64 MB" in failure["message"]
    assert "--track-memory and --retry-failed" in failure["message"]
    allowed = ("run", tmp_path / "music", tmp_path / "little", "--retry-failed", "--track-memory", 400)
    assert "1 labeled" in succeed(*allowed)
