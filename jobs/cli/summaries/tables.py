"""What status and failures print about the tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.console.output import console, print_table
from schemas.report import RunReport

if TYPE_CHECKING:
    from jobs.read_tables import Status


def print_failures(rows: pa.Table) -> None:
    """Print failures, one track per line."""
    if not rows.num_rows:
        console.print("no failures")
        return
    print_table(
        ("stage", "error", "attempts", "message"),
        (
            (row["stage"], row["error_type"], row["attempts"], row["message"])
            for row in rows.select(["stage", "error_type", "attempts", "message"]).to_pylist()
        ),
    )


def print_status(status: "Status") -> None:
    """Print the summary of the tables."""
    console.print(f"catalog: {status.catalog}")
    console.print(f"tracks: {status.n_tracks:,}")
    if status.models:
        console.print()
        rows = [
            (state.model, f"{state.labeled:,}", f"{state.failed:,}", f"{state.left:,}", f"{state.embedded:,}")
            for state in status.models
        ]
        heads = ("model", "labeled", "failed", "remaining", "embedded")
        shown = len(heads) if any(state.embedded for state in status.models) else len(heads) - 1
        print_table(heads[:shown], (row[:shown] for row in rows))
    if status.failures:
        console.print()
        print_table(("failure", "tracks"), ((kind, f"{n:,}") for kind, n in status.failures.items()))
    console.print()
    print_runs(status.runs)


def print_runs(runs: Sequence[RunReport]) -> None:
    """Print how runs ended, one run per line, with what one embedded, left undone, or failed for."""
    outcomes = [run.outcome if run.outcome != "running" else "running or killed" for run in runs]
    counts = [run.counts for run in runs]
    columns: dict[str, list[str]] = {
        "run": [run.run for run in runs],
        "command": [run.command for run in runs],
        "outcome": outcomes,
        "featurized": [f"{run.n_featurized:,}" for run in runs],
        "labeled": [f"{run.n_labeled:,}" for run in runs],
        "embedded": [f"{each.embedded:,}" for each in counts],
        "failed": [f"{each.failed:,}" for each in counts],
        "left": [f"{each.left:,}" for each in counts],
        "seconds": [f"{run.wall_s:,.1f}" for run in runs],
        "error": [run.error or run.publication_error or "" for run in runs],
    }
    optional = {
        "featurized": any(run.command == "featurize" for run in runs),
        "embedded": any(each.embedded for each in counts),
        "left": any(each.left for each in counts),
        "error": any(columns["error"]),
    }
    heads = [head for head in columns if optional.get(head, True)]
    print_table(heads, zip(*(columns[head] for head in heads), strict=True))
