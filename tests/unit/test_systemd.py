"""The systemd units for one machine, checked by systemd itself."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.console.messages import UNCHECKED
from schemas.errors import LeaseHeldError
from tests.commands import COMMANDS
from tests.webhook import webhook

UNITS = Path(__file__).resolve().parent.parent.parent / "infra" / "systemd"
JOBS = ("run", "compact", "vacuum", "verify")
PROGRAM = "/opt/earmark/bin/earmark"
REPORTER = "/usr/local/lib/earmark/earmark-failed"


def _environment() -> dict[str, str]:
    lines = (UNITS / "earmark.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _settings(unit: str) -> dict[str, str]:
    lines = (UNITS / unit).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """`systemctl enable` refuses a unit, or systemd ignores a setting and what it was to do."""
    for unit in UNITS.glob("earmark*.*"):
        # They are not installed there.
        text = unit.read_text("utf-8").replace(PROGRAM, "/bin/true").replace(REPORTER, "/bin/true")
        (tmp_path / unit.name).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir() if path.suffix in (".service", ".timer"))
    assert len(units) == 2 * len(JOBS) + 1
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "earmark" in line]
    assert (done.returncode, ours) == (0, [])
    for job in JOBS:
        calendar = _settings(f"earmark-{job}.timer")["OnCalendar"]
        subprocess.run(["systemd-analyze", "calendar", calendar], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("job", JOBS)
def test_the_command_line_accepts_the_commands(job: str) -> None:
    """The nightly job exits with 2 each time."""
    values = _environment()
    # As systemd expands them: ${NAME} is one word, $NAME is split.
    line = _settings(f"earmark-{job}.service")["ExecStart"]
    words = []
    for word in line.split():
        if named := re.fullmatch(r"\$\{(\w+)\}", word):
            words.append(values[named[1]])
        elif named := re.fullmatch(r"\$(\w+)", word):
            words += shlex.split(values[named[1]])
        else:
            words.append(word)
    program, name, *arguments = words
    assert (program, name) == (PROGRAM, job)
    context = COMMANDS[name].make_context(name, arguments)
    assert context.params["tables"] == values["TABLES"]
    if job == "verify":
        assert context.params["catalog"] is None, "music that arrived since the night would be a finding"


def test_only_what_may_pass_is_repeated() -> None:
    """compact is left out for a week because of a long night; or a wrong option is tried for ever."""
    codes = {job: _settings(f"earmark-{job}.service").get("RestartForceExitStatus") for job in JOBS}
    held = str(LeaseHeldError.exit_code)
    assert codes == {"run": held, "compact": held, "vacuum": held, "verify": f"{UNCHECKED} {held}"}
    for job in JOBS:
        unit = _settings(f"earmark-{job}.service")
        limits = [unit[f"StartLimit{name}"] for name in ("IntervalSec", "Burst")]
        assert (*limits, unit["RestartSec"]) == ("1d", "48", "10min"), "8 hours, at most once a day"


def test_no_other_user_reaches_a_run() -> None:
    """Somebody puts sockets of their own into the folder of Ray, and runs code as the user `earmark`."""
    assert _settings("earmark-run.service")["PrivateTmp"] == "true"


def test_a_failed_unit_is_reported(tmp_path: Path) -> None:
    """compact has failed for months, and nobody reads the journal."""
    assert _settings("earmark-failed@.service")["ExecStart"] == f"{REPORTER} %i"
    command = [str(UNITS / Path(REPORTER).name), "earmark-compact"]
    assert "%N" in _settings("earmark-compact.service")["OnFailure"]
    with webhook() as hook:
        environment = {"PATH": "/usr/bin:/bin", "EARMARK_NOTIFY": hook.url}
        subprocess.run(command, env=environment, check=True, timeout=60)
    assert [each["text"].partition(" on ")[0] for each in hook.posted] == ["earmark-compact failed"]
    subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, check=True, timeout=60)
