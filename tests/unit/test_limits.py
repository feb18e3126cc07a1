"""A track that takes too much time or memory ends its process, even one stuck in C code."""

import mmap
import subprocess
import sys
import time

import pytest

from pipeline.shards.limits import TIMED_OUT, TOO_MUCH_MEMORY, private_bytes

pytestmark = pytest.mark.slow

START = """
import io, re, time, zlib
import numpy as np
from pipeline.shards.limits import TrackLimits
def guarded(timeout_s=60.0, memory_mb=1000, file=None, remote=False):
    return TrackLimits(timeout_s, memory_mb << 20).enforce(file or io.BytesIO(), remote=remote)
"""


def run(code: str, first: str = "") -> "subprocess.CompletedProcess[str]":
    code = first + START + code
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=55)


STUCK = {
    "asleep": "time.sleep(60)",
    # A regular expression that never ends, in C and with the interpreter's lock held, as a decoder may.
    "computing": "re.match(r'(a+)+$', 'a' * 60 + 'b')",
    # Frames come and go: whoever walks through them from another thread may crash.
    "interpreting": "def deep(n): return n and deep(n - 1)\n    while True: deep(200)",
}


@pytest.mark.parametrize("kind", STUCK)
def test_a_stuck_worker_ends_itself(kind: str) -> None:
    """Otherwise one file that loops in its decoder blocks the run forever."""
    start = time.monotonic()
    done = run(f"with guarded(timeout_s=0.5):\n    {STUCK[kind]}")
    assert done.returncode == TIMED_OUT
    assert time.monotonic() - start < 50


@pytest.mark.parametrize("handed_on", ["signal(SIGALRM, SIG_IGN)", "pthread_sigmask(SIG_BLOCK, {SIGALRM})"])
def test_no_parent_takes_the_limit_away(handed_on: str) -> None:
    """A supervisor that ignores or blocks the signal passes that on to its children."""
    # First: numpy starts threads, and those that do not block it would let it through.
    first = f"from signal import *\n{handed_on}\n"
    assert run("with guarded(timeout_s=0.5):\n    time.sleep(5)", first).returncode == TIMED_OUT


def test_the_clock_stops_with_the_track() -> None:
    """The limit of one track must not end the process during the next one."""
    done = run("with guarded(timeout_s=1.0):\n    pass\ntime.sleep(1.5)\nprint('alive')")
    assert done.stdout == "alive\n"


GREEDY = {
    "python": "kept = [bytes([i % 256]) * 1_000_000 for i in range(3000)]",
    "numpy": "np.concatenate([np.ones(10**6)] * 375)",
    "zlib": "zlib.decompress(zlib.compress(bytes(3 * 10**8), 1))",
}


@pytest.mark.parametrize("kind", GREEDY)
def test_a_worker_that_grows_too_much_ends_itself(kind: str) -> None:
    """Otherwise one file uses up the memory, and the kernel kills the largest process, or the node dies."""
    done = run(f"with guarded(memory_mb=100):\n    {GREEDY[kind]}")
    assert done.returncode == TOO_MUCH_MEMORY, done.stderr
    assert "more than 100 MB" in done.stderr


def test_the_limit_of_memory_holds_without_standard_error() -> None:
    """A service may have closed it, or who read it is gone: one file would then use up the memory."""
    done = run(f"import os\nos.close(2)\nwith guarded(memory_mb=100):\n    {GREEDY['python']}")
    assert done.returncode == TOO_MUCH_MEMORY


def test_memory_allocated_before_does_not_count() -> None:
    """Memory used by Ray, Arrow and earlier tracks must not count against a track."""
    code = "before = np.ones(40 * 10**6)\nwith guarded(memory_mb=200):\n    more = np.ones(10 * 10**6)\n"
    assert run(code + "    time.sleep(0.1)\nprint('alive')").stdout == "alive\n"


def test_the_memory_of_a_process_is_known() -> None:
    """A limit that measures nothing would never apply."""
    before = private_bytes()
    # Mapped anew: what this process has freed before could be handed out again, and measure as nothing.
    with mmap.mmap(-1, 50 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as kept:
        kept.write(b"x" * len(kept))
        assert 45 << 20 <= private_bytes() - before <= 120 << 20


SLOW = """
class Slow(io.BytesIO):
    def read(self, size=-1):
        time.sleep(0.4)
        return super().read(size)
with guarded(timeout_s=1.0, file=Slow(b"12345"), remote={remote}) as file:
    for _ in range(5):
        assert file.read(1)
    assert (file.seek(1), file.tell(), file.readable(), file.seekable()) == (1, 1, True, True)
    {after}
print("alive")
"""


def test_the_time_that_a_store_takes_is_not_the_tracks() -> None:
    """With a slow store, all long recordings, which are read by ranges, would be permanent failures."""
    assert run(SLOW.format(remote=True, after="time.sleep(0.5)")).stdout == "alive\n"
    assert run(SLOW.format(remote=True, after="time.sleep(30)")).returncode == TIMED_OUT
    assert run(SLOW.format(remote=False, after="pass")).returncode == TIMED_OUT
