"""What a run shows to Prometheus; that Ray exports it is tested in e2e/test_cluster.py."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.engine import lease as leases
from jobs.engine import metrics
from jobs.engine.assignment import Totals
from jobs.engine.metrics import METRICS, STATES, RunGauges, error_types, tracks_by_state
from pipeline.tables.runs import last_success, write_report
from pipeline.tables.tables import Tables
from schemas.report import Counts, RunOutcome, RunReport

START = datetime(2026, 1, 1, tzinfo=UTC)


def report(command: str = "run", outcome: RunOutcome = "done", night: int = 1) -> RunReport:
    return RunReport.model_validate(
        {
            "run": f"202601{night:02}T000000-abcd",
            "command": command,
            "catalog": "/music",
            "outcome": outcome,
            "started_at": START,
            "finished_at": None if outcome == "running" else START + timedelta(days=night),
            "counts": Counts(listed=100, labeled_before=60, failed_before=10, left=30),
            "feature_set": "set",
        }
    )


@pytest.mark.parametrize("command", ["run", "featurize"])
def test_the_states_of_all_tracks_add_up(command: str) -> None:
    """An operator sees a run of 100 tracks of which 130 are done, or that never ends."""
    totals = Totals(featurized=12, labeled=5, embedded=2, failed=3)
    states = tracks_by_state(report(command), totals)
    assert tuple(states) == STATES
    assert states["done"] == (12 if command == "featurize" else 7)
    assert states["listed"] == sum(n for state, n in states.items() if state != "listed")


def test_every_error_of_a_track_is_shown_from_the_start() -> None:
    """A dashboard has no line for the error of this night until it happened twice."""
    assert {"DecodeError", "LabelError", "LabelerCrashedError"} <= set(error_types())
    assert max(Counter(error_types()).values()) == 1


def test_the_last_success_is_found_behind_failures(tmp_path: Path) -> None:
    """The alert fires after each night that failed, or never."""
    tables = Tables(str(tmp_path))
    assert last_success(tables) == 0.0
    outcomes: tuple[RunOutcome, ...] = ("done", "done", "failed", "interrupted", "running")
    for night, outcome in enumerate(outcomes, start=1):
        write_report(tables, report(outcome=outcome, night=night))
    assert last_success(tables) == (START + timedelta(days=2)).timestamp()
    (tmp_path / "_runs" / "20260109T000000-abcd.json").write_text("{")
    assert last_success(tables) == 0.0, "a damaged report must not end a run"


def test_the_age_of_the_lease_begins_anew_with_each_renewal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert for a lease that is not renewed fires in every run of some length, or in none."""
    monkeypatch.setattr(leases, "RENEW_S", 0.05)
    with leases.hold_for_workers(str(tmp_path / "tables"), "run", say=print) as held:
        before = held.age_s
        while held.age_s >= before:
            before = held.age_s
            time.sleep(0.01)
        assert before > 0


def test_every_kind_is_shown_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard has no line for actors without work, or for the requests that a store charges for."""
    shown: dict[tuple[str, str], float] = {}

    class Gauge:
        def __init__(self, metric: metrics.Metric) -> None:
            self.name = metric.name

        def set(self, value: float, labels: dict[str, str] | None = None) -> None:
            shown[self.name, ",".join((labels or {}).values())] = value

    monkeypatch.setattr(metrics, "_gauge", Gauge)
    totals = Totals(
        requests=Counter(GET=7), store_bytes=Counter(received=1 << 20), actors_by_state=Counter(busy=2)
    )
    running = report(outcome="running")
    with RunGauges(running, Tables(str(tmp_path)), totals, lambda: 0.0):
        actors = {key[1]: n for key, n in shown.items() if key[0] == "earmark_run_actors"}
        requests = {key[1]: n for key, n in shown.items() if key[0] == "earmark_run_requests"}
    assert actors == {"starting": 0, "idle": 0, "busy": 2}
    assert requests == {"GET": 7, "LIST": 0, "HEAD": 0, "PUT": 0, "DELETE": 0}
    n_bytes = {key[1]: n for key, n in shown.items() if key[0] == "earmark_run_store_bytes"}
    assert n_bytes == {"received": 1 << 20, "sent": 0}


def test_no_gauge_is_forgotten_while_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray drops what was not set for 20 s: a run is then no run to the alerts, and one that is stuck has no
    last progress, so that EarmarkStuck, EarmarkMemory and EarmarkTwoRuns never fire, and EarmarkNotStarted
    wakes somebody in each long night."""
    shown: dict[str, float] = {}
    has_all = threading.Event()
    gauges_of_a_run = {metric.name for metric in METRICS if metric.kind == "gauge"}

    class Gauge:
        def __init__(self, metric: metrics.Metric) -> None:
            self.name = metric.name

        def set(self, value: float, _labels: object = None) -> None:
            shown[self.name] = value
            if set(shown) == gauges_of_a_run:
                has_all.set()

    monkeypatch.setattr(metrics, "_gauge", Gauge)
    monkeypatch.setattr(metrics, "_SHOW_EVERY_S", 0.01)
    write_report(Tables(str(tmp_path)), report())
    ages = iter(range(1_000_000))
    running = report(outcome="running", night=2)
    with RunGauges(running, Tables(str(tmp_path)), Totals(), lambda: next(ages)) as gauges:
        before = dict(shown)
        has_all.clear()
        shown.clear()
        assert has_all.wait(10), "the main thread is stuck here"
        again = dict(shown)
        gauges.record_success()
    assert again.pop("earmark_lease_age_seconds") > before.pop("earmark_lease_age_seconds")
    assert again == before
    assert shown["earmark_last_success_timestamp_seconds"] == pytest.approx(time.time(), abs=60)
