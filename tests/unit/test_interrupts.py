"""SIGTERM and Ctrl-C: the run is closed in time, even if its main thread is stuck."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from jobs.engine.interrupts import interruptible
from pipeline.audio.features import featurize
from pipeline.catalogs.catalog import list_catalog
from pipeline.shards.deferred_interrupts import defer_interrupts, deliver_interrupts
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.limits import TrackLimits
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures
from tests.encoders import encode, sweep

STUCK = """
import hashlib, sys, threading, time
from pathlib import Path
from jobs.engine.interrupts import interruptible

class Closing:
    closed = threading.Event()
    def __call__(self):
        if not self.closed.is_set():
            Path(sys.argv[1]).write_text("closed")
            self.closed.set()

def say_when_stuck(thread):
    clock = time.pthread_getcpuclockid(thread)
    before = time.clock_gettime(clock)
    while time.clock_gettime(clock) < before + 0.5:  # so long it computes nowhere else
        time.sleep(0.05)
    print("ready", flush=True)

with interruptible() as interrupt:
    interrupt.close_with(Closing())
    threading.Thread(target=say_when_stuck, args=(threading.get_ident(),), daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # many minutes in C, which no handler interrupts
"""


@pytest.mark.slow
def test_a_run_whose_main_thread_is_stuck_is_closed(tmp_path: Path) -> None:
    """Python runs no signal handler while it is in C: listing a table, loading a model, waiting for Ray; the
    report would say `running` and the lease be held when SIGKILL comes."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, tmp_path / "closed"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert (tmp_path / "closed").read_text() == "closed"
    assert b"run the same command again" in said


@pytest.fixture(autouse=True)
def pythons_handler() -> Iterator[None]:
    """Have Python's own handler: in the background of a shell, SIGINT is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Notes:
    """A closing that only notes that it was called."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.called = threading.Event()

    def __call__(self) -> None:
        self.called.set()
        self.closed.set()


def interrupt_in_a_callback() -> None:
    """Be interrupted as a decoder's callback is: C code drops the exception raised in it."""
    ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))()


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([signal.SIGINT], ["stop"]),
        ([signal.SIGINT, signal.SIGINT], ["stop", "halt"]),
        ([signal.SIGTERM], ["halt"]),
        ([signal.SIGTERM, signal.SIGTERM], ["halt", "halt"]),
        ([signal.SIGHUP], ["halt"]),
    ],
)
@pytest.mark.usefixtures("heard_hangup")
def test_who_works_is_told_how_to_stop(numbers: list[int], told: list[str]) -> None:
    """Somebody at a terminal lets tracks finish; who sends SIGTERM will not wait for them."""
    heard: list[str] = []
    with interruptible() as interrupt:
        interrupt.set_handlers(lambda: heard.append("stop"), lambda: heard.append("halt"))
        for number in numbers:
            os.kill(os.getpid(), number)
    assert heard == told
    assert interrupt.was_requested


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_starts_to_work_late_is_told_what_was_asked_before() -> None:
    """A Ctrl-C while Ray starts, or tags are listed, may be dropped by C code: the run must not go on for
    hours, to say at its end that it was interrupted."""
    heard: list[str] = []
    with interruptible() as interrupt:
        interrupt_in_a_callback()
        interrupt.set_handlers(lambda: heard.append("stop"), lambda: heard.append("halt"))
    assert heard == ["stop"]


def test_a_run_that_ends_by_itself_is_not_ended(capfd: pytest.CaptureFixture[str]) -> None:
    """The thread that watches must not end a process that goes on to other things."""
    notes = Notes()

    def run() -> None:
        with interruptible() as interrupt:
            interrupt.close_with(notes)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert not notes.called.is_set()
    assert capfd.readouterr().err == ""


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    """Whoever starts a run with nohup and logs out finds it interrupted."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interrupt:
            interrupt.set_handlers(pytest.fail, pytest.fail)
            interrupt.install()
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not interrupt.was_requested


def test_handlers_are_put_back() -> None:
    """Whoever runs a job from a program of their own keeps their own Ctrl-C."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_write_finishes_before_a_task_is_canceled() -> None:
    """Ray cancels with KeyboardInterrupt: in the middle of a PUT, nobody would know whether it arrives."""
    done: list[str] = []

    def write() -> None:
        with defer_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("written")
        done.append("more")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["written"]


def test_an_error_of_a_write_is_not_hidden_by_the_interrupt() -> None:
    """The user reads that the store refuses a write, even while the run is being stopped."""

    def write() -> None:
        with defer_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_dropped_by_c_code_is_delivered() -> None:
    """To the decoder the file ends where it is dropped: a run that is stopped would label half a track, or
    remember a good one as bad."""

    def decode() -> None:
        with deliver_interrupts():
            interrupt_in_a_callback()
            raise ValueError("the file ends early")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        decode()
    assert signal.getsignal(signal.SIGINT) is before


def featurize_one(folder: Path) -> None:
    """Featurize a shard of one track into ``tables`` in a folder."""
    (folder / "music").mkdir()
    (folder / "music" / "a.wav").write_bytes(encode(sweep(22050, 2), 22050, "wav"))
    listing = list_catalog(str(folder / "music"))
    listing = listing.append_column("attempts", pa.array([0], pa.int32()))
    spec, limits = FeatureSpec(), TrackLimits.of(RunConfig())
    shard = Shard("000000", "20260101-000000-test", spec.feature_set, listing, datetime.now(UTC))
    featurize_shard(shard, Tables(str(folder / "tables")), spec, lambda: None, limits=limits)


def test_a_task_canceled_in_a_write_has_written_the_whole_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray takes the task for ended while its request is under way: the next run plans without that part."""
    write_bytes = storage.write_bytes

    def interrupted(location: str, data: bytes, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write_bytes(location, data, **options)

    monkeypatch.setattr(storage, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        featurize_one(tmp_path)
    assert {path.relative_to(tmp_path / "tables").parts[0] for path in tmp_path.rglob("*.parquet")} == {
        "tracks",
        "features",
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_canceled_in_a_decoder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C cancels tasks while the run may still write: the results of such a task must not count."""

    def featurize_track(file: BinaryIO, name: str, spec: FeatureSpec, watch: Stopwatch) -> TrackFeatures:
        interrupt_in_a_callback()
        return featurize.featurize_track(file, name, spec, watch)

    monkeypatch.setattr("pipeline.shards.outcomes.featurize_track", featurize_track)
    with pytest.raises(KeyboardInterrupt):
        featurize_one(tmp_path)
    assert not (tmp_path / "tables").exists()
