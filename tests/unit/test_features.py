"""The two-line use in a notebook."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES, compute_descriptors
from pipeline.plots.track_view import view_track
from pipeline.shards.one_track import describe, track_features
from schemas.errors import NotAFileError, NotFoundError


@pytest.fixture
def song(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "song.wav", rng.normal(0, 0.1, 65 * 22050).astype(np.float32), 22050)
    return str(tmp_path / "song.wav")


def test_a_track_is_described_segment_by_segment(song: str) -> None:
    """Students get the same values that a run writes to the table, under the published names."""
    described = describe(song)
    assert list(described) == ["start_s", "duration_s", *DESCRIPTOR_NAMES]
    assert described["duration_s"].tolist() == [30.0, 30.0]
    y, sr = soundfile.read(song, dtype="float32")
    start = round(described["start_s"][1] * sr)
    by_hand = compute_descriptors(y[start : start + 30 * sr])
    np.testing.assert_allclose(described.loc[1, list(DESCRIPTOR_NAMES)].to_numpy(float), by_hand, rtol=1e-9)


def test_a_missing_track_is_named(song: str) -> None:
    """A mistyped name must not look like a broken file."""
    with pytest.raises(NotFoundError, match=r"nothing\.wav does not exist"):
        track_features(song.replace("song", "nothing"))


@pytest.mark.parametrize("look", [track_features, describe, view_track])
def test_a_pipe_or_directory_is_named_and_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[str], object]
) -> None:
    """Opening a pipe would wait forever for its writer, in a notebook or in `earmark plot`."""
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's address may be no longer than 107 bytes
        server.bind("socket.wav")
        for name in ("pipe.wav", "folder.wav", "zero.wav", "socket.wav"):
            with pytest.raises(NotAFileError, match=rf"{name} is a (directory, )?pipe"):
                look(str(tmp_path / name))
