"""Names of runs, and their reports in ``_runs/``: summarized, written and read."""

import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError
from schemas.features import FeatureSpec
from schemas.report import FailureExample, RunReport

log = get_logger(__name__)

RUNS = "_runs"
"""Folder of the reports, pages, plans and logs, below the tables."""

_LATEST = 10
"""Reports to look at for the last success; not all, of which there may be thousands."""
_EXAMPLES = 3
"""Tracks named in a report for each type of failure."""


def new_run_name(started_at: datetime | None = None) -> str:
    """Return a name for a run. Names sort by time and differ even for runs that start in the same second.

    Parameters
    ----------
    started_at : datetime, optional
        When the run begins; now by default.
    """
    return f"{started_at or datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def time_after_last_run(tables: Tables) -> datetime:
    """Return the time, or a later one if the last run claims to have begun after it.

    Rows and runs are ordered by time. If a clock was once wrong, what later runs find would otherwise count
    as older than what that run found.

    Raises
    ------
    EarmarkError
        If the last report cannot be read.
    """
    now = datetime.now(UTC)
    for last in read_reports(tables, last=1):
        if now < last.started_at:
            log.warning(
                "this clock is behind that of the last run, so this run is recorded as after it; check both",
                clock=f"{now:%Y-%m-%d %H:%M:%S} UTC",
                last_run=last.run,
            )
        return max(now, last.started_at + timedelta(seconds=1))
    return now


def run_date_of(started_at: datetime) -> str:
    """Return the partition ``run_date`` of a run's labels: the day it began, by UTC."""
    return f"{started_at.astimezone(UTC):%Y-%m-%d}"


def runs_folder(tables: Tables) -> str:
    """Return the location of the reports, pages, plans and logs of the runs."""
    return storage.join(tables.root, RUNS)


def report_location(tables: Tables, run: str) -> str:
    """Return the location of a run's report."""
    return storage.join(runs_folder(tables), f"{run}.json")


def plan_location(tables: Tables, run: str) -> str:
    """Return the location of a run's plan: the tracks that it is to process."""
    return storage.join(runs_folder(tables), f"{run}.plan.parquet")


def log_location(tables: Tables, run: str) -> str:
    """Return the location of a run's log, in JSON lines."""
    return storage.join(runs_folder(tables), f"{run}.log.jsonl")


def write_report(tables: Tables, report: RunReport) -> None:
    """Write a report.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    location = report_location(tables, report.run)
    with storage.explain_errors(location, "write the run report"):
        storage.write_bytes(location, report.model_dump_json(indent=2).encode())


@dataclass(frozen=True, slots=True)
class FailureSummary:
    """The tracks that a run failed on, counted by error type, with examples of each.

    Attributes
    ----------
    counts : collections.Counter
        Tracks by error type.
    examples : dict
        The first few tracks of each type.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[FailureExample, ...]] = field(default_factory=dict)

    def add(self, rows: pa.Table) -> None:
        """Add rows with ``error_type``, ``uri`` and ``message``."""
        for pair in rows["error_type"].value_counts():
            kind = str(pair["values"])
            self.counts[kind] += pair["counts"].as_py()
            some = self.examples.get(kind, ())
            more = rows.filter(pc.equal(rows["error_type"], kind)).slice(0, _EXAMPLES - len(some))
            self.examples[kind] = some + tuple(
                FailureExample(uri=row["uri"], message=row["message"])
                for row in more.select(["uri", "message"]).to_pylist()
            )


def last_success(tables: Tables) -> float:
    """Return when the last of the latest runs that was done ended, in seconds since 1970.

    Returns
    -------
    float
        0 if none was, or the reports cannot be read.
    """
    try:
        for name in reversed(_report_names(tables)[-_LATEST:]):
            report = _read_report(tables, name)
            if report.outcome == "done" and report.finished_at is not None:
                return report.finished_at.timestamp()
    except EarmarkError as error:
        log.warning("last success unknown", error=error)
    return 0.0


def read_reports(tables: Tables, *, last: int | None = None) -> list[RunReport]:
    """Read the reports of all runs, or of the `last` ones, oldest first.

    Raises
    ------
    EarmarkError
        If a report cannot be read.
    """
    names = _report_names(tables)
    return [_read_report(tables, name) for name in (names[-last:] if last else names)]


def has_run(tables: Tables, run: str) -> bool:
    """Whether the tables have the report of a run, whose name no other tables' runs have."""
    return f"{run}.json" in _report_names(tables)


def last_catalog(tables: Tables) -> str:
    """Return the catalog of the last run, which there must be.

    Raises
    ------
    EarmarkError
        If its report cannot be read.
    """
    return read_reports(tables, last=1)[0].catalog


def computed_specs(tables: Tables) -> list[FeatureSpec]:
    """Return what each run computed, oldest first, but for runs of a newer Earmark.

    Raises
    ------
    EarmarkError
        If a report cannot be read.
    """
    return [report.spec for report in read_reports(tables) if report.spec is not None]


def _report_names(tables: Tables) -> list[str]:
    folder = runs_folder(tables)
    with storage.explain_errors(folder, "read the run reports in"):
        return [name for name in storage.list_names(folder) if name.endswith(".json")]


def _read_report(tables: Tables, name: str) -> RunReport:
    folder = runs_folder(tables)
    with storage.explain_errors(folder, "read the run reports in"):
        try:
            return read_and_parse(storage.join(folder, name), RunReport.model_validate_json)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise EarmarkError(
                f"{folder}/{name} is not a valid run report ({where}: {first['msg']}); upgrade Earmark "
                "if a newer version wrote it, otherwise move it out of the folder"
            ) from error
