"""Naming runs and writing their reports to ``_runs/``; `pipeline.tables.run_reports` reads them."""

import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.run_reports import read_reports
from pipeline.tables.tables import Tables
from schemas.report import FailureExample, RunReport

__all__ = [
    "FailureSummary",
    "log_location",
    "new_run_name",
    "package_versions",
    "read_reports",
    "run_date_of",
    "write_report",
]

_EXAMPLES = 3
"""Tracks named in a report for each type of failure."""

_PACKAGES = (
    "earmark",
    "ray",
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "av",
    "pyarrow",
)


def new_run_name(now: datetime) -> str:
    """Return a name for a run. Names sort by time and differ even for runs that start in the same second."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def run_date_of(started_at: datetime) -> str:
    """Return the partition ``run_date`` of a run's labels: the day it began, by UTC."""
    return f"{started_at.astimezone(UTC):%Y-%m-%d}"


def write_report(tables: Tables, report: RunReport) -> str:
    """Write a report and return its location."""
    location = storage.join(tables.root, "_runs", f"{report.run}.json")
    with storage.explain_errors(location, "write the run report"):
        storage.write_bytes(location, report.model_dump_json(indent=2).encode())
    return location


def log_location(tables: Tables, run: str) -> str:
    """Return the location of a run's log, in JSON lines."""
    return storage.join(tables.root, "_runs", f"{run}.log.jsonl")


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that determine the results."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


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
