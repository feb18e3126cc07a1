"""How far a run is, in lines where no terminal shows a bar."""

import io
import time

import pytest

from jobs.console.output import PlainConsole
from jobs.console.progress import Meter


def test_the_time_left_is_told_when_there_is_something_to_tell_it_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three broken files while the model loads promised a night of hours; who reads it stops the run."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = io.StringIO()
    meter = Meter("labeling", 1000, "tracks", PlainConsole(file=lines, width=200))
    now[0] = 60.0
    meter.show(3, "3 failed", under_way=False)
    now[0] = 120.0
    meter.show(600, "3 failed")
    assert lines.getvalue().splitlines() == [
        "labeling: 3 of 1,000 · 3 failed",
        "labeling: 600 of 1,000 · 3 failed · 5.0 tracks/s · 1 min 20 s left",
    ]
