"""The child process of `earmark.label` is kept between calls, and only as long as it is good for the next."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from pipeline.shards import kept_process as kept
from pipeline.shards.isolation import call_with_restarts
from pipeline.shards.kept_process import end_idle_process, kept_process


@pytest.fixture(autouse=True)
def _none_idle() -> Iterator[None]:
    end_idle_process()
    yield
    end_idle_process()


def number_of_process() -> int:
    with kept_process() as process:
        number: int = call_with_restarts(process, os.getpid)
        return number


def wait_for_end(number: int) -> None:
    # A zombie may still have threads that end; only after them does its parent see the end.
    os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)


def test_the_next_call_has_the_same_process() -> None:
    """Each of a thousand calls in a loop would take a second for the start of Python."""
    assert number_of_process() == number_of_process() != os.getpid()


def test_an_idle_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that is left open for days would hold the memory of two processes."""
    monkeypatch.setattr(kept, "IDLE_S", 0.1)
    first = number_of_process()
    while psutil.pid_exists(first):
        time.sleep(0.02)
    assert number_of_process() != first


def test_a_process_in_the_middle_of_a_call_is_not_kept() -> None:
    """After Ctrl-C, the next track would get the features of the one before."""
    first = number_of_process()
    with pytest.raises(KeyboardInterrupt), kept_process():
        raise KeyboardInterrupt
    assert not psutil.pid_exists(first)
    assert number_of_process() != first


def test_a_process_that_was_killed_is_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    """The kernel ends idle processes first where memory is short."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        first = number_of_process()
        os.kill(first, number)
        wait_for_end(first)
        assert number_of_process() != first
    assert capfd.readouterr().err == ""


def test_a_process_knows_the_environment_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that a notebook sets after its first call, which failed without them, would not count."""
    first = number_of_process()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "new")
    with kept_process() as process:
        assert process.call(os.getenv, "AWS_ACCESS_KEY_ID") == "new"
        assert process.call(os.getpid) != first


def test_threads_have_a_process_each_and_leave_one() -> None:
    """Two threads in one pipe would get each other's answers; or each call leave a process behind."""

    def call(number: int) -> tuple[int, int]:
        with kept_process() as process:
            pid = process.call(os.getpid)
            return pid, process.call(abs, -number)

    mine = set(psutil.Process().children())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, range(20)))
        assert [answer for _, answer in found] == list(range(20))
        assert len(set(psutil.Process().children()) - mine) <= 1


def test_a_fork_leaves_the_process_alone_and_the_end_of_python_ends_it() -> None:
    """A forked pool would talk over its parent; and a script that is done would wait, or leave a process."""
    code = (
        "import os; from pipeline.shards.kept_process import kept_process\n"
        "def number():\n    with kept_process() as process: return process.call(os.getpid)\n"
        "first = number()\n"
        "if (child := os.fork()) == 0: os._exit(number() == first)\n"
        "assert os.waitpid(child, 0)[1] == 0 and number() == first; print(first)"
    )
    # From Python 3.12 on, a fork of a process with threads is warned of.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert not psutil.pid_exists(int(done.stdout))
    assert done.stderr == ""
