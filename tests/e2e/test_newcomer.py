"""What a newcomer does: `earmark demo`, and then the commands of the guide, which go on from it."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from jobs.demo import MARKER, N_SHELVED, N_TRACKS
from pipeline.demo.demo_catalog import N_BROKEN
from pipeline.models.bundle import ModelBundle
from tests.docs import PAGES, examples
from tests.e2e.earmark import ask, earmark, outcomes, read_table

pytestmark = pytest.mark.timeout(3600)


def _demo(out: Path) -> str:
    done = earmark("demo", "--out", out, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "my demo"
    return out, _demo(out)


def test_nine_of_ten_labels_are_right_on_artists_that_training_did_not_hear(demo: tuple[Path, str]) -> None:
    """A newcomer would see wrong labels, and conclude that the program does not work."""
    out, printed = demo
    labels, tracks = (read_table(out / "tables", name) for name in ("labels", "tracks"))
    both = labels.merge(tracks[["track_id", "genre_tag", "artist"]], on="track_id")
    n_right = int((both["genre"] == both["genre_tag"]).sum())
    assert len(both) == N_TRACKS
    assert n_right >= 0.9 * N_TRACKS
    assert f"{n_right} of {N_TRACKS} labels are correct" in printed
    heard = {path.name.split(" - ")[0] for path in (out / "shelves").glob("*/*")}
    assert not heard & set(both["artist"]), "an artist on both sides would make the figure too good"
    figure = ModelBundle.load("default").info.figures[0]
    assert f"its accuracy is {figure.accuracy:.2f}" in printed


def test_broken_files_are_listed_with_their_reasons_and_pages_are_there(demo: tuple[Path, str]) -> None:
    """The demo would promise reasons and pages that are not there."""
    out, printed = demo
    assert re.findall(r"^(\w+Error) ", printed, re.MULTILINE) == [
        "TooShortError",
        "EmptyFileError",
        "DecodeError",
    ]
    assert set(outcomes(out / "tables").values()) == {1}
    assert outcomes(out / "tables").total() == N_TRACKS + N_BROKEN
    page = out / "tables" / "_runs" / "index.html"
    assert str(page) in printed
    assert page.is_file()
    ask("verify", out / "tables", "--catalog", out / "catalog")


def test_a_second_demo_in_the_same_folder_says_the_same_and_does_nothing(demo: tuple[Path, str]) -> None:
    """It would train again, label again, or fail because the model is there."""
    out, printed = demo
    before = {path: path.stat().st_mtime_ns for name in ("shelves", "catalog", "model", "tables/labels")
              for path in (out / name).rglob("*") if path.is_file()}  # fmt: skip
    again = _demo(out)
    assert "using the existing model" in again
    assert again.partition("labels\n")[2] == printed.partition("labels\n")[2]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(read_table(out / "tables", "labels")) == N_TRACKS


def test_a_demo_that_was_moved_goes_on(demo: tuple[Path, str], tmp_path: Path) -> None:
    """`mv earmark-demo elsewhere` would end the demo with advice about an option that it does not have."""
    out, _ = demo
    moved = tmp_path / "moved"
    out.rename(moved)
    try:
        assert f"of {N_TRACKS} labels are correct" in _demo(moved)
    finally:
        moved.rename(out)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """`earmark demo --out ~/Music` would put four folders among the user's, or use a model that is there."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").touch()
    done = earmark("demo", "--out", tmp_path)
    assert done.returncode == 2
    assert "choose a new or empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    done = earmark("demo", "--out", tmp_path / "model" / "precious")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_demo_marks_its_folder(demo: tuple[Path, str]) -> None:
    """Without the mark a second demo would refuse its own folder."""
    out, _ = demo
    assert (out / MARKER).is_file()
    assert len([path for path in (out / "shelves").rglob("*.*") if path.is_file()]) >= N_SHELVED


@pytest.mark.thorough
def test_every_command_of_the_guide_prints_what_the_guide_says(
    demo: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_running_ray: None
) -> None:
    """The first thing that a newcomer tries would not work, or print something else."""
    (guide,) = (page for page in PAGES if examples(page))
    out, printed = demo
    first, *others = examples(guide)
    assert first.command == "earmark demo --out demo"
    assert re.fullmatch(first.pattern, printed.replace(str(out), "demo")), printed
    shutil.copytree(out, tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    for example in others:
        program, *arguments = shlex.split(example.command)
        assert program == "earmark"
        done = earmark(*arguments, COLUMNS="200")
        assert done.returncode == 0, f"{example.command}\n{done.stderr}"
        assert re.fullmatch(example.pattern, done.stdout), f"{example.command}\n{done.stdout}"
