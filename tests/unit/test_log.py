"""Logs: what a record says and is about, what must not be in it, and the bounds of what is kept."""

import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from jobs.console.logs import JsonFormatter, TextFormatter, configure
from jobs.run import run_log as run_logs
from jobs.run.run_log import RunLog, keep_log
from pipeline import redaction
from pipeline.log import ROOT, about, get_logger, level
from pipeline.log_events import Event, EventBuffer, record_events, replay, to_record
from pipeline.shards.fetching import fetch_ahead
from pipeline.shards.isolation import Isolated
from pipeline.storage import retry, storage
from pipeline.tables.runs import log_location
from pipeline.tables.tables import Tables
from schemas.tracks import TrackRef

log = get_logger("tests.unit.test_log")
HOSTILE = 'a b="c"\n\x1b[31m\u202e\x7f\u2028\udc80é\\'


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The root of our loggers, left as it was."""
    root = logging.getLogger(ROOT)
    before = root.level, root.propagate, list(root.handlers)
    yield root
    root.setLevel(before[0])
    root.propagate, root.handlers = before[1:]


def event(message: str = "m", weight: int = logging.INFO, **fields: object) -> Event:
    return Event(0.0, weight, f"{ROOT}.x", message, fields)


def test_records_say_what_the_code_is_at_work_on() -> None:
    """A retry deep in the storage must be told apart from the others: of which run, shard and track."""
    with record_events(logging.INFO) as buffer, about(run="r", shard="1"):
        with about(track="a.mp3"):
            log.info("inside", attempt=2)
        log.info("after")
        with about(shard="2"):
            log.info("other", run="given")
    assert [(each.message, dict(each.fields)) for each in buffer.events()] == [
        ("inside", {"run": "r", "shard": "1", "track": "a.mp3", "attempt": 2}),
        ("after", {"run": "r", "shard": "1"}),
        ("other", {"run": "given", "shard": "2"}),
    ]
    assert {each.logger for each in buffer.events()} == {"earmark.tests.unit.test_log"}


def test_tracks_that_are_fetched_ahead_are_logged_under_their_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read in threads of their own, where a context is empty: a retry would be nobody's."""
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0.0)
    store = storage.filesystem("memory")
    failed: set[str] = set()

    def failing_once(path: str) -> bytes:
        if path not in failed:
            failed.add(path)
            raise ConnectionResetError("cut off")
        return b"sound"

    monkeypatch.setattr(store, "cat_file", failing_once)
    tracks = [TrackRef(str(n), f"memory://music/{n}.mp3", 5, "e", 0.0) for n in range(4)]
    with record_events(logging.INFO) as buffer, about(shard="000007"):
        for _, opener in fetch_ahead(tracks, again=False):
            opener().file.close()
    # The threads log in any order.
    assert sorted((e.message, e.fields["shard"], e.fields["track"]) for e in buffer.events()) == [
        ("store failed, retrying", "000007", track.uri) for track in tracks
    ]
    assert all(e.fields["error"] == "cut off" and e.fields["attempt"] == 1 for e in buffer.events())


def test_a_slow_store_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: a night takes twice as long, and nothing says that it is the store, and which object."""
    monkeypatch.setattr(retry, "_SLOW_S", 0.01)
    with record_events(logging.WARNING) as buffer:
        for of in ({}, {"track": "s3://b/a.mp3"}):
            with about(**of), retry.transfer("read", "s3://b/a.mp3"):
                time.sleep(0.02)
        monkeypatch.setattr(retry, "_SLOW_S", 60)
        with retry.transfer("read", "s3://b/b.mp3"):
            pass
    for slow, name in zip(buffer.events(), ("location", "track"), strict=True):
        assert slow.message == "slow store read"
        seconds = slow.fields["seconds"]
        assert isinstance(seconds, float)
        assert seconds > 0.01
        assert slow.fields == {"seconds": seconds, name: "s3://b/a.mp3"}


def test_a_line_of_text_is_one_line_that_steers_no_terminal() -> None:
    """Names of tracks are anybody's: one must neither forge a line nor color the terminal."""
    line = TextFormatter().format(to_record(event("m", track=HOSTILE, plain="x/y.mp3", none=None, n=1.5)))
    assert line.isprintable()
    assert line.startswith("1970-01-01T00:00:00.000Z info m track=")
    assert line.endswith(" plain=x/y.mp3 n=1.5")
    assert "é" in line


def test_a_line_of_json_is_one_object_of_what_was_logged() -> None:
    """What collects logs reads lines, and strict parsers know no NaN; a field must not pose as the time."""
    with record_events(logging.INFO) as buffer:
        log.info(
            "m", track=HOSTILE, nan=float("nan"), error=ValueError("no"), none=None, time="x", path=Path("/p")
        )
    line = JsonFormatter().format(to_record(buffer.events()[0]))
    assert "\n" not in line
    assert not {"\x1b", "\u202e", "\x7f", "\u2028"} & set(line)
    line.encode()
    said = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(said) == [
        "time", "level", "logger", "message", "track", "nan", "error", "none", "path"
    ]  # fmt: skip
    assert said["track"] == HOSTILE
    assert said["error"] == "ValueError: no"
    assert said["time"].endswith("Z")
    assert (said["nan"], said["none"], said["path"]) == ("nan", None, "/p")


class WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_without_words_is_logged_all_the_same() -> None:
    """A log line must never end the run that it is about."""
    with record_events(logging.INFO) as buffer:
        log.info("100 % of %s", error=WordlessError())
    assert buffer.events()[0].message == "100 % of %s"
    assert buffer.events()[0].fields["error"] == "WordlessError"


SECRETS = (
    "http://user:pa55word@proxy:3128 refused",
    "https://t0ken-of-mine@host/x",
    "https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2026&X-Amz-Signature=deadbeef&x=1",
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/2026, Signature=deadbeef",
    "{'Authorization': 'Bearer deadbeef', 'x-amz-security-token': 'FwoGZX'}",
    "x-amz-security-token: FwoGZX",
    "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG",
    "the key ASIAIOSFODNN7EXAMPLE is expired",
    "key en/vi+ron was refused, and en%2Fvi%2Bron too",
    "cannot reach s3 with hunter22",
    "https://user:p@55word@host/x",
    "https://user:pa/55word@host/x and https://user:p/@/55word@host",
    "s3://AKIAIOSFODNN7EXAMPLE:sec/r+et5@bucket/music",
    'Invalid bucket name "AKIAIOSFODNN7EXAMPLE:sec/r+et5@bucket"',
    "https://me.blob.core.windows.net/music/a.mp3?sp=r&sig=deadbeef%3D refused",
    "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=deadbeef==;",
)  # fmt: skip


HIDDEN = (
    *("pa55word", "t0ken-of-mine", "deadbeef", "FwoGZX", "wJalrXUtnFEMI", "IOSFODNN7", "en/vi", "en%2Fvi"),
    *("hunter22", "55word", "r+et5"),
)


# Without the texts in the ids, which pytest puts into the environment: its secrets are found there.
@pytest.mark.parametrize("text", SECRETS, ids=map(str, range(len(SECRETS))))
def test_no_secret_is_logged(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs are copied to places that more people read than may know the bucket's keys."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "en/vi+ron")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter22@proxy:3128")
    redaction._secrets.cache_clear()
    try:
        with record_events(logging.INFO) as buffer, about(address=text):
            log.info("m", error=OSError(text), **{"session_token": "FwoGZX"})
    finally:
        redaction._secrets.cache_clear()
    said = JsonFormatter().format(to_record(buffer.events()[0]))
    for secret in HIDDEN:
        assert secret not in said
    assert "(hidden)" in said


@pytest.mark.parametrize(
    "name",
    [
        "s3://bucket/AC@DC: Live?/01 Secret Garden.mp3",
        "/music/The Token's Password; x/a&b=c.mp3",
        "http://host:80/a",
        "http://host:8265/AC@DC.mp3",
        "see http://host:80, http://other:8080/ and a@b",
        "/music/design=sig/AC@DC.mp3",
    ],
)
def test_names_of_tracks_are_no_secrets(name: str) -> None:
    """Fails: the operator cannot find the file that a line is about."""
    assert redaction.redact(name) == name


@pytest.mark.parametrize("word", ["token", "x-amz-", "://", "://a:", "'secret", "a:", "authorization "])
def test_looking_for_secrets_takes_time_in_proportion(word: str) -> None:
    """A long name of such words would hold a worker for minutes at each line about it, and this test too."""
    redaction.redact(word * 100_000)


def test_what_is_kept_is_bounded_and_warnings_stay() -> None:
    """A store that fails all night must not fill the driver's memory, nor small news hide a death."""
    buffer = EventBuffer(logging.INFO, most=5)
    for number in range(100):
        weight = logging.WARNING if number in (3, 60) else logging.INFO
        buffer.handle(to_record(event(f"{number}", weight)))
    first, *others = buffer.events()
    assert (first.message, first.fields) == ("earlier lines were dropped", {"lines": 93})
    assert [each.message for each in others] == ["3", "60", "95", "96", "97", "98", "99"]
    long = Event.of(to_record(event("m", text="x" * 10_000_000)))
    assert len(pickle.dumps(long)) < 2000


def test_levels_below_are_not_recorded_and_the_level_comes_back(logger: logging.Logger) -> None:
    """Debug lines of a million tracks are work for nothing where nobody asked for them."""
    logger.setLevel(logging.WARNING)
    with record_events(logging.INFO) as buffer:
        log.debug("small")
        log.info("news")
        assert level() == logging.INFO
    assert level() == logging.WARNING
    log.warning("later")
    assert [each.message for each in buffer.events()] == ["news"]


def test_what_wto_recorded_elsewhere_is_logged_here_with_what_this_is_about() -> None:
    """Events of workers reach the driver's file and stderr as if they had been logged there."""
    logged = event("m", logging.WARNING, track="t", shard="theirs"), event("d", logging.DEBUG)
    sent = pickle.loads(pickle.dumps(logged))  # noqa: S301
    with record_events(logging.INFO) as buffer, about(run="r", shard="ours"):
        replay(sent)
    (got,) = buffer.events()
    assert (got.message, got.level, got.time) == ("m", logging.WARNING, 0.0)
    assert got.fields == {"run": "r", "shard": "theirs", "track": "t"}


def log_and_fail(fail: bool) -> int:
    with about(track="t"):
        log.info("in the process", pid=os.getpid())
    if fail:
        raise ValueError("as asked")
    return os.getpid()


def test_threads_record_only_their_own_events(logger: logging.Logger) -> None:
    """An actor labels several parts at once: each event is told once, also after the first part has ended."""
    logger.setLevel(logging.WARNING)
    both_record, first_ended = threading.Barrier(2), threading.Event()

    def work(name: str) -> list[tuple[str, object]]:
        with record_events(logging.INFO) as buffer, about(shard=name):
            both_record.wait(10)
            log.info("begun")
            if name == "second":
                assert first_ended.wait(10)
                log.info("still at work")
        first_ended.set()
        return [(event.message, event.fields["shard"]) for event in buffer.events()]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, ("first", "second"))
    assert first == [("begun", "first")]
    assert second == [("begun", "second"), ("still at work", "second")]
    assert level() == logging.WARNING


@pytest.mark.slow
@pytest.mark.parametrize("fail", [False, True])
def test_what_an_isolated_process_logs_reaches_its_worker(fail: bool) -> None:
    """Suspects are read there: without this nobody sees that the store failed them."""
    with record_events(logging.INFO) as buffer, about(shard="1"), closing(Isolated()) as process:
        try:
            process.call(log_and_fail, fail)
        except ValueError:
            assert fail
    # Threads that other tests have left may log here too.
    (got,) = [event for event in buffer.events() if event.message == "in the process"]
    assert (got.fields["shard"], got.fields["track"]) == ("1", "t")
    assert got.fields["pid"] != os.getpid()


def test_the_log_goes_to_stderr_as_it_is_now_from_its_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Options after the command take the place of those before it: no line is printed twice."""
    configure("info", "json")
    configure("warning", "text")
    log.info("news")
    log.warning("trouble", attempt=1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith(" warning trouble attempt=1\n")
    assert printed.err.count("\n") == 1


def test_a_stderr_that_is_closed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose terminal is gone goes on."""
    configure("info", "text")
    with open(os.devnull, "w") as closed:
        pass
    monkeypatch.setattr(sys, "stderr", closed)
    log.info("news")


def test_as_a_library_nothing_is_printed_and_handlers_get_the_fields() -> None:
    """A notebook must not fill with warnings; whoever wants them adds a handler, as of any library."""
    code = (
        "import logging\nfrom pipeline.log import get_logger\n"
        "log = get_logger('x')\nlog.warning('quiet', n=1)\n"
        "logging.basicConfig(format='%(name)s %(message)s %(fields)s')\nlog.warning('heard', n=2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "earmark.x heard {'n': 2}\n"


def lines_of(tables: Tables, run: str = "r") -> list[str]:
    text = storage.read_bytes(log_location(tables, run)).decode()
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_a_run_s_log_is_written_from_its_beginning_and_again(tmp_path: Path) -> None:
    """What was logged before the run had its name is part of it; nothing is there before the lease is."""
    tables = Tables(str(tmp_path))
    with keep_log(tables) as run_log:
        log.info("listing")
        run_log.write(1.0)
        assert list(tmp_path.iterdir()) == []
        run_log.begin("r")
        run_log.write(60.0)
        assert lines_of(tables) == ["listing"]
        log.debug("small")
        log.warning("trouble")
        run_log.write(60.0)
        assert lines_of(tables) == ["listing", "trouble"]
    log.warning("after")
    run_log.write(60.0)
    assert lines_of(tables) == ["listing", "trouble"]


def test_a_long_run_writes_its_log_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that the kernel kills leaves what led to it."""
    tables = Tables(str(tmp_path))
    with keep_log(tables) as run_log:
        run_log.begin("r")
        log.info("news")
        run_log.write_if_due()
        assert not (tmp_path / "_runs").exists()
        monkeypatch.setattr(run_logs, "_EVERY_S", 0.0)
        run_log.write_if_due()
        run_log.write(60.0)
        assert lines_of(tables) == ["news"]


def test_a_log_that_cannot_be_written_ends_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The labels are worth more. That it is not there is said."""
    (tmp_path / "tables").write_text("in the way")
    configure("warning", "text")
    with keep_log(Tables(str(tmp_path / "tables"))) as run_log:
        run_log.begin("r")
        log.info("news")
        run_log.write(60.0)
    assert "warning run log not written run=r" in capsys.readouterr().err


def test_a_system_without_threads_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container with a limit of processes would lose a night to its log."""

    def refuse_to_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    configure("warning", "text")
    with keep_log(Tables(str(tmp_path))) as run_log:
        run_log.begin("r")
        log.info("news")
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse_to_start)
            run_log.write(60.0)
        assert "warning run log not written run=r" in capsys.readouterr().err
        run_log.write(60.0)
        assert "news" in lines_of(Tables(str(tmp_path)))


def test_a_store_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGTERM there are three seconds, for the report and the lease."""
    free = threading.Event()
    monkeypatch.setattr(storage, "write_bytes", lambda *_, **__: free.wait())
    with keep_log(Tables(str(tmp_path))) as run_log:
        run_log.begin("r")
        log.info("news")
        run_log.write(0.1)
        assert not free.is_set()
        free.set()


def test_the_log_of_a_debugged_run_holds_debug(tmp_path: Path) -> None:
    """``--log-level debug`` is asked for to find something: the file must hold it too."""
    configure("debug", "text")
    with keep_log(Tables(str(tmp_path))) as run_log:
        log.debug("small")
    assert [each.message for each in run_log.buffer.events()] == ["small"]
    assert isinstance(run_log, RunLog)
