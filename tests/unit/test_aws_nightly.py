"""The nightly script for AWS, with a program in place of `ray` that writes down how it was called."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "infra" / "aws" / "nightly.sh"
COMMAND = "earmark run 's3://bucket/my music' s3://bucket/tables"
FAKE = """#!/bin/sh
echo "$@" >>"$CALLS"
[ "$1" != "$FAILS" ] || [ "$(grep -c "^$1" "$CALLS")" -gt "$TIMES" ] || exit 1
[ "$1" != exec ] || sleep "$SECONDS_OF_WORK"
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    ray = tmp_path / "bin" / "ray"
    ray.parent.mkdir()
    ray.write_text(FAKE)
    ray.chmod(0o755)

    def start(fails: str = "", work_s: float = 0, times: int = 9) -> "subprocess.Popen[str]":
        ours = {
            "CALLS": str(tmp_path / "calls"),
            "FAILS": fails,
            "TIMES": str(times),
            "SECONDS_OF_WORK": str(work_s),
        }
        path = f"{ray.parent}:{os.environ['PATH']}"
        return subprocess.Popen(
            [SCRIPT, "cluster.yaml", COMMAND],
            env=os.environ | ours | {"PATH": path, "HOME": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize(
    ("fails", "code", "verbs"),
    [("", 0, ["up", "exec", "down"]), ("exec", 1, ["up", "exec", "down"]), ("up", 1, ["up", "down"])],
)
def test_the_cluster_is_taken_down_whatever_happens(
    start: Start, tmp_path: Path, fails: str, code: int, verbs: list[str]
) -> None:
    """A failed run leaves ten machines running, and nobody looks at the bill before the month ends."""
    assert start(fails).wait(30) == code
    called = calls(tmp_path)
    assert [line.split()[0] for line in called] == verbs
    assert called[0] == "up -y --no-restart cluster.yaml", "it would end a run on a cluster that is up"
    if "exec" in verbs:
        assert called[1] == f"exec cluster.yaml timeout --foreground --preserve-status 20h env {COMMAND}"


def test_a_command_may_begin_with_variables() -> None:
    """`timeout` takes EARMARK_NOTIFY=… for the name of a program, and the night ends with 127."""
    (line,) = (line for line in SCRIPT.read_text().splitlines() if line.startswith("ray exec"))
    words = line.partition('"timeout')[2].partition('"')[0]
    command = f"timeout{words}".replace("$command", "WHO='you there' sh -c 'echo \"$WHO\"'")
    assert subprocess.check_output(["sh", "-c", command], text=True) == "you there\n"


@pytest.mark.parametrize(("times", "code", "said"), [(1, 0, ""), (9, 1, "run 'ray down -y cluster.yaml'")])
def test_a_cluster_that_stays_up_is_a_failure(
    start: Start, tmp_path: Path, times: int, code: int, said: str
) -> None:
    """AWS does not answer for a moment, the night counts as a success, and its machines run on."""
    sleep = tmp_path / "bin" / "sleep"
    sleep.write_text("#!/bin/sh\n")
    sleep.chmod(0o755)
    night = start("down", times=times)
    assert said in night.communicate(timeout=30)[1]
    assert night.returncode == code
    assert [line.split()[0] for line in calls(tmp_path)] == ["up", "exec", *["down"] * min(times + 1, 3)]


def test_two_nights_are_never_at_work_at_once(start: Start, tmp_path: Path) -> None:
    """The second night restarts Ray under the first, or takes its cluster down."""
    first = start(work_s=5)
    while len(calls(tmp_path)) < 2:
        time.sleep(0.05)
    second = start()
    assert second.wait(30) == 5
    assert "still going on" in second.communicate()[1]
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 130
    assert [line.split()[0] for line in calls(tmp_path)] == ["up", "exec", "down"]
    assert start().wait(30) == 0


def test_other_users_of_the_machine_stop_no_night(start: Start, tmp_path: Path) -> None:
    """Whoever makes the lock in /tmp first, for a night of their own or in malice, stops all others."""
    assert start().wait(30) == 0
    assert (tmp_path / ".earmark-nightly.lock").stat().st_uid == os.getuid()
