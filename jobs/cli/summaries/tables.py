"""What status and failures print about the tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.console.messages import printable
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
    console.print(f"catalog: {printable(status.catalog)}")
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
    """Print how runs ended, one run per line; how many tracks they only embedded, if one did."""
    embedded = any(run.counts.embedded for run in runs)
    print_table(
        ("run", "command", "outcome", "labeled", *(["embedded"] if embedded else ()), "failed", "seconds"),
        (
            (
                run.run,
                run.command,
                run.outcome if run.outcome != "running" else "running or killed",
                f"{run.counts.labeled:,}",
                *([f"{run.counts.embedded:,}"] if embedded else ()),
                f"{run.counts.failed:,}",
                f"{run.wall_s:,.1f}",
            )
            for run in runs
        ),
    )
