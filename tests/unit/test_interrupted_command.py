"""Ctrl-C in native code, which may turn it into another error."""

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
