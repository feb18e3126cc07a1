"""Run reports: naming runs, and writing ``_runs/``; `pipeline.tables.run_reports` reads them."""

import secrets
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.run_reports import read_reports
from pipeline.tables.tables import Tables, readable
from schemas.report import FailureExample, RunReport

__all__ = ["failures_of", "new_run", "read_reports", "versions", "write_report"]

_EXAMPLES = 3
"""Tracks that a report names for each kind of failure."""

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


def failures_of(tables: Tables, run: str) -> tuple[dict[str, int], dict[str, tuple[FailureExample, ...]]]:
    """How many tracks a run failed on by error type, the most frequent first, and some of each type.

    Parameters
    ----------
    tables : Tables
        The tables.
    run : str
        The run.

    Raises
    ------
    EarmarkError
        If the store refuses, or a part is damaged.
    """
    dataset = tables.dataset("failures")
    counts: Counter[str] = Counter()
    examples: dict[str, list[FailureExample]] = {}
    if dataset is None:
        return {}, {}
    with readable(tables, "failures"):
        columns = ["error_type", "uri", "message"]
        for batch in dataset.to_batches(columns=columns, filter=pc.field("run") == run):
            for pair in batch["error_type"].value_counts():
                kind = str(pair["values"])
                counts[kind] += pair["counts"].as_py()
                some = examples.setdefault(kind, [])
                rows = batch.filter(pc.equal(batch["error_type"], kind)).slice(0, _EXAMPLES - len(some))
                some.extend(
                    FailureExample(uri=row["uri"], message=row["message"]) for row in rows.to_pylist()
                )
    return dict(counts.most_common()), {kind: tuple(examples[kind]) for kind, _ in counts.most_common()}
