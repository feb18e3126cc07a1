"""Names that are not UTF-8, as those of old archives, given to commands."""

import os
from pathlib import Path

import pytest
import soundfile

from jobs.explain import explain_track
from jobs.plot import plot_track
from jobs.purge import _locations
from pipeline.demo.synthesis import synthesize

NAME = os.fsdecode(b"caf\xe9")


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
