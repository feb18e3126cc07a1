"""Names that are not UTF-8, as those of old archives, given to commands."""

import os
from pathlib import Path

import pytest
import soundfile

from jobs.engine.cluster import connected
from jobs.explain import explain_track
from jobs.plot import plot_track
from jobs.purge import _locations
from pipeline.demo.synthesis import synthesize
from schemas.config import RunConfig
from schemas.errors import EarmarkError
from tests.e2e.earmark import earmark
from tests.table_history import TableHistory

NAME = os.fsdecode(b"caf\xe9")


def test_a_name_that_no_library_takes_is_said(tmp_path: Path) -> None:
    """Tables in such a folder are an internal error, to be reported to us."""
    made = TableHistory(tmp_path / "tables")
    made.model()
    made.run({"a.mp3": "1"})
    (tmp_path / "tables").rename(tmp_path / NAME)
    done = earmark("labels", tmp_path / NAME)
    assert done.returncode == 1
    assert "earmark: error: a name is not valid UTF-8" in done.stderr
    assert "caf\\udce9" in done.stderr


def test_a_command_line_that_ray_refuses_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who labels such a folder is told to wait until the machine is less busy."""
    import ray

    def init(**_: object) -> None:
        NAME.encode("utf-8")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("sys.argv", ["earmark", "run", NAME, "tables"])
    said = f"Ray refuses a command line that is not valid UTF-8; write file://{tmp_path}/caf%E9 instead"
    with pytest.raises(EarmarkError, match=said), connected(RunConfig(address="local")):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("form", ["html", "json"])
def test_a_track_of_such_a_name_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Who looks at one of their oldest tracks is told of an internal error."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", synthesize("rock", seed=[0], duration_s=4, sr=22050), 22050)
    Path("a.wav").rename(f"{NAME}.wav")
    if form == "json":
        explain_track(f"{NAME}.wav", f"{NAME}.json", "gtzan", None, "grad-cam", None)
    else:
        plot_track(f"{NAME}.wav", f"{NAME}.html", "gtzan", None)
    assert "caf%E9.wav" in Path(f"{NAME}.{form}").read_text("utf-8")


def test_a_track_of_such_a_name_is_found_to_purge_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can remove the traces of such a track by its name."""
    monkeypatch.chdir(tmp_path)
    here = f"file://{tmp_path}/caf%E9.wav"
    assert _locations(f"{NAME}.wav", ["s3://bucket/music", "/music", f"file:///{'caf%E9'}"]) == {
        *(here, "file:///music/caf%E9.wav", "file:///caf%E9/caf%E9.wav")
    }
    assert _locations("a b.wav", ["/music", "file:///caf%E9", "s3://b/music"]) == {
        *("a b.wav", f"{tmp_path}/a b.wav", "/music/a b.wav", "file:///caf%E9/a%20b.wav"),
        "s3://b/music/a b.wav",
    }
