"""Accounting at the end of a run: what it wrote is counted in the tables themselves."""

import time
from dataclasses import dataclass

import pyarrow.compute as pc

from jobs.engine.assignment import Totals
from pipeline.tables.runs import summarize_failures
from pipeline.tables.tables import Tables
from schemas.report import FailureExample, RunReport, SlowTrack

_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further count, where the tables show less than the workers say that they wrote."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What the tables hold of a run: tracks done and failed, and whether each of them is there once."""

    done: int
    failed: int
    once: bool
    failures: dict[str, int]
    examples: dict[str, tuple[FailureExample, ...]]


def accounted(tables: Tables, report: RunReport, totals: Totals) -> RunReport:
    """The report with what the run wrote.

    A store, or a disk that is mounted over a network, may list a part a moment after it was written only:
    as long as there is less than the workers say, it is counted again, for a quarter of a minute.

    Parameters
    ----------
    tables : Tables
        The tables.
    report : RunReport
        The report as the run began.
    totals : Totals
        What the workers say.

    Raises
    ------
    EarmarkError
        If the tables cannot be read.
    """
    written = _written(tables, report)
    for pause_s in _PAUSES_S:
        if _shows_all(written, report, totals):
            break
        time.sleep(pause_s)
        written = _written(tables, report)
    todo = report.counts.listed - report.counts.labeled_before - report.counts.failed_before
    counts = report.counts.model_copy(
        update={
            "featurized": totals.featurized,
            "labeled": written.done,
            "failed": written.failed,
            "left": todo - written.done - written.failed,
        }
    )
    return report.model_copy(
        update={
            "counts": counts,
            "balanced": counts.balanced and written.once,
            "audio_s": round(totals.audio_s, 1),
            "seconds": {stage: round(seconds, 3) for stage, seconds in sorted(totals.seconds.items())},
            "genres": dict(totals.genres.most_common()),
            "rejected": totals.rejected,
            "failures": written.failures,
            "failure_examples": written.examples,
            "timeline": totals.timeline.timeline(),
            "slowest": tuple(SlowTrack(uri=uri, seconds=round(s, 3)) for s, uri in totals.slowest),
            "cluster": {"cpus": totals.cpus, "gpus": totals.gpus, "actors": totals.actors},
        }
    )


def _shows_all(written: _Written, report: RunReport, totals: Totals) -> bool:
    done = totals.featurized if report.command == "featurize" else totals.labeled
    failed = min(written.failed, sum(written.failures.values()))
    return written.done >= done and failed >= totals.failed


def _written(tables: Tables, report: RunReport) -> _Written:
    done, done_unique = _count(tables, "features" if report.command == "featurize" else "labels", report)
    failed, failed_unique = _count(tables, "failures", report)
    failures, examples = summarize_failures(tables, report.run)
    return _Written(done, failed, (done, failed) == (done_unique, failed_unique), failures, examples)


def _count(tables: Tables, table: str, report: RunReport) -> tuple[int, int]:
    """Rows that the run wrote, and tracks among them: of features, the first segments count."""
    where = pc.field("run") == report.run
    if table == "features":
        where &= pc.field("segment") == 0
    ids = tables.read(table, ["track_id"], where)["track_id"]
    return len(ids), len(ids.unique())
