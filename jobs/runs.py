"""Run reports: naming runs, and writing ``_runs/``; `pipeline.run_reports` reads them."""

import secrets
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pipeline import storage
from pipeline.run_reports import read_reports
from pipeline.tables import Tables
from schemas.report import RunReport

__all__ = ["new_run", "read_reports", "versions", "write_report"]

_PACKAGES = (
    "earmark",
    "ray",
    "tensorflow",
    "keras",
    "librosa",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "av",
    "pyarrow",
)


def new_run(now: datetime) -> str:
    """A name for a run: names sort by time, and two runs that begin in the same second differ."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def write_report(tables: Tables, report: RunReport) -> str:
    """Write the report and give its location."""
    location = storage.join(tables.root, "_runs", f"{report.run}.json")
    with storage.explained(location, "write the run report"):
        storage.write_bytes(location, report.model_dump_json(indent=2).encode())
    return location


def versions() -> dict[str, str]:
    """Versions of the packages that make the numbers."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
