"""Accounting at the end of a run: count the tracks in the parts that the run wrote, and in no others."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.engine.assignment import Totals
from pipeline.tables.parts import list_parts, read_columns
from pipeline.tables.runs import FailureSummary, run_date_of
from pipeline.tables.tables import Tables
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
            # As many tracks by name: the order in which parts are labeled differs from run to run.
            "genres": dict(sorted(totals.genres.items(), key=lambda each: (-each[1], each[0]))),
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
    return written.done >= done and written.embedded >= totals.embedded and written.failed >= totals.failed


def _count_written(tables: Tables, report: RunReport) -> _Written:
    done = (
        _read_ids_of_segments(tables, "features", report, feature_set=report.feature_set)
        if report.command == "featurize"
        else _read_labeled(tables, report)
    )
    failed, failures = _read_failed(tables, report)
    written = [done, failed]
    n_embedded = 0
    if report.writes_embeddings:
        embedded = _read_ids_of_segments(tables, "embeddings", report, model=str(report.model))
        n_embedded = pc.sum(pc.invert(pc.is_in(embedded, done))).as_py() or 0
        written.append(embedded)
    return _Written(
        done=len(done),
        embedded=n_embedded,
        failed=len(failed),
        once=all(len(ids) == len(ids.unique()) for ids in written),
        failures=dict(failures.counts.most_common()),
        examples={kind: failures.examples[kind] for kind, _ in failures.counts.most_common()},
    )


def _read_labeled(tables: Tables, report: RunReport) -> pa.ChunkedArray:
    """Return the ids of the tracks that the run labeled."""
    partition = {"model": str(report.model), "run_date": run_date_of(report.started_at)}
    parts = list_parts(tables, "labels", prefix=f"{report.run}-", **partition)
    return _join(rows["track_id"] for rows in read_columns(tables, "labels", parts, ["track_id"]))


def _read_failed(tables: Tables, report: RunReport) -> tuple[pa.ChunkedArray, FailureSummary]:
    """Return the ids of the tracks that the run failed on, and a summary of their failures."""
    parts = list_parts(tables, "failures", run=report.run)
    summary = FailureSummary()
    ids = []
    for rows in read_columns(tables, "failures", parts, ["track_id", "error_type", "uri", "message"]):
        summary.add(rows)
        ids.append(rows["track_id"])
    return _join(ids), summary


def _read_ids_of_segments(
    tables: Tables, table: str, report: RunReport, **partitions: str
) -> pa.ChunkedArray:
    """Return the ids of the tracks for which the run wrote segments, which the first ones tell."""
    parts = list_parts(tables, table, run=report.run, **partitions)
    found = read_columns(tables, table, parts, ["track_id", "segment"])
    return _join(rows.filter(pc.equal(rows["segment"], 0))["track_id"] for rows in found)


def _join(columns: Iterable[pa.ChunkedArray]) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
