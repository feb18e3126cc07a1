"""Scratch folders for building merged parts, removed when the compaction ends or the next one starts."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage import storage
from pipeline.storage.temporary_folders import locked_folder
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, SCRATCH_PREFIX

PREFIX = "earmark-compact-"
"""What the names of scratch folders for tables in a store begin with."""


@contextlib.contextmanager
def scratch_folder(root: str) -> Iterator[Path]:
    """Provide a local folder for the duration of a ``with`` block.

    For local tables it is on the same disk, and `recover_compactions` removes what a killed compaction left
    behind. Otherwise it is in the system's temporary directory.

    Parameters
    ----------
    root : str
        Root of the tables.

    Raises
    ------
    EarmarkError
        If the folder cannot be made.
    """
    with _scratch_beside(root) if storage.is_local(root) else locked_folder(PREFIX) as folder:
        yield folder


@contextlib.contextmanager
def _scratch_beside(root: str) -> Iterator[Path]:
    parent = Path(storage.split(root)[1], LOG_FOLDER)
    folder = parent / f"{SCRATCH_PREFIX}{uuid.uuid4().hex}"
    try:
        with storage.explain_errors(str(parent), "write to"):
            folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            parent.rmdir()
