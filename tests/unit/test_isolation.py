"""The end of an isolated process is attributed to the track, its limits, or a kill from outside."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pipeline.shards.isolation import (
    MAX_KILLS,
    Isolated,
    ProcessDiedError,
    call_with_restarts,
    decoding_failure,
)
from pipeline.shards.limits import TIMED_OUT, TOO_MUCH_MEMORY, TrackLimits
from pipeline.shards.process_errors import TransferError
from schemas.errors import DecodeError, EarmarkError, EnvironmentFaultError

LIMITS = TrackLimits(2.0, 64 << 20)


@pytest.fixture
def process() -> Iterator[Isolated]:
    with closing(Isolated()) as opened:
        yield opened


def crash_in_c() -> None:
    """Read from address 0, as a decoder with a bug does."""
    ctypes.string_at(0)


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


def kill_until(count: Path, times: int) -> int:
    """Be killed the first `times` times, as by an operator; then return how often it was called."""
    calls = len(count.read_text()) + 1 if count.exists() else 1
    count.write_text("x" * calls)
    if calls <= times:
        kill(signal.SIGKILL)
    return calls


def fail() -> None:
    raise DecodeError("a.mp3 is not audio")


class DemandingError(Exception):
    """As many libraries' errors: it pickles, and cannot be made again of its message alone."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(f"{file} is odd in line {line}")


class HoldingError(Exception):
    """It holds what no other process can have."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class OnlyThere:
    """A result that pickles in its process and unpickles in no other."""

    def __init__(self) -> None:
        self.process = os.getpid()

    def __setstate__(self, state: dict[str, int]) -> None:
        if state["process"] != os.getpid():
            raise OSError("made in another process")


def raise_demanding() -> None:
    raise DemandingError("a.mp3", 7)


def raise_holding() -> None:
    raise HoldingError


def outlive_the_pipe() -> None:
    """Ignore SIGTERM and leave a thread that keeps the process alive."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=(600,)).start()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (threading.Lock, "type lock cannot be pickled"),
        (raise_holding, "HoldingError: holds a lock"),
        (raise_demanding, "DemandingError: a.mp3 is odd in line 7"),
        (OnlyThere, "cannot be unpickled: OSError: made in another process"),
    ],
)
def test_a_pickling_error_is_not_a_crash(
    process: Isolated, function: Callable[[], object], words: str
) -> None:
    """Fails: a good track is said to crash its decoder because a library's error cannot be pickled."""
    number = process.call(os.getpid)
    with pytest.raises(TransferError) as caught:
        process.call(function)
    assert words in str(caught.value)
    assert process.call(os.getpid) == number, "the process did not live on"


def test_different_code_in_the_child_is_not_a_tracks_fault(
    process: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: with two versions of a package, every track is said to crash its decoder."""
    here_alone = types.ModuleType("module_of_the_worker_alone")
    vars(here_alone)["Work"] = type("Work", (), {"__module__": here_alone.__name__})
    monkeypatch.setitem(sys.modules, here_alone.__name__, here_alone)
    with pytest.raises(EnvironmentFaultError, match="No module named 'module_of_the_worker_alone'"):
        process.call(here_alone.Work)


def test_a_process_that_does_not_exit_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: a worker, and the run with it, waits forever for a library's thread."""
    monkeypatch.setattr("pipeline.shards.isolation._EXIT_TIMEOUT_S", 0.5)
    process = Isolated()
    process.call(outlive_the_pipe)
    assert process.close() == -signal.SIGKILL


def test_paths_on_the_path_are_passed_over(
    process: Isolated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python ignores what is no text there; a notebook that has put a Path there could label nothing."""
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path, 5, b"/", str(tmp_path)])
    assert str(tmp_path) in process.call(eval, "__import__('sys').path")


def test_a_process_without_stderr_prints_into_nothing() -> None:
    """Their pipe would get the number of stderr, and what a decoder prints be read as its answer."""
    code = (
        "import os; os.close(2); from pipeline.shards.isolation import Isolated; process = Isolated()\n"
        "print(process.call(os.write, 2, b'warning'), process.call(os.getcwd) == os.getcwd())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["7", "True"]


def test_calls_share_one_process(process: Isolated) -> None:
    """A new process for each call would cost a second each."""
    assert process.call(os.getpid) == process.call(os.getpid) != os.getpid()


def test_an_error_is_raised_in_the_parent(process: Isolated) -> None:
    """A track that fails without a crash must keep its own reason."""
    with pytest.raises(DecodeError, match=r"a\.mp3 is not audio"):
        process.call(fail)
    assert process.call(os.getcwd) == os.getcwd()


def test_a_crash_is_named_by_its_signal_and_the_next_call_works(process: Isolated) -> None:
    """The user is told that the file crashes its decoder, and the tracks after it go on."""
    with pytest.raises(ProcessDiedError) as caught:
        process.call(crash_in_c)
    assert (caught.value.how, caught.value.from_outside) == ("SIGSEGV", False)
    failure = decoding_failure(caught.value, "a.mp3", LIMITS)
    assert (type(failure).__name__, "a.mp3 crashes its decoder (SIGSEGV)" in str(failure)) == (
        "DecoderCrashedError",
        True,
    )
    assert process.call(os.getcwd) == os.getcwd()


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (TIMED_OUT, "TimedOutError", "longer than 2 s"),
        (TOO_MUCH_MEMORY, "TooMuchMemoryError", "more than 64 MB"),
        (1, "DecoderCrashedError", "exit code 1"),
        (3, "DecoderCrashedError", "exit code 3"),
        (-signal.SIGABRT, "DecoderCrashedError", "SIGABRT"),
        (-signal.SIGBUS, "DecoderCrashedError", "SIGBUS"),
        (-signal.SIGILL, "DecoderCrashedError", "SIGILL"),
        (-(signal.SIGRTMIN + 1), "DecoderCrashedError", f"signal {signal.SIGRTMIN + 1}"),
        (-signal.SIGKILL, "DecoderCrashedError", "was killed 10 times"),
    ],
)
def test_each_exit_code_has_its_reason(code: int, kind: str, words: str) -> None:
    """A wrong reason sends the user to the wrong option."""
    failure = decoding_failure(ProcessDiedError(code), "a.mp3", LIMITS)
    assert type(failure).__name__ == kind
    assert str(failure).startswith("a.mp3")
    assert words in str(failure)


def test_exit_codes_come_through(process: Isolated) -> None:
    """The limits end the process with specific codes."""
    with pytest.raises(ProcessDiedError) as caught:
        process.call(os._exit, TOO_MUCH_MEMORY)
    assert caught.value.code == TOO_MUCH_MEMORY


def test_a_call_killed_from_outside_is_repeated(process: Isolated, tmp_path: Path) -> None:
    """A good track whose process happens to be killed must not be recorded as a failure."""
    assert call_with_restarts(process, kill_until, tmp_path / "calls", 3) == 4


@pytest.mark.slow
def test_repeated_kills_are_bounded(process: Isolated, tmp_path: Path) -> None:
    """A track that makes the kernel kill its process each time must not be retried forever."""
    with pytest.raises(ProcessDiedError) as caught:
        call_with_restarts(process, kill_until, tmp_path / "calls", 1000)
    assert caught.value.from_outside
    assert len((tmp_path / "calls").read_text()) == MAX_KILLS


def test_a_crash_is_not_repeated(process: Isolated, tmp_path: Path) -> None:
    """Each attempt at a track that hangs costs its whole timeout."""
    with pytest.raises(ProcessDiedError):
        call_with_restarts(process, kill, signal.SIGABRT)


def test_a_process_dies_with_its_parent(tmp_path: Path) -> None:
    """A killed worker must not leave a child behind that goes on decoding."""
    code = (
        "import os, sys, time\nfrom pipeline.shards.isolation import Isolated\nprocess = Isolated()\n"
        "print(process.call(os.getpid), flush=True)\nprocess.call(time.sleep, 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 30
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_broken_installation_is_not_a_tracks_fault(
    process: Isolated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A broken installation must end the run, not fail every track permanently."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise ImportError('broken')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(EarmarkError, match="cannot start a child process"):
        process.call(os.getpid)


def test_a_machine_without_room_for_a_process_is_not_a_tracks_fault(
    process: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: while memory or process ids run out, good tracks become permanent failures."""

    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", no_room)
        with pytest.raises(BlockingIOError):
            process.call(os.getpid)
    assert process.call(os.getpid) != os.getpid()


INTERRUPTED = """
import os, signal, threading, time
from pipeline.shards.isolation import Isolated
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
isolated = Isolated()
isolated.call(os.getpid)
try:
    threading.Timer(0.2, os.killpg, (0, signal.SIGINT)).start()
    isolated.call(time.sleep, 1)
    time.sleep(60)
except KeyboardInterrupt:
    print(isolated.close())
"""


@pytest.mark.slow
def test_a_ctrl_c_at_a_terminal_ends_the_process_without_a_word() -> None:
    """Who stops an estimate reads a traceback of a process that they know nothing of."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, start_new_session=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
