"""A real S3 server for the tests, and what they do with it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "infra" / "test-s3.sh"


def missing_programs() -> list[str]:
    """Programs of the S3 server that this machine lacks."""
    return [name for name in ("radosgw", "ceph-mon", "ceph-osd", "ceph-mgr") if shutil.which(name) is None]


def _free_ports() -> int:
    """A port that is free together with its two neighbors above."""
    for port in range(9210, 9600, 10):
        try:
            for offset in range(3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
    raise RuntimeError("no three free ports from 9210 on")


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server; gives the environment variables of its clients, and sets them here too."""
    started = subprocess.run(
        [SCRIPT, "start", folder, str(_free_ports())],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    variables = dict(line.split("=", 1) for line in started.stdout.splitlines())
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
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)
