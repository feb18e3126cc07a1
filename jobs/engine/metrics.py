"""Metrics of a run, which Ray exports to Prometheus as ``ray_earmark_…``."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from jobs.engine.assignment import ACTOR_STATES, Totals
from pipeline.redaction import redact
from pipeline.storage.requests import KINDS, RECEIVED, SENT
from pipeline.tables.runs import last_success
from pipeline.tables.tables import Tables
from schemas.errors import TrackError
from schemas.report import RunReport

if TYPE_CHECKING:
    from ray.util.metrics import Counter, Gauge


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes
    ----------
    name : str
        Its name, to which Ray adds a prefix.
    kind : str
        A counter keeps its value after the run, while the cluster lives; a gauge is forgotten with the run.
    description : str
        What it counts.
    labels : tuple of str
        Its labels, besides those that Ray adds.
    """

    name: str
    kind: Literal["counter", "gauge"]
    description: str
    labels: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name under which Prometheus finds it."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


TRACKS = Metric("earmark_tracks", "counter", "Tracks finished, by outcome.", ("outcome",))
STAGE_SECONDS = Metric(
    "earmark_stage_seconds", "counter", "Seconds spent by all workers, by stage.", ("stage",)
)
RUN_INFO = Metric(
    "earmark_run_info", "gauge", "1 during a run.", ("run", "command", "model", "tables", "version")
)
RUN_TRACKS = Metric("earmark_run_tracks", "gauge", "Tracks of the catalog, by their state.", ("state",))
RUN_FAILED = Metric("earmark_run_failed", "gauge", "Tracks that failed in this run.", ("error_type",))
RUN_QUEUE = Metric("earmark_run_queue", "gauge", "Shards to decode and parts to label.", ("work",))
RUN_ACTORS = Metric(
    "earmark_run_actors", "gauge", "Actors that run the model, by what they are at.", ("state",)
)
RUN_REQUESTS = Metric(
    "earmark_run_requests", "gauge", "Requests of workers and actors to the store so far, by kind.", ("kind",)
)
RUN_STORE_BYTES = Metric(
    "earmark_run_store_bytes",
    "gauge",
    "Bytes that workers and actors have received from the store and sent to it so far.",
    ("direction",),
)
RUN_PROGRESS = Metric(
    "earmark_run_progress_timestamp_seconds", "gauge", "When a track was last finished, or the run began."
)
LEASE_AGE = Metric("earmark_lease_age_seconds", "gauge", "Seconds since the lease was last renewed.")
LAST_SUCCESS = Metric(
    "earmark_last_success_timestamp_seconds", "gauge", "When a run last did all its work; 0: never."
)
METRICS = (
    *(TRACKS, STAGE_SECONDS, RUN_INFO, RUN_TRACKS, RUN_FAILED, RUN_QUEUE, RUN_ACTORS, RUN_REQUESTS),
    *(RUN_STORE_BYTES, RUN_PROGRESS, LEASE_AGE, LAST_SUCCESS),
)
_SHOW_EVERY_S = 1.0
STATES = ("listed", "done_before", "failed_before", "done", "failed", "left")


def error_types() -> tuple[str, ...]:
    """Return the names of all errors of tracks."""
    kinds: list[type[TrackError]] = TrackError.__subclasses__()
    for kind in kinds:
        kinds += kind.__subclasses__()
    return tuple(sorted(kind.__name__ for kind in kinds))


class Counters:
    """Counters that add up over all runs of a cluster. Ray shows them from their first increment on."""

    def __init__(self) -> None:
        self._tracks = _counter(TRACKS)
        self._seconds = _counter(STAGE_SECONDS)

    def add(self, tracks: Mapping[str, int], seconds: Mapping[str, float]) -> None:
        """Count tracks by outcome and seconds by stage."""
        for outcome, n in tracks.items():
            if n:
                self._tracks.inc(n, {"outcome": outcome})
        for stage, spent in seconds.items():
            if spent > 0:
                self._seconds.inc(spent, {"stage": stage})


class RunGauges:
    """Gauges of one run, shown from its start to the end of a ``with`` block, also when they are zero.

    Ray forgets a gauge that was not set for some 20 s. A thread sets all of them every second, so that a run
    whose main thread is stuck still shows, with its last progress.

    Parameters
    ----------
    report : RunReport
        The report from the start of the run.
    tables : Tables
        The tables, with the reports of earlier runs.
    totals : Totals
        The running totals.
    lease_age_s : callable
        Returns the seconds since the lease was renewed.
    """

    def __init__(
        self, report: RunReport, tables: Tables, totals: Totals, lease_age_s: Callable[[], float]
    ) -> None:
        self._report = report
        self._totals = totals
        self._lease_age_s = lease_age_s
        self._tracks = _gauge(RUN_TRACKS)
        self._failed = _gauge(RUN_FAILED)
        self._queue = _gauge(RUN_QUEUE)
        self._actors = _gauge(RUN_ACTORS)
        self._requests = _gauge(RUN_REQUESTS)
        self._store_bytes = _gauge(RUN_STORE_BYTES)
        self._progress = _gauge(RUN_PROGRESS)
        self._lease_age = _gauge(LEASE_AGE)
        self._last_success = _gauge(LAST_SUCCESS)
        self._n_finished = -1
        self._info = _gauge(RUN_INFO)
        self._labels = {
            "run": report.run,
            "command": report.command,
            "model": report.model or "",
            "tables": redact(tables.root),
            "version": report.versions.get("earmark", ""),
        }
        self._succeeded_at = last_success(tables)
        self._progressed_at = 0.0
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_showing, daemon=True, name="gauges")

    def __enter__(self) -> Self:
        self._show()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._has_ended.set()
        self._thread.join()
        self._show()

    def record_success(self) -> None:
        """Note that the run has done all its work, and that every track is accounted for."""
        self._succeeded_at = time.time()

    def _keep_showing(self) -> None:
        while not self._has_ended.wait(_SHOW_EVERY_S):
            self._show()

    def _show(self) -> None:
        totals = self._totals
        self._info.set(1.0, self._labels)
        self._last_success.set(self._succeeded_at)
        states = tracks_by_state(self._report, totals)
        for state, n in states.items():
            self._tracks.set(n, {"state": state})
        for error_type in (*error_types(), *totals.failures):
            self._failed.set(totals.failures[error_type], {"error_type": error_type})
        for work, n in (("shards", totals.shards_left), ("parts", totals.parts_left)):
            self._queue.set(n, {"work": work})
        for state in ACTOR_STATES:
            self._actors.set(totals.actors_by_state[state], {"state": state})
        for kind in KINDS:
            self._requests.set(totals.requests[kind], {"kind": kind})
        for direction in (RECEIVED, SENT):
            self._store_bytes.set(totals.store_bytes[direction], {"direction": direction})
        self._lease_age.set(self._lease_age_s())
        n_finished = states["done"] + states["failed"] + totals.featurized
        if n_finished != self._n_finished:
            self._n_finished = n_finished
            self._progressed_at = time.time()
        self._progress.set(self._progressed_at)


def tracks_by_state(report: RunReport, totals: Totals) -> dict[str, int]:
    """Return the tracks of the catalog by their state: `STATES`."""
    counts = report.counts
    done = totals.featurized if report.command == "featurize" else totals.labeled + totals.embedded
    return {
        "listed": counts.listed,
        "done_before": counts.labeled_before,
        "failed_before": counts.failed_before,
        "done": done,
        "failed": totals.failed,
        "left": counts.left - done - totals.failed,
    }


def _counter(metric: Metric) -> "Counter":
    from ray.util.metrics import Counter

    return Counter(metric.name, metric.description, metric.labels)


def _gauge(metric: Metric) -> "Gauge":
    from ray.util.metrics import Gauge

    return Gauge(metric.name, metric.description, metric.labels)
