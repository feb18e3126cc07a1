"""Accounting at the end of a run: count in the tables what the run wrote."""

import time
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.engine.assignment import Totals
from pipeline.tables.runs import summarize_failures
from pipeline.tables.tables import Tables, anti_join
from schemas.report import FailureExample, RunReport, SlowTrack

_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses before counting again, while the tables list less than the workers report."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What the tables hold of a run: tracks done, only embedded, and failed, and whether each occurs once."""

    done: int
    embedded: int
    failed: int
    once: bool
    failures: dict[str, int]
    examples: dict[str, tuple[FailureExample, ...]]


def account_for(tables: Tables, report: RunReport, totals: Totals) -> RunReport:
    """Count what a run wrote and return its completed report.

    A store or a network disk may list a part only some time after it was written. If the tables hold less
    than the workers report, count again for up to 15.5 seconds.

    Parameters
    ----------
    tables : Tables
        The tables.
    report : RunReport
        The report from the start of the run.
    totals : Totals
        What the workers report.

    Raises
    ------
    EarmarkError
        If the tables cannot be read.
    """
    written = _count_written(tables, report)
    for pause_s in _PAUSES_S:
        if _shows_all(written, report, totals):
            break
        time.sleep(pause_s)
        written = _count_written(tables, report)
    todo = report.counts.listed - report.counts.labeled_before - report.counts.failed_before
    counts = report.counts.model_copy(
        update={
            "featurized": totals.featurized,
            "labeled": written.done,
            "embedded": written.embedded,
            "failed": written.failed,
            "left": todo - written.done - written.embedded - written.failed,
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
    return written.done >= done and written.embedded >= totals.embedded and failed >= totals.failed


def _count_written(tables: Tables, report: RunReport) -> _Written:
    done = _read_ids(tables, "features" if report.command == "featurize" else "labels", report)
    failed = _read_ids(tables, "failures", report)
    once = all(ids.num_rows == len(ids["track_id"].unique()) for ids in (done, failed))
    n_embedded = 0
    if report.writes_embeddings:
        embedded = _read_ids(tables, "embeddings", report)
        n_embedded = anti_join(embedded, done, ("track_id",)).num_rows
        once &= embedded.num_rows == len(embedded["track_id"].unique())
    failures, examples = summarize_failures(tables, report.run)
    return _Written(done.num_rows, n_embedded, failed.num_rows, once, failures, examples)


def _read_ids(tables: Tables, table: str, report: RunReport) -> pa.Table:
    """Return the ids of the tracks for which the run wrote rows; those of segments count by the first."""
    where = pc.field("run") == report.run
    if table in ("features", "embeddings"):
        where &= pc.field("segment") == 0
    return tables.read(table, ["track_id"], where)
