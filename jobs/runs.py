"""Run reports: naming runs, and reading and writing ``_runs/``."""

import secrets
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pydantic import ValidationError

from pipeline import storage
from pipeline.tables import Tables
from schemas.errors import EarmarkError
from schemas.report import RunReport

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


def read_reports(tables: Tables, *, last: int | None = None) -> list[RunReport]:
    """The reports of all runs, or of the last ones, oldest first.

    Raises
    ------
    EarmarkError
        If a report cannot be read.
    """
    folder = storage.join(tables.root, "_runs")
    with storage.explained(folder, "read the run reports in"):
        names = [name for name in storage.names(folder) if name.endswith(".json")]
        reports = []
        for name in names[-last:] if last else names:
            data = storage.read_bytes(storage.join(folder, name))
            try:
                reports.append(RunReport.model_validate_json(data))
            except ValidationError as error:
                raise EarmarkError(
                    f"{folder}/{name} is no run report of this version of Earmark; move it away"
                ) from error
    return reports


def versions() -> dict[str, str]:
    """Versions of the packages that make the numbers."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
