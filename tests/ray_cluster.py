"""A Ray cluster of one node that runs for a while, as on a machine where ``ray start --head`` was run."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Cluster:
    address: str
    dashboard: str
    metrics: str
    environment: dict[str, str]


@contextlib.contextmanager
def running_head(*options: str) -> Iterator[Cluster]:
    """A head node with a folder, ports and no authentication of its own.

    All Rays' agents take one port unless they are told otherwise; those that do not get it run on without
    taking jobs.
    """
    folder = tempfile.mkdtemp(prefix="ray-")
    gcs, dashboard, metrics = free_port(), free_port(), free_port()
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    # After so many seconds `ray job stop` kills, by default after 3; a machine that does much else is slow.
    environment.setdefault("RAY_JOB_STOP_WAIT_TIME_S", "60")
    environment.pop("RAY_ADDRESS", None)
    environment["PATH"] = f"{RAY.parent}:{environment['PATH']}"  # as on nodes where it is installed
    before = set(psutil.pids())
    subprocess.run(
        [
            RAY, "start", "--head", f"--port={gcs}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}",
            "--num-cpus=2", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
            "--dashboard-agent-listen-port=0", f"--metrics-export-port={metrics}",
            "--object-store-memory=100000000", "--disable-usage-stats", *options,
        ],
        check=True, capture_output=True, timeout=120, env=environment,
    )  # fmt: skip
    try:
        urls = [f"http://127.0.0.1:{port}" for port in (dashboard, metrics)]
        yield Cluster(f"127.0.0.1:{gcs}", *urls, environment)
    finally:
        # `ray stop` would end every Ray of this user, other tests' among them. Workers rename themselves, so
        # they are found as children of what was started with this folder.
        for process in psutil.process_iter():
            if process.pid not in before and folder in " ".join(_command_line(process)):
                for doomed in (*process.children(recursive=True), process):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        doomed.kill()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
