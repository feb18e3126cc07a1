"""Musepack SV8 plays to its last sample, and as far as it decodes where bytes are missing."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.decode.audio import read_segments
from schemas.features import FeatureSpec
from tests.encoders import encode, sweep

SPEC = FeatureSpec(segment_s=3.0, min_s=1.0)


def musepack(folder: Path, duration_s: float) -> bytes:
    if shutil.which("mpcenc") is None:
        pytest.skip("the command mpcenc is not installed")
    wav, out = folder / "a.wav", folder / "a.mpc"
    y = sweep(44100, duration_s, 2)
    y += np.random.default_rng(0).normal(0, 0.02, y.shape).astype(np.float32)
    wav.write_bytes(encode(y, 44100, "wav"))
    subprocess.run(["mpcenc", "--silent", "--overwrite", wav, out], check=True, stdin=subprocess.DEVNULL)
    return out.read_bytes()


@pytest.mark.parametrize(("duration_s", "in_segments_s"), [(1.5, 1.5), (3.2, 3.0), (7.9, 6.0)])
def test_the_length_is_exact(tmp_path: Path, duration_s: float, in_segments_s: float) -> None:
    """Fails: tracks lose up to 1.7 s at the end, and short ones are refused as too short."""
    info, segments = read_segments(io.BytesIO(musepack(tmp_path, duration_s)), "a.mpc", SPEC)
    assert info.duration_s == pytest.approx(duration_s, abs=1e-4)
    assert sum(len(y) for _, y in segments) == round(in_segments_s * 22050)


@pytest.mark.parametrize("damage", ["a hole", "cut off"])
def test_what_decodes_is_labeled(tmp_path: Path, damage: str) -> None:
    """Fails: a file that lost some bytes in a transfer is refused, though a player plays half of it."""
    data = musepack(tmp_path, 12.0)
    middle = len(data) // 2
    data = data[:middle] + (data[middle + 3000 :] if damage == "a hole" else b"")
    info, segments = read_segments(io.BytesIO(data), "a.mpc", SPEC)
    assert 4.5 < info.duration_s <= 12.0
    assert all(y.std() > 0.2 for _, y in segments)
