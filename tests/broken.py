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


_NAN_MODEL = """
import importlib.machinery

execute = importlib.machinery.SourceFileLoader.exec_module


def exec_module(self, module):
    execute(self, module)
    if module.__name__ == "pipeline.models.shared_classifier":
        run = module.SharedClassifier._run_batch
        calls = []

        def broken(self, *arguments, **options):
            calls.append(1)
            factor = float("nan") if len(calls) > {n_good} else 1.0
            return [each * factor for each in run(self, *arguments, **options)]

        module.SharedClassifier._run_batch = broken


importlib.machinery.SourceFileLoader.exec_module = exec_module
"""
_WITHOUT_MOUNT = """
import os

open_file = os.open


def open_elsewhere(path, *arguments, **options):
    if isinstance(path, str) and path.startswith({folder!r}):
        raise FileNotFoundError(2, "No such file or directory", path)
    return open_file(path, *arguments, **options)


os.open = open_elsewhere
"""


def with_nan_model(folder: Path, n_good: int) -> Path:
    """Write what makes each network return NaN after some good batches, as a broken GPU does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_NAN_MODEL.format(n_good=n_good))
    return folder


def without_mount(folder: Path, catalog: Path) -> Path:
    """Write what hides a catalog from a node, as a mount that is missing does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_WITHOUT_MOUNT.format(folder=f"{catalog}/"))
    return folder
