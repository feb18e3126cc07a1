"""Checks that each key occurs once, and that tables and reports agree."""

from collections.abc import Sequence

import pyarrow as pa

from pipeline.tables.maintenance.verify.findings import Finding, report_names
from pipeline.tables.maintenance.verify.rows import Rows
from pipeline.tables.tables import VERSION_KEY
from schemas.report import RunReport
from schemas.tables import TIMESTAMP

# What identifies a row. A later run may fail on the same track again, several feature sets and models may
# coexist, and a killed run leaves segment labels without a label, which a later run writes again. Nothing
# else may occur twice.
_ROW_KEYS = {
    "tracks": ("run", "track_id"),
    "features": ("feature_set", *VERSION_KEY, "segment"),
    "labels": ("model", *VERSION_KEY),
    "segment_labels": ("model", "run", *VERSION_KEY, "segment"),
    "embeddings": ("model", *VERSION_KEY, "segment"),
    "failures": ("run", *VERSION_KEY),
}

# Counting hashes takes a fraction of the memory of counting keys; few rows share one by chance.
_DUPLICATES = """\
WITH repeated AS (
    SELECT hash({key}) AS code FROM {table} GROUP BY code HAVING count(*) > 1
)
SELECT {key}
FROM {table}
WHERE hash({key}) IN (SELECT code FROM repeated)
GROUP BY {key}
HAVING count(*) > 1
"""

_LABELED_AND_FAILED = """\
SELECT run, track_id, etag FROM labels SEMI JOIN failures USING (run, track_id, etag)
"""

_FAILED_AFTER_LABEL = """\
WITH ours AS (
    SELECT run, track_id, etag FROM failures SEMI JOIN (FROM runs WHERE model = $model) AS runs USING (run)
),
after AS (  -- by the names of the runs, which follow one another; the clocks of workers may disagree
    SELECT ours.run, track_id, etag
    FROM ours JOIN labels USING (track_id, etag)
    WHERE labels.model = $model AND ours.run > labels.run
),
to_embed AS (  -- failures to add embeddings to the label
    SELECT run, track_id, etag
    FROM after
    SEMI JOIN (FROM runs WHERE embeds) AS runs USING (run)
    ANTI JOIN (FROM embeddings WHERE model = $model) AS embedded USING (track_id, etag)
)
SELECT run, track_id, etag FROM after ANTI JOIN to_embed USING (run, track_id, etag)
"""

_UNKNOWN_TRACKS = """\
SELECT DISTINCT track_id FROM {table} ANTI JOIN tracks USING (track_id)
"""

_UNKNOWN_RUNS = """\
SELECT DISTINCT run FROM labels ANTI JOIN runs USING (run)
"""

_WITHOUT_LABEL = """\
SELECT run, track_id, etag, segment FROM segment_labels ANTI JOIN labels USING (model, run, track_id, etag)
"""

_COUNT_BY_RUN = """\
SELECT run, count(*) AS rows FROM {table} GROUP BY run
"""

_ONLY_EMBEDDED = """\
SELECT run, track_id, etag FROM embeddings ANTI JOIN labels USING (run, track_id, etag) WHERE segment = 0
"""


def define_runs(rows: Rows, reports: Sequence[RunReport]) -> None:
    """Make ``runs`` a table of the runs that have a report."""
    columns = {
        "run": pa.array([report.run for report in reports], pa.string()),
        "model": pa.array([report.model for report in reports], pa.string()),
        "started_at": pa.array([report.started_at for report in reports], TIMESTAMP),
        "done": pa.array([report.outcome == "done" for report in reports], pa.bool_()),
        "embeds": pa.array([report.writes_embeddings for report in reports], pa.bool_()),
    }
    rows.register("runs", pa.table(columns))


def find_duplicates(rows: Rows) -> list[Finding]:
    """Find keys that occur more than once in a table."""
    findings = []
    for table, key in _ROW_KEYS.items():
        sql = _DUPLICATES.format(key=", ".join(key), table=table)
        findings += rows.find("duplicate", table, f"rows with the same {', '.join(key)}", key, sql)
    return findings


def find_contradictions(rows: Rows, reports: Sequence[RunReport]) -> list[Finding]:
    """Find versions that one run both labeled and failed on, or that failed after they had been labeled.

    An older failure next to a label is no contradiction, because the track was retried. Neither is a failure
    in a run of another model, in a run that only computed features, or in a run that was to add embeddings to
    the label and did not.
    """
    key = ("run", *VERSION_KEY)
    findings = rows.find(
        "duplicate", "labels", "versions that one run both labeled and failed on", key, _LABELED_AND_FAILED
    )
    for model in sorted({report.model for report in reports if report.model is not None}):
        findings += rows.find(
            "failed after a label",
            "failures",
            f"versions that a run of {model} failed on although {model} had already labeled them",
            key,
            _FAILED_AFTER_LABEL,
            model=model,
        )
    return findings


def find_unknown_tracks(rows: Rows) -> list[Finding]:
    """Find rows about tracks that were never listed."""
    findings = []
    for table in ("features", "labels", "embeddings", "failures"):
        findings += rows.find(
            "unknown track",
            table,
            "tracks that are not in the table tracks",
            ("track_id",),
            _UNKNOWN_TRACKS.format(table=table),
        )
    return findings


def find_unknown_runs(rows: Rows) -> list[Finding]:
    """Find labels of runs that have no report."""
    return rows.find("unknown run", "labels", "labels of runs that have no report", ("run",), _UNKNOWN_RUNS)


def find_segments_without_label(rows: Rows) -> list[Finding]:
    """Find segment labels whose run did not label their track, which readers must leave out."""
    return rows.find(
        "segments without a label",
        "segment_labels",
        "segment labels without a label of their run: it was killed there or is still running, or failed on "
        "the track; readers that take only the run of the label, as the view current_segment_labels of "
        "'earmark ddl' does, are not affected",
        ("run", *VERSION_KEY, "segment"),
        _WITHOUT_LABEL,
        fault=False,
    )


def find_report_mismatches(rows: Rows, reports: Sequence[RunReport]) -> list[Finding]:
    """Find reports whose counts differ from the tables.

    The report of a killed run, or of one that failed with the store, may count fewer rows than there are. If
    there are fewer rows than it counts, parts were removed; that is no longer a fault once a later full run
    of the same model has processed what was still needed.
    """
    labeled, failed = _count_by_run(rows, "labels"), _count_by_run(rows, "failures")
    embedded = _count_by_run(rows, f"({_ONLY_EMBEDDED})")
    wrong: list[str] = []
    removed: list[str] = []
    redone: set[str | None] = set()
    for report in reversed(reports):
        counts, purged = report.counts, report.purged
        pairs = [("failed", counts.failed - purged.failed, failed.get(report.run, 0))]
        if report.command != "featurize":
            pairs.append(("labeled", counts.labeled - purged.labeled, labeled.get(report.run, 0)))
        if report.writes_embeddings:
            said, there = counts.embedded - purged.embedded, embedded.get(report.run, 0)
            # Embeddings whose labels were removed look as if the run had labeled these tracks before.
            unlabeled = max(0, counts.labeled - purged.labeled - labeled.get(report.run, 0))
            pairs.append(("embedded", said, there - min(unlabeled, max(0, there - said))))
        for word, said, there in pairs:
            text = f"{report.run}: {said:,} {word} in the report, {there:,} in the table"
            if said > there and report.model in redone:
                removed.append(text)
            elif said > there or (said < there and report.outcome == "done"):
                wrong.append(text)
        if report.outcome == "done" and not (report.balanced and counts.balanced):
            wrong.append(f"{report.run}: its counts do not add up to the {counts.listed:,} tracks it listed")
        if report.is_full and report.outcome == "done":
            redone.add(report.model)
    lost = "run reports do not match the tables: rows were lost, or another program added some"
    since = "parts of these runs were removed later; a newer run processed again what was still needed"
    return [
        *report_names("report mismatch", "_runs", lost, wrong),
        *report_names("removed since", "_runs", since, removed, fault=False),
    ]


def _count_by_run(rows: Rows, table: str) -> dict[str, int]:
    counted = rows.query(_COUNT_BY_RUN.format(table=table))
    return dict(zip(counted["run"].to_pylist(), counted["rows"].to_pylist(), strict=True))
