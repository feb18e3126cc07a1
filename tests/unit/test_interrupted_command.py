"""Commands that are interrupted, be it in native code, which may turn that into another error."""

import signal
import subprocess
import sys

import pytest

CODE = """
import os, signal, time
import jobs.cli.main as cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it

def app():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        raise {raised}

cli.app = app
cli.main()
"""


@pytest.mark.parametrize("raised", ["TypeError('of a layer of Keras')", "SystemError('of an import')"])
def test_an_interrupt_that_became_another_error_is_one(raised: str) -> None:
    """Who stops a slow question would read of an internal error, and report it."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(raised=raised)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "earmark: interrupted\n"


SIGNALED = """
import os, signal, sys, time
import jobs.cli.main as cli
import jobs.read_tables

signal.signal(signal.SIGINT, signal.default_int_handler)

def open_tables(tables):
    try:
        os.kill(os.getpid(), {number})
        time.sleep({seconds})
    finally:
        print("left", flush=True)
    raise SystemExit(7)

jobs.read_tables.open_tables = open_tables
sys.argv = ["earmark", "verify", "tables"]
cli.main()
"""


@pytest.mark.usefixtures("heard_hangup")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_to_end_lets_a_command_clean_up(number: int) -> None:
    """A terminal that is closed, or a service that is stopped, leaves temporary files among the music."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALED.format(number=number, seconds=60)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "left\n", "earmark: interrupted\n")


def test_nohup_is_heard() -> None:
    """Whoever starts a command with nohup closes the terminal, and the command is gone."""
    done = subprocess.run(
        ["nohup", sys.executable, "-c", SIGNALED.format(number=signal.SIGHUP.value, seconds=0)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "left\n")
