"""The keys of all tables, and checks that each occurs once and that tables and reports agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.maintenance.verify.findings import Finding, report_names, report_rows
from pipeline.tables.tables import VERSION_KEY, Tables, anti_join, semi_join
from schemas.report import RunReport


@dataclass(frozen=True)
class TableKeys:
    """The keys of all rows in the tables, without their other columns.

    Attributes
    ----------
    tracks : pyarrow.Table
        ``track_id``, ``etag``, ``present``, ``listed_at``, ``run``.
    features : pyarrow.Table
        ``track_id``, ``etag``, ``segment``, ``feature_set``, ``run``.
    labels : pyarrow.Table
        ``track_id``, ``etag``, ``model``, ``run``.
    segment_labels : pyarrow.Table
        ``track_id``, ``etag``, ``segment``, ``model``, ``run``.
    embeddings : pyarrow.Table
        ``track_id``, ``etag``, ``segment``, ``model``, ``run``.
    failures : pyarrow.Table
        ``track_id``, ``etag``, ``model``, ``feature_set``, ``run``.
    """

    tracks: pa.Table
    features: pa.Table
    labels: pa.Table
    segment_labels: pa.Table
    embeddings: pa.Table
    failures: pa.Table


def read_keys(tables: Tables) -> TableKeys:
    """Read the keys of all tables; checking them needs about 2 kB of memory per track of three segments."""
    return TableKeys(
        tracks=tables.read("tracks", [*VERSION_KEY, "present", "listed_at", "run"]),
        features=tables.read("features", [*VERSION_KEY, "segment", "feature_set", "run"]),
        labels=tables.read("labels", [*VERSION_KEY, "model", "run"]),
        segment_labels=tables.read("segment_labels", [*VERSION_KEY, "segment", "model", "run"]),
        embeddings=tables.read("embeddings", [*VERSION_KEY, "segment", "model", "run"]),
        failures=tables.read("failures", [*VERSION_KEY, "model", "feature_set", "run"]),
    )


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


def find_duplicates(keys: TableKeys) -> list[Finding]:
    """Find keys that occur more than once in a table."""
    findings = []
    for table, key in _ROW_KEYS.items():
        rows = getattr(keys, table)
        counts = rows.select(list(key)).group_by(list(key)).aggregate([([], "count_all")])
        repeated = counts.filter(pc.greater(counts["count_all"], 1)).sort_by([(key[0], "ascending")])
        findings += report_rows("duplicate", table, f"rows with the same {', '.join(key)}", repeated, *key)
    return findings


def find_contradictions(keys: TableKeys, reports: Sequence[RunReport]) -> list[Finding]:
    """Find versions that one run both labeled and failed on, or that failed after they had been labeled.

    An older failure next to a label is no contradiction, because the track was retried. Neither is a failure
    in a run of another model, in a run that only computed features, or in a run that was to add embeddings to
    the label and did not.
    """
    key = ("run", *VERSION_KEY)
    both = semi_join(keys.labels, keys.failures, key)
    findings = report_rows(
        "duplicate", "labels", "versions that one run both labeled and failed on", both, *key
    )
    embedding = pa.array([report.run for report in reports if report.writes_embeddings], pa.string())
    for model in sorted({report.model for report in reports if report.model is not None}):
        runs = pa.array([report.run for report in reports if report.model == model], pa.string())
        failures = keys.failures.filter(pc.is_in(keys.failures["run"], runs))
        labels = keys.labels.filter(pc.equal(keys.labels["model"], model))
        labels = pa.table({"labeled_by": labels["run"]} | {name: labels[name] for name in VERSION_KEY})
        joined = semi_join(failures, labels).select(list(key)).join(labels, list(VERSION_KEY))
        # Order by the names of the runs, which follow one another; the clocks of workers may disagree.
        after = joined.filter(pc.greater(joined["run"], joined["labeled_by"]))
        tried = after.filter(pc.is_in(after["run"], embedding))
        embedded = keys.embeddings.filter(pc.equal(keys.embeddings["model"], model))
        after = anti_join(after, anti_join(tried, embedded), key)
        findings += report_rows(
            "failed after a label",
            "failures",
            f"versions that a run of {model} failed on although {model} had already labeled them",
            after,
            *key,
        )
    return findings


def find_unknown_tracks(keys: TableKeys) -> list[Finding]:
    """Find rows about tracks that were never listed."""
    findings = []
    for table in ("features", "labels", "embeddings", "failures"):
        ids = getattr(keys, table).select(["track_id"]).group_by("track_id").aggregate([])
        unknown = anti_join(ids, keys.tracks, ("track_id",))
        findings += report_rows(
            "unknown track", table, "tracks that are not in the table tracks", unknown, "track_id"
        )
    return findings


def find_unknown_runs(keys: TableKeys, reports: Sequence[RunReport]) -> list[Finding]:
    """Find labels of runs that have no report."""
    known = pa.table({"run": pa.array([report.run for report in reports], pa.string())})
    runs = keys.labels.group_by("run").aggregate([([], "count_all")])
    unknown = anti_join(runs, known, ("run",))
    return report_rows("unknown run", "labels", "labels of runs that have no report", unknown, "run")


def find_report_mismatches(keys: TableKeys, reports: Sequence[RunReport]) -> list[Finding]:
    """Find reports whose counts differ from the tables.

    The report of a killed run, or of one that failed with the store, may count fewer rows than there are. If
    there are fewer rows than it counts, parts were removed; that is no longer a fault once a later full run
    of the same model has processed what was still needed.
    """
    labeled, failed = _count_by_run(keys.labels), _count_by_run(keys.failures)
    first = keys.embeddings.filter(pc.equal(keys.embeddings["segment"], 0))
    embedded = _count_by_run(anti_join(first, keys.labels, ("run", *VERSION_KEY)))
    wrong: list[str] = []
    removed: list[str] = []
    redone: set[str | None] = set()
    for report in reversed(reports):
        counts = report.counts
        pairs = [("failed", counts.failed, failed.get(report.run, 0))]
        if report.command != "featurize":
            pairs.append(("labeled", counts.labeled, labeled.get(report.run, 0)))
        if report.writes_embeddings:
            pairs.append(("embedded", counts.embedded, embedded.get(report.run, 0)))
        for word, said, there in pairs:
            text = f"{report.run}: {said:,} {word} in the report, {there:,} in the table"
            if said > there and report.model in redone:
                removed.append(text)
            elif said > there or (said < there and report.outcome == "done"):
                wrong.append(text)
        if report.outcome == "done" and not (report.balanced and counts.balanced):
            wrong.append(f"{report.run}: its counts do not add up to the {counts.listed:,} tracks it listed")
        if is_full_run(report) and report.outcome == "done":
            redone.add(report.model)
    lost = "run reports do not match the tables: rows were lost, or another program added some"
    since = "parts of these runs were removed later; a newer run processed again what was still needed"
    return [
        *report_names("report mismatch", "_runs", lost, wrong),
        *report_names("removed since", "_runs", since, removed, fault=False),
    ]


def is_full_run(report: RunReport) -> bool:
    """Return whether the run was meant to process the whole catalog."""
    return report.command == "run" and report.config.get("limit") is None


def _count_by_run(rows: pa.Table) -> dict[str, int]:
    counted = rows.group_by("run").aggregate([([], "count_all")])
    return dict(zip(counted["run"].to_pylist(), counted["count_all"].to_pylist(), strict=True))
