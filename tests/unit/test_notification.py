"""What is posted at the end of a run, and what happens if it cannot be."""

import json
import logging
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.run import notification
from jobs.run.closing import Closing
from jobs.run.notification import describe_end, notifying, send
from jobs.run.request import Job, make_job
from jobs.run.run_log import RunLog
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError, LeaseHeldError, MisuseError, StoreError
from schemas.report import Counts, Publication, RunReport
from tests.e2e.earmark import earmark
from tests.webhook import PATH, webhook


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job("run", str(tmp_path / "music"), str(tmp_path / "tables"), RunConfig())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "_PAUSES_S", (0.01, 0.01))
    monkeypatch.delenv(notification.VARIABLE, raising=False)


def report(job: Job, outcome: str = "done", error: str | None = None) -> RunReport:
    return RunReport.model_validate(
        {
            "run": "20260101T000000-abcd",
            "command": "run",
            "catalog": job.catalog,
            "outcome": outcome,
            "error": error,
            "started_at": datetime(2026, 1, 1, tzinfo=UTC),
            "finished_at": datetime(2026, 1, 1, 1, tzinfo=UTC),
            "wall_s": 3600.0,
            "counts": Counts(listed=1500, labeled_before=200, labeled=1200, failed=100),
            "failures": {"DecodeError": 100},
            "feature_set": "set",
            "config": job.config.model_dump(),
        }
    )


def test_a_run_that_is_done_says_what_it_did_and_where_its_report_is(job: Job) -> None:
    """An operator reads "done", and has to open a bucket to see whether half of it failed."""
    message = describe_end(job, report(job), None)
    assert message["text"] == (
        f"earmark run of {job.catalog}: done; 1,200 labeled, 100 failed; 1,500 listed, 3,600 s"
    )
    assert (message["outcome"], message["error"]) == ("done", None)
    assert message["counts"]["labeled_before"] == 200
    assert message["failures"] == {"DecodeError": 100}
    assert message["report"] == f"{job.tables.root}/_runs/20260101T000000-abcd.json"
    json.dumps(message)


def test_a_run_that_could_not_publish_says_so(job: Job) -> None:
    """A dashboard shows last week's labels, while every message of every night says "done"."""
    failed = Publication(location="s3://lake/labels", format="delta", model="m-01234567", error="denied")
    message = describe_end(job, report(job).model_copy(update={"publication": failed}), None)
    assert message["outcome"] == "done"
    assert message["text"].endswith("the labels could not be published")


def test_a_run_whose_report_could_not_be_written_has_failed(job: Job) -> None:
    """The disk is full: the command ends with 1, the report says "running", and the chat reads "done"."""
    unwritten = StoreError("cannot write the run report /t/_runs/r.json: the disk is full")
    message = describe_end(job, report(job), unwritten)
    assert (message["outcome"], message["error"]) == ("failed", str(unwritten))
    assert message["text"].endswith(f"1,500 listed, 3,600 s; {unwritten}")
    stopped = describe_end(job, report(job, "interrupted"), KeyboardInterrupt())
    assert (stopped["outcome"], stopped["error"]) == ("interrupted", None)


def test_nothing_in_a_name_becomes_a_mention_or_shows_a_password(job: Job) -> None:
    """A folder that is called <!channel> wakes everybody; an error quotes the password of a store."""
    odd = replace(job, catalog="s3://bucket/<!channel>&co")
    failed = report(odd, "failed", "cannot read https://user:hunter22@store/x")
    message = describe_end(odd, failed, EarmarkError("…"))
    assert "&lt;!channel&gt;&amp;co" in message["text"]
    assert "hunter22" not in json.dumps(message)
    assert message["error"] == "cannot read https://(hidden)@store/x"


@pytest.mark.parametrize(
    ("codes", "n_posts", "delivered"),
    [((), 1, True), ((500, 0, 204), 3, True), ((429,), 2, True), ((503,) * 3, 3, False), ((404,), 1, False),
     ((302,), 1, False), ((304,), 1, False)],
)  # fmt: skip
def test_only_what_may_pass_is_tried_again(
    codes: tuple[int, ...], n_posts: int, delivered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A chat that restarts loses the news of the night, or a wrong URL is asked for minutes."""
    with caplog.at_level(logging.DEBUG, "earmark"), webhook(*codes) as hook:
        send(hook.url, {"text": "x"}, (0.01, 0.01), 5.0)
    assert hook.posted == [{"text": "x"}] * n_posts
    said = [record.getMessage() for record in caplog.records if record.name.startswith("earmark")]
    assert said == ["notification sent" if delivered else "notification not delivered"]
    assert not [record for record in caplog.records if PATH in str(record.__dict__)]


@pytest.mark.parametrize("url", [f"http://127.0.0.1:9/{PATH}", f"https://[{PATH}", f"http:///{PATH}"])
def test_a_server_that_is_not_there_fails_nothing_and_is_logged_without_the_url(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The run of a night fails for its notification, or the secret of a webhook stands in a log."""
    with caplog.at_level(logging.INFO, "earmark"):
        send(url, {"text": "x"}, (), 5.0)
    (record,) = (each for each in caplog.records if each.name.startswith("earmark"))
    assert record.getMessage() == "notification not delivered"
    assert PATH not in str(record.__dict__)


def test_the_url_is_in_no_report_and_no_message() -> None:
    """Everybody who may read the tables may post to the chat."""
    config = RunConfig(notify=f"https://example.com/{PATH}")
    assert PATH not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
    with pytest.raises(MisuseError, match=r"must begin with http") as refused:
        RunConfig.load(None, notify=f"ftp://{PATH}")
    assert PATH not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (EarmarkError("the store is gone"), "failed", "the store is gone"),
        (LeaseHeldError("run-1 is writing"), "refused", "run-1 is writing"),
        (ZeroDivisionError("inner"), "failed", "ZeroDivisionError"),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_a_run_that_never_began_is_told_too(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, outcome: str, reason: str
) -> None:
    """The bucket cannot be listed any more, and nobody hears of it until the labels are missed."""
    tables = Tables(str(tmp_path / "tables"))
    closing = Closing(tables, 0.0, RunLog(tables))
    with webhook() as hook:
        monkeypatch.setenv(notification.VARIABLE, hook.url)
        with pytest.raises(type(error)), notifying(job, closing):
            raise error
    (message,) = hook.posted
    assert (message["outcome"], message["error"]) == (outcome, reason)
    assert "report" not in message


def test_a_server_that_answers_byte_by_byte_keeps_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """Each byte comes in time, so that the run of the night never ends."""
    caplog.set_level(logging.WARNING, logger="earmark")
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def answer() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.1):
                    connection.sendall(b"y")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        sending = threading.Thread(target=send, args=(url, {"text": "x"}, (), 1.0), daemon=True)
        sending.start()
        sending.join(60)
        has_ended = not sending.is_alive()
        ended.set()
        thread.join()
    assert has_ended
    (record,) = caplog.records
    assert record.getMessage() == "notification not delivered"


def test_a_line_end_after_the_url_is_no_part_of_it(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret was made by echo: the chat answers with 404, and nobody hears of any night."""
    with webhook() as hook:
        monkeypatch.setenv(notification.VARIABLE, f"{hook.url}\n")
        with notifying(job, Closing(job.tables, 0.0, RunLog(job.tables))):
            pass
    assert len(hook.posted) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "config", "reason"),
    [
        (("--model", "no-such-model"), "", "no-such-model"),
        ((), "shard_tracks = 0", "shard_tracks"),
        (("--dry-run", "--model", "no-such-model"), "", None),
    ],
)
def test_a_run_that_is_misconfigured_is_told_too(
    tmp_path: Path, options: tuple[str, ...], config: str, reason: str | None
) -> None:
    """A model that was deleted, or a mistyped file of settings, ends every night in silence."""
    (tmp_path / "music").mkdir()
    (tmp_path / "nightly.toml").write_text(config)
    asked = ("run", tmp_path / "music", tmp_path / "tables", "--config", tmp_path / "nightly.toml", *options)
    with webhook() as hook:
        done = earmark(*asked, EARMARK_NOTIFY=hook.url)
    assert done.returncode == 2, done.stderr
    if reason is None:
        assert hook.posted == []
        return
    (message,) = hook.posted
    assert message["outcome"] == "failed"
    assert reason in message["error"]
    assert message["error"] in done.stderr
    assert (message["command"], message["tables"]) == ("run", str(tmp_path / "tables"))


def test_the_command_notifies(tmp_path: Path) -> None:
    """The option is taken and does nothing."""
    (tmp_path / "music").mkdir()
    with webhook() as hook:
        done = earmark("run", tmp_path / "music", tmp_path / "tables", "--notify", hook.url)
    assert done.returncode == 1
    assert "contains no audio files" in done.stderr
    (message,) = hook.posted
    assert message["outcome"] == "failed"
    assert message["error"] in done.stderr
    assert PATH not in done.stdout + done.stderr
