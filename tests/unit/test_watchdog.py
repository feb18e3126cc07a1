"""A track that takes too long ends its worker, whatever the worker is stuck in."""

import subprocess
import sys
import time

import pytest

STUCK = {
    "asleep": "time.sleep(60)",
    # A regular expression that never ends, in C and with the interpreter's lock held, as a decoder may.
    "computing": "re.match(r'(a+)+$', 'a' * 60 + 'b')",
}


@pytest.mark.parametrize("kind", STUCK)
def test_a_stuck_worker_ends_itself(kind: str) -> None:
    """Otherwise one file that loops in its decoder holds the run for ever."""
    code = f"import re, time\nfrom jobs.workers import _watchdog\nwith _watchdog(0.5):\n    {STUCK[kind]}"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=55)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert time.monotonic() - start < 50


def test_work_in_time_goes_on() -> None:
    """The watchdog of one track must not bite during the next."""
    code = (
        "import time\nfrom jobs.workers import _watchdog\n"
        "with _watchdog(1.0):\n    pass\ntime.sleep(1.5)\nprint('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=55)
    assert done.stdout == "alive\n"
