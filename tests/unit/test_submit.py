"""`earmark submit`, as far as it needs no cluster; the rest is in e2e/test_cluster.py."""

import pytest
from typer.testing import CliRunner

from jobs.cli.main import app


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
        ("music tables -- --no-such-option", "no-such-option"),
        ("music tables -- more", "more"),
        ("music tables -- --cpus 2", "--cpus cannot be given to a submitted run"),
        ("music tables -- --config run.toml", "--config cannot be given to a submitted run"),
        ("music tables -- --address auto", "--address cannot be given to a submitted run"),
    ],
)
def test_a_mistake_is_found_before_anything_is_submitted(arguments: str, reason: str) -> None:
    """A cluster is started, or waited for, only to hear that an option is wrong."""
    assert reason in said(*arguments.split())


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody forgot the port-forward, and gets a traceback of Ray's; or has RAY_ADDRESS set, and the run
    goes to another cluster than the one that was named."""
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8")
    address = "http://user:hunter22@127.0.0.1:9"
    done = CliRunner().invoke(app, ["submit", "music", "tables", "--address", address])
    assert str(done.exception).startswith("cannot use the job server at http://(hidden)@127.0.0.1:9: ")
    assert "hunter22" not in str(done.exception)
    assert "127.0.0.1:8" not in str(done.exception)
