"""The installed command, used as a user does; what starts no Ray may also run in the process of the test."""

import io
import os
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest

from jobs.cli.main import main
from pipeline.storage import storage

EARMARK = Path(sys.executable).with_name("earmark")


def earmark(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command; its output as text."""
    return subprocess.run(
        [EARMARK, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1800,  # of a command outside a test: pytest ends those that hang before
        env=os.environ | environment,
    )


def succeed(*arguments: object, **environment: str) -> str:
    """Run the command, which must exit with 0; its stdout."""
    done = earmark(*arguments, **environment)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which saves a second or more of imports; its output as text."""
    command = ["earmark", *map(str, arguments)]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
    printed = (each.buffer.getvalue().decode() for each in (out, err))
    return subprocess.CompletedProcess(command, int(ended.value.code or 0), *printed)


def ask(*arguments: object) -> str:
    """Run a command that starts no Ray in this process; it must exit with 0; its stdout."""
    done = call(*arguments)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def read_table(tables: object, name: str, columns: list[str] | None = None) -> pd.DataFrame:
    """A table as any reader sees it, in a folder or a bucket; empty where it has no part yet."""
    protocol, folder = storage.split(storage.join(str(tables), name))
    fs = None if protocol == "file" else storage.filesystem(protocol)
    if not (any(Path(folder).rglob("*.parquet")) if fs is None else fs.exists(folder)):
        return pd.DataFrame(columns=columns)
    return pd.read_parquet(folder, columns=columns, filesystem=fs)


def outcomes(tables: object) -> Counter[str]:
    """How often each track stands in the labels and the failures, by uri."""
    rows = [read_table(tables, "labels"), read_table(tables, "failures")]
    return Counter(uri for table in rows if len(table) for uri in table["uri"])
