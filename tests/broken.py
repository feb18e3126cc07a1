"""Environments that are broken as real ones are: for ``PYTHONPATH`` of a node, or a folder to stand in."""

from pathlib import Path

WRONG_BUILD = "import os, signal\n\n\ndef resample(*_, **__):\n    os.kill(os.getpid(), signal.SIGILL)\n"
"""A library of instructions that the processor lacks."""
BROKEN_LIBRARY = "def resample(*_, **__):\n    raise RuntimeError('no room left in the cache')\n"
WITHOUT_MODULE = "raise ModuleNotFoundError(\"No module named 'soxr'\", name='soxr')\n"


def with_soxr(folder: Path, source: str) -> Path:
    """Write a soxr, which resamples every track, to be found before the real one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soxr.py").write_text(source)
    return folder


def without(folder: Path, *packages: str) -> Path:
    """Write what makes Python find none of some packages, wherever they are installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import sys\n\n\nclass Nothing:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {packages!r}:\n"
        '            raise ModuleNotFoundError(f"No module named {name!r}", name=name)\n\n\n'
        "sys.meta_path.insert(0, Nothing())\n"
    )
    return folder
