"""Environments that are broken as real ones are: for ``PYTHONPATH`` of a node, or a folder to stand in."""

from pathlib import Path

WRONG_BUILD = "import os, signal\n\n\ndef resample(*_, **__):\n    os.kill(os.getpid(), signal.SIGILL)\n"
"""A library of instructions that the processor lacks."""
TRUNCATED_LIBRARY = """
import mmap, tempfile


def resample(*_, **__):
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        pages = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        return pages[0]
"""
"""A mapped file of which pages are missing, as on a full or failing disk: reading them raises SIGBUS."""
BROKEN_LIBRARY = "def resample(*_, **__):\n    raise RuntimeError('no room left in the cache')\n"
SPOILED_WORKERS = """
import sys
from pathlib import Path

folder, ours = str(Path(__file__).parent), sys.modules.pop("soxr")
sys.path.remove(folder)
import soxr as real
sys.path.insert(0, folder)
sys.modules["soxr"] = ours


def resample(*arguments, **options):
    if "pipeline.shards.isolated_process" not in sys.orig_argv:
        raise RuntimeError("too many open files")
    return real.resample(*arguments, **options)
"""
"""Workers in which nothing decodes any more, though a process that starts now can."""
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
