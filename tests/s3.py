"""A real S3 server for the tests, and what they do with it."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.ports import free_port, start_server

SCRIPT = Path(__file__).resolve().parent.parent / "infra" / "test-s3.sh"


def missing_programs() -> list[str]:
    """Programs of the S3 server that this machine lacks."""
    return [name for name in ("radosgw", "ceph-mon", "ceph-osd", "ceph-mgr") if shutil.which(name) is None]


@contextmanager
def shared_s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Use one server for all processes of a test run; gives its clients' variables, and sets them here too.

    The first process to ask starts it, and the last one to leave stops it.

    Parameters
    ----------
    folder : Path
        The same for all processes.
    """
    with _counted(folder) as users:
        if users.n == 0:
            users.variables = start_server(lambda: _start(folder / "s3"), lambda: _stop(folder / "s3"))
        users.n += 1
        variables = users.variables
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield variables
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        with _counted(folder) as users:
            users.n -= 1
            if users.n == 0:
                _stop(folder / "s3")


@dataclass
class _Users:
    """How many processes use the server, and the variables of its clients."""

    n: int = 0
    variables: dict[str, str] = field(default_factory=dict)


@contextmanager
def _counted(folder: Path) -> Iterator[_Users]:
    """Hold the count of the server's users, which is stored when the block ends."""
    folder.mkdir(exist_ok=True)
    stored = folder / "users.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = _Users(**json.loads(stored.read_text())) if stored.exists() else _Users()
        yield users
        stored.write_text(json.dumps(asdict(users)))


def _start(folder: Path) -> dict[str, str]:
    started = subprocess.run(
        [SCRIPT, "start", folder, str(free_port(3))], stdout=subprocess.PIPE, text=True, timeout=300
    )
    if started.returncode:
        raise RuntimeError(f"{SCRIPT} start ended with {started.returncode}")
    return dict(line.split("=", 1) for line in started.stdout.splitlines())


def _stop(folder: Path) -> None:
    """Stop what runs of the server, which after a failed start may be a part of it."""
    subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)
    shutil.rmtree(folder, ignore_errors=True)
