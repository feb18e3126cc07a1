"""Compiled kernels are cached on disk if possible, and work if not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RUN = (
    "import numpy as np\n"
    "from pipeline.audio.features.spectral_shape import zero_crossing_rate\n"
    "print(zero_crossing_rate(np.resize(np.float32([1, -1]), 4096)).max())\n"
)


def run(install: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a kernel in a fresh process that imports the package from `install`; numba logs its cache."""
    kept = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=install,
        env=kept | {"NUMBA_DEBUG_CACHE": "1", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def read_only_install(folder: Path) -> Path:
    """Copy the package to where numba cannot write beside it, even as root: a file blocks the folder."""
    for layer in ("pipeline", "schemas"):
        shutil.copytree(
            ROOT / layer, folder / layer, ignore=shutil.ignore_patterns("__pycache__", "pretrained")
        )
    (folder / "pipeline" / "audio" / "features" / "__pycache__").write_text("")
    return folder


@pytest.mark.slow
def test_a_read_only_install_keeps_kernels_for_the_user(tmp_path: Path) -> None:
    """Fails: with a read-only package, each worker compiles for seconds, or does not start."""
    install = read_only_install(tmp_path / "install")
    cache = tmp_path / "cache"
    first = run(install, XDG_CACHE_HOME=str(cache))
    assert "data saved" in first.stdout
    assert list(cache.rglob("*.nbc"))
    second = run(install, XDG_CACHE_HOME=str(cache))
    assert "data loaded" in second.stdout
    assert "data saved" not in second.stdout
    assert not second.stderr


@pytest.mark.slow
def test_kernels_work_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Fails: in a container with a read-only root and no home, every descriptor run ends in a traceback."""
    install = read_only_install(tmp_path / "install")
    (tmp_path / "file").write_text("")
    done = run(install, XDG_CACHE_HOME=str(tmp_path / "file"), HOME=str(tmp_path / "file"))
    assert done.stdout.splitlines()[-1] == "0.99951171875"
    assert "NUMBA_CACHE_DIR" in done.stderr


@pytest.mark.slow
def test_numba_cache_dir_comes_first(tmp_path: Path) -> None:
    """Fails: an image's kernels, compiled when it was built, are not found by the user it runs as."""
    install = read_only_install(tmp_path / "install")
    run(install, NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    assert list((tmp_path / "kernels").rglob("spectral_shape*.nbc"))
