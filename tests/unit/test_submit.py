"""`earmark submit`, as far as it needs no cluster; the rest is in e2e/test_cluster.py."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jobs import submit
from jobs.cli.main import app
from pipeline.background import run_in_background
from schemas.errors import EarmarkError
from tests.e2e.earmark import EARMARK


def said(*arguments: str) -> str:
    """What the command says in refusing its arguments."""
    done = CliRunner().invoke(app, ["submit", *arguments])
    assert getattr(done.exception, "exit_code", done.exit_code) == 2
    return f"{done.output} {done.exception}"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("music", "needs CATALOG and TABLES"),
        ("music tables --follow job", "neither CATALOG nor TABLES"),
        ("music tables --address head:6379", "not the URL of a job server"),
        ("music tables -- --limit 0", "greater than or equal to 1"),
        ("music tables --limit 0", "greater than or equal to 1"),
        ("music tables --cpus 2", "--cpus cannot be given to a submitted run"),
        ("--limit 3 music tables", "give CATALOG and TABLES first"),
        ("music --limit 3", "Missing argument 'TABLES'"),
        ("music tables -- --no-such-option", "no-such-option"),
        ("music tables --adress http://head:8265", "Try 'earmark submit --help' for help"),
        ("music tables -- more", "more"),
        ("music tables -- --cpus 2", "--cpus cannot be given to a submitted run"),
        ("music tables -- --config run.toml", "--config cannot be given to a submitted run"),
        ("music tables -- --address auto", "--address cannot be given to a submitted run"),
        ("music tables -- --log-level loud", "'loud' is not one of"),
        ("music tables -- --publish out", "--publish out cannot be given to a submitted run"),
        ("music tables -- --publish ~/out", "--publish ~/out cannot be given to a submitted run"),
        ("music tables -- --model my-model", "--model my-model cannot be given to a submitted run"),
        ("music tables -- --model ./default", "--model ./default cannot be given to a submitted run"),
        ("music tables -- --model gtzan+mine", "--model gtzan+mine cannot be given to a submitted run"),
    ],
)
def test_a_mistake_is_found_before_anything_is_submitted(arguments: str, reason: str) -> None:
    """A cluster is started, or waited for, only to hear that an option is wrong."""
    assert reason in said(*arguments.split())


@pytest.mark.parametrize(
    "options",
    [
        "--log-level info --log-format json",
        "--publish s3://bucket/published",
        "--publish /mnt/published",
        "--model default",
        "--model audioset",
        "--model default+audioset",
        "--model gtzan-cnn-304cb835",
        "--model earmark-cnn-0123abcd",
        "--model s3://bucket/my-model",
        "--model file:///mnt/my-model",
    ],
)
def test_what_a_run_on_the_head_understands_is_submitted(options: str) -> None:
    """An option that `run` takes, and that means the same on the cluster, is refused as if it were wrong."""
    arguments = ["submit", "music", "tables", "--address", "http://127.0.0.1:9", "--", *options.split()]
    assert str(CliRunner().invoke(app, arguments).exception).startswith("cannot use the job server at ")


def test_options_of_the_run_need_no_mark_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody puts `submit` in the place of `run`, and hears that there is no option --limit."""
    submitted: list[list[str]] = []

    class Server:
        def __init__(self, address: str) -> None:
            self.address = address

        def submit(self, job: str, catalog: str, tables: str, options: list[str]) -> None:
            submitted.append([catalog, tables, *options])

    monkeypatch.setattr(submit, "JobServer", Server)
    for mark in ([], ["--"]):
        server = ["--no-wait", "--address", "http://127.0.0.1:9"]
        options = [*mark, "--limit", "3", "--no-embeddings"]
        done = CliRunner().invoke(app, ["submit", "music", "tables", *server, *options])
        assert done.exit_code == 0, done.output
    assert submitted == [["music", "tables", "--limit", "3", "--no-embeddings"]] * 2


@contextmanager
def job_server(job: dict[str, Any], job_log: str = "", status: int = 200) -> Iterator[str]:
    """Answer as Ray's job server does that knows one job; return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            version = {"version": "4", "ray_version": "2", "ray_commit": ""}
            is_log, is_version = self.path.endswith("/logs"), self.path == "/api/version"
            answer = {"logs": job_log} if is_log else version if is_version else job
            self.send_response(200 if is_version else status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"message": "runtime_env setup failed: no disk", "error_type": "RUNTIME_ENV_SETUP_FAILURE"},
            "the job night could not be run: runtime_env setup failed: no disk",
        ),
        (
            {
                "message": "Job supervisor actor died: its node has died",
                "error_type": "JOB_SUPERVISOR_ACTOR_DIED",
                "driver_node_id": "5f1c",
            },
            "the job night ended without an exit code; finished work is kept: run the same command again "
            "(Ray says: Job supervisor actor died: its node has died)",
        ),
    ],
    ids=["not begun", "lost"],
)
def test_a_job_without_an_exit_code_says_whether_it_had_begun(facts: dict[str, str], said: str) -> None:
    """A job that was lost with its node after hours is said never to have run: somebody looks for what is
    wrong with the command, instead of running it again."""
    job = {"type": "SUBMISSION", "submission_id": "night", "status": "FAILED", "entrypoint": "earmark run",
           "start_time": 1790000000000, "end_time": 1790000000001}  # fmt: skip
    with job_server(job | facts) as address:
        done = CliRunner().invoke(app, ["submit", "--address", address, "--follow", "night"])
    assert str(done.exception) == said


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_has_changed_is_named(status: int) -> None:
    """The cluster was made again while a job was followed: that is no internal error to report."""
    with job_server({}, status=status) as address:
        done = CliRunner().invoke(app, ["submit", "--address", address, "--follow", "night"])
    assert "the job server does not accept the token; set RAY_AUTH_MODE=token" in str(done.exception)
    assert isinstance(done.exception, EarmarkError)


def test_another_web_server_is_told_from_a_job_server() -> None:
    """A port is mistyped, a notebook answers, and the command says "Expecting value: line 1 column 1"."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Jupyter</html>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = CliRunner().invoke(app, ["submit", "music", "tables", "--address", address])
        server.shutdown()
    assert str(done.exception).startswith(f"what answers at {address} is no job server; ")


@contextmanager
def silent_server(method: str) -> Iterator[tuple[str, threading.Event]]:
    """Be a job server that falls silent when a method is used; return its address, and when that is."""
    asked, ended = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if self.command == method and self.path != "/api/version":
                asked.set()
                ended.wait()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"version": "4", "ray_version": "2", "ray_commit": ""}).encode())

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            ended.set()
            server.shutdown()


def invoke_in_time(*arguments: str) -> Result:
    """Invoke a command that could wait for ever."""
    return run_in_background(lambda: CliRunner().invoke(app, arguments), "test").result(60)


def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head is lost without a word, and the scheduler's command follows its job for ever."""
    for name, value in {"_ANSWER_S": 2.0, "_OUTAGE_S": 1.0, "_POLL_S": (0.01, 0.01)}.items():
        monkeypatch.setattr(submit, name, value, raising=False)
    with silent_server("GET") as (address, _):
        done = invoke_in_time("submit", "--address", address, "--follow", "night")
    assert "has not answered for 1 s: no answer within 2 s; the job may" in str(done.exception)


def test_a_job_that_may_have_begun_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is lost, the command waits or says that the job was not taken, and it runs on unseen."""
    monkeypatch.setattr(submit, "_ANSWER_S", 2.0, raising=False)
    with silent_server("POST") as (address, _):
        done = invoke_in_time("submit", "music", "tables", "--address", address)
    assert re.search(
        r"has not answered whether it takes the job (earmark-\S+) .*; look with --follow \1 before",
        str(done.exception),
    )


@pytest.mark.slow
def test_a_submission_that_is_interrupted_names_the_job() -> None:
    """Ctrl-C at the moment of submission: the job runs, and nobody knows its name to stop it."""
    with silent_server("POST") as (address, asked):
        command: list[str | Path] = [EARMARK, "submit", "music", "tables", "--address", address]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert asked.wait(120)
            process.terminate()
            _, said = process.communicate()
    assert process.returncode == 130
    assert re.fullmatch(r"earmark: interrupted; if the job (earmark-\S+) has begun, .* --stop \1'\n", said)


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody forgot the port-forward, and gets a traceback of Ray's; or has RAY_ADDRESS set, and the run
    goes to another cluster than the one that was named."""
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8")
    address = "http://user:hunter22@127.0.0.1:9"
    done = CliRunner().invoke(app, ["submit", "music", "tables", "--address", address])
    assert str(done.exception).startswith("cannot use the job server at http://(hidden)@127.0.0.1:9: ")
    assert "hunter22" not in str(done.exception)
    assert "127.0.0.1:8" not in str(done.exception)


@pytest.mark.parametrize(
    "option", ["--notify {url}", "--notify={url}", "--notify '{url}?a&b'", "'--notify={url}?a&b'"]
)
def test_the_url_of_notifications_is_not_in_the_log_that_is_shown(option: str) -> None:
    """Ray begins a job's log with its command; a scheduler keeps it, and its readers may post to the chat."""
    option = option.format(url="https://hooks.example/services/T0/xyz")
    entrypoint = f"earmark run s3://bucket/music s3://bucket/tables {option} --limit 5"
    job = {"type": "SUBMISSION", "submission_id": "night", "status": "SUCCEEDED", "entrypoint": entrypoint}
    with job_server(job, f"Running entrypoint for job night: {entrypoint}\ndone\n") as address:
        done = CliRunner().invoke(app, ["submit", "--address", address, "--follow", "night"])
    shown = done.stdout.splitlines()
    assert "hooks.example" not in done.output
    assert "s3://bucket/tables" in shown[0]
    assert shown[0].replace("'", "").endswith("(hidden) --limit 5")
    assert shown[1:] == ["done"]


def test_a_url_of_notifications_that_stays_behind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler's machine names a chat, but nobody hears there that the night failed."""
    monkeypatch.setenv("EARMARK_NOTIFY", "https://hooks.example/services/T0/xyz")
    command = ["submit", "music", "tables", "--address", "http://127.0.0.1:9"]
    assert "EARMARK_NOTIFY says on the cluster's head" in CliRunner().invoke(app, command).output
    given = CliRunner().invoke(app, [*command, "--", "--notify", "https://hooks.example"])
    assert "EARMARK_NOTIFY" not in given.output
    assert "hooks.example" not in given.output
