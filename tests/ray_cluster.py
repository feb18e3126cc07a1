"""A Ray cluster of one node that runs for a while, as on a machine where ``ray start --head`` was run."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.ports import free_port, start_server

RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Cluster:
    address: str
    dashboard: str
    metrics: str
    environment: dict[str, str]


@contextlib.contextmanager
def running_head(*options: str) -> Iterator[Cluster]:
    """A head node with a folder, ports and no authentication of its own."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    # After so many seconds `ray job stop` kills, by default after 3; a machine that does much else is slow.
    environment.setdefault("RAY_JOB_STOP_WAIT_TIME_S", "60")
    environment.pop("RAY_ADDRESS", None)
    environment["PATH"] = f"{RAY.parent}:{environment['PATH']}"  # as on nodes where it is installed
    with contextlib.ExitStack() as cleanup:

        def start() -> Cluster:
            folder = tempfile.mkdtemp(prefix="ray-")
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
            cleanup.callback(_kill, folder, set(psutil.pids()))
            return _start(folder, environment, options)

        yield start_server(start, cleanup.close)


def _start(folder: str, environment: dict[str, str], options: tuple[str, ...]) -> Cluster:
    """Start a head node.

    All Rays' agents take one port unless they are told otherwise; those that do not get it run on without
    taking jobs.
    """
    gcs, dashboard, metrics = free_port(), free_port(), free_port()
    started = subprocess.run(
        [
            RAY, "start", "--head", f"--port={gcs}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}",
            "--num-cpus=2", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
            "--dashboard-agent-listen-port=0", f"--metrics-export-port={metrics}",
            "--object-store-memory=100000000", "--disable-usage-stats", *options,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, env=environment,
    )  # fmt: skip
    if started.returncode:
        raise RuntimeError(f"ray start ended with {started.returncode}:\n{started.stdout}")
    return Cluster(
        f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{metrics}", environment
    )


def _kill(folder: str, before: set[int]) -> None:
    """Kill what was started with this folder, and its children: Ray's workers rename themselves.

    `ray stop` would end every Ray of this user, other tests' among them.
    """
    for process in psutil.process_iter():
        if process.pid not in before and folder in " ".join(_command_line(process)):
            for doomed in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    doomed.kill()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
