"""Accounting: check that each track that a run should have processed ended as a label or as a failure."""

from collections.abc import Sequence

import pyarrow as pa

from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding, ModelAccount
from pipeline.tables.maintenance.verify.plans import load_plan
from pipeline.tables.maintenance.verify.rows import Rows
from schemas.report import RunOutcome, RunReport
from schemas.tables import LISTING

_ENDINGS: dict[RunOutcome, str] = {
    "running": "was killed or is still running",
    "done": "did not cover them",
    "interrupted": "was interrupted",
    "failed": "failed",
}

# Of one model: usable_sets has the feature sets that it can use.
_FAILURES = """\
SELECT failures.run, track_id, etag, failures.model IS NULL AS featurizing
FROM failures
WHERE (feature_set IS NULL OR feature_set IN (FROM usable_sets)) AND (model IS NULL OR model = $model)
"""

_UNRESOLVED = """\
SELECT run, track_id, etag FROM model_failures WHERE NOT featurizing
UNION ALL
SELECT run, track_id, etag
FROM (FROM model_failures WHERE featurizing) AS failed
ANTI JOIN (FROM features WHERE feature_set IN (FROM usable_sets)) AS resolved USING (track_id, etag)
"""

# Features that another command added later are left to the model's next run.
_EXCUSED = """\
SELECT track_id, etag
FROM (FROM model_failures WHERE featurizing) AS failed
ANTI JOIN (
    FROM features
    WHERE feature_set IN (FROM usable_sets)
      AND (run <= $last OR run IN (SELECT run FROM runs WHERE done AND model = $model))
) AS resolved USING (track_id, etag)
"""

_PROCESSED = """\
SELECT track_id, etag FROM labels WHERE model = $model
UNION ALL
SELECT track_id, etag FROM unresolved
"""

_PLANNED = """\
SELECT $run AS run, track_id, etag, uri FROM plan ANTI JOIN processed USING (track_id, etag)
"""

_OUTSTANDING = """\
WITH later AS (  -- the newest row about each planned track since its run began; no version if it has left
    SELECT planned.run, track_id, IF(tracks.present, tracks.etag, NULL) AS etag
    FROM planned JOIN runs USING (run) JOIN tracks USING (track_id)
    WHERE tracks.listed_at > runs.started_at
    QUALIFY row_number() OVER (PARTITION BY planned.run, track_id ORDER BY tracks.recency DESC) = 1
),
changed AS (
    SELECT run, track_id FROM later ANTI JOIN planned USING (run, track_id, etag)
)
SELECT run, track_id, etag FROM planned ANTI JOIN changed USING (run, track_id)
"""

_LISTED = """\
SELECT run, track_id, etag
FROM tracks ANTI JOIN processed USING (track_id, etag)
WHERE present AND recency IN (
    SELECT max(recency)
    FROM tracks
    WHERE listed_at <= (SELECT started_at FROM runs WHERE run = $run)
    GROUP BY track_id
)
"""

_FEATURIZED_BEFORE = """\
SEMI JOIN (FROM features WHERE feature_set IN (FROM usable_sets) AND run < $run) AS featurized
    USING (track_id, etag)
"""

# If a file changed between listing and reading, its label has the version that was read: match by run.
_LOST = """\
SELECT DISTINCT track_id, etag
FROM expected
ANTI JOIN (FROM labels WHERE model = $model) AS ours USING (run, track_id)
ANTI JOIN unresolved USING (run, track_id)
ANTI JOIN excused USING (track_id, etag)
"""

_UNFINISHED = """\
SELECT DISTINCT track_id, etag FROM outstanding SEMI JOIN unfinished_runs USING (run)
"""

_UNLISTED = """\
SELECT track_id, etag
FROM listing
ANTI JOIN processed USING (track_id, etag)
ANTI JOIN lost USING (track_id, etag)
ANTI JOIN unfinished USING (track_id, etag)
"""

_UNLABELED = """\
SELECT uri FROM listing ANTI JOIN failures USING (track_id, etag)
"""

_ACCOUNT = """\
WITH undone AS MATERIALIZED (
    SELECT track_id, etag FROM current_tracks ANTI JOIN processed USING (track_id, etag)
),
missing AS (FROM lost UNION ALL FROM unfinished UNION ALL FROM unlisted)
SELECT
    (SELECT count(*) FROM current_tracks) AS tracks,
    (
        SELECT count(*)
        FROM current_tracks SEMI JOIN (FROM labels WHERE model = $model) AS ours USING (track_id, etag)
    ) AS labeled,
    (SELECT count(*) FROM undone) AS undone,
    (SELECT count(*) FROM missing) AS missing,
    (SELECT count(*) FROM undone ANTI JOIN missing USING (track_id, etag)) AS unseen
"""

_URIS = """\
WITH wanted AS (SELECT track_id, etag FROM {table} ORDER BY track_id, etag LIMIT $examples),
known AS (
    SELECT track_id, uri, recency FROM tracks
    UNION ALL
    SELECT track_id, uri, 0 FROM planned
    UNION ALL
    SELECT track_id, uri, 0 FROM listing
)
SELECT coalesce(arg_max(uri, recency), track_id) AS uri
FROM wanted LEFT JOIN known USING (track_id)
GROUP BY track_id, wanted.etag
ORDER BY track_id, wanted.etag
"""


def account_for_tracks(
    rows: Rows, reports: Sequence[RunReport], listing: pa.Table | None
) -> tuple[list[ModelAccount], list[Finding]]:
    """Account for the tracks of each model, and find those that are missing.

    A model's last completed full run covers every track that it listed. Tracks planned by later runs that
    were stopped, failed or killed are unfinished, unless they have changed since. A model that is no longer
    run is not expected to label newer tracks.

    Parameters
    ----------
    rows : Rows
        The keys of all tables, with their runs and current tracks.
    reports : sequence of RunReport
        All reports, oldest first.
    listing : pyarrow.Table or None
        The catalog as it is now; the model that ran last must have processed all of it.

    Raises
    ------
    EarmarkError
        If the plan of a run cannot be read.
    """
    models = list(dict.fromkeys(report.model for report in reversed(reports) if report.model is not None))
    accounts: list[ModelAccount] = []
    findings = _find_unlabeled(rows, listing) if listing is not None and not models else []
    for model in reversed(models):
        theirs = [report for report in reports if report.model == model]
        expected = listing if listing is not None and model == models[0] else LISTING.empty_table()
        rows.register("listing", expected.select(["track_id", "etag", "uri"]))
        _define_processed(rows, model, theirs)
        _define_outstanding(rows, theirs)
        _define_lost(rows, model, theirs)
        rows.define("unlisted", _UNLISTED)
        findings += _report_missing(rows, model, theirs[-1])
        (counts,) = rows.query(_ACCOUNT, model=model).to_pylist()
        undone = counts.pop("undone")
        failed = counts["tracks"] - counts["labeled"] - undone
        accounts.append(ModelAccount(model=model, failed=failed, **counts))
    return accounts, findings


def _find_unlabeled(rows: Rows, listing: pa.Table) -> list[Finding]:
    """Find the tracks of the catalog that have not failed, in tables that no run has labeled yet."""
    rows.register("listing", listing.select(["track_id", "etag", "uri"]))
    message = (
        "tracks now in the catalog have no label, since no run has labeled any; run 'earmark run', or "
        "'earmark label' for those that are featurized"
    )
    return rows.find("not processed", "labels", message, ["uri"], _UNLABELED, passing=True)


def _define_processed(rows: Rows, model: str, reports: Sequence[RunReport]) -> None:
    """Define which versions a model is done with, and the failures that keep it from labeling others."""
    sets = sorted({name for report in reports for name in _serving_feature_sets(report)})
    rows.register("usable_sets", pa.table({"feature_set": pa.array(sets, pa.string())}))
    done = [report for report in reports if report.outcome == "done"]
    last = max((report.run for report in done if report.is_full or report.command == "label"), default="")
    rows.define("model_failures", _FAILURES, model=model)
    rows.define("unresolved", _UNRESOLVED)
    rows.define("excused", _EXCUSED, model=model, last=last)
    rows.define("processed", _PROCESSED, model=model)


def _serving_feature_sets(report: RunReport) -> list[str]:
    """Return the feature sets that a run could use: only its own if a newer Earmark defined it."""
    if report.spec is None:
        return [report.feature_set]
    return [spec.feature_set for spec in report.spec.supersets()]


def _define_outstanding(rows: Rows, reports: Sequence[RunReport]) -> None:
    """Define what runs planned that is not processed, and has neither changed nor gone since.

    These are the completed runs, and the incomplete ones since the last completed full run.
    """
    full = [number for number, report in enumerate(reports) if _is_complete(report)]
    since = full[-1] + 1 if full else 0
    unfinished = [report for report in reports[since:] if report.outcome != "done"]
    rows.register("unfinished_runs", pa.table({"run": pa.array([r.run for r in unfinished], pa.string())}))
    rows.create("planned", pa.schema([(name, pa.string()) for name in ("run", "track_id", "etag", "uri")]))
    for report in [*(report for report in reports if report.outcome == "done"), *unfinished]:
        load_plan(rows, report)
        rows.insert("planned", _PLANNED, run=report.run)
    rows.define("outstanding", _OUTSTANDING)
    rows.define("unfinished", _UNFINISHED)


def _is_complete(report: RunReport) -> bool:
    return report.outcome == "done" and report.is_full


def _define_lost(rows: Rows, model: str, reports: Sequence[RunReport]) -> None:
    """Define what completed runs planned, or found already processed, that has no label or failure."""
    rows.define("expected", "FROM outstanding SEMI JOIN (FROM runs WHERE done) AS runs USING (run)")
    if full := [report for report in reports if _is_complete(report)]:
        rows.insert("expected", _LISTED, run=full[-1].run)
    done = [report for report in reports if report.outcome == "done"]
    if relabeled := [report for report in done if report.command == "label"]:
        rows.insert("expected", f"FROM ({_LISTED}) {_FEATURIZED_BEFORE}", run=relabeled[-1].run)
    rows.define("lost", _LOST, model=model)


def _report_missing(rows: Rows, model: str, last: RunReport) -> list[Finding]:
    ended = _ENDINGS[last.outcome]
    neither = f"have neither a label of {model} nor a failure"
    kinds = [
        ("missing", f"tracks of a finished run {neither}; the next run processes them", "lost"),
        (
            "unfinished",
            f"tracks {neither}, because its last run ({last.run}) {ended}; run again",
            "unfinished",
        ),
        (
            "not processed",
            f"tracks now in the catalog {neither} for their present version; run again",
            "unlisted",
        ),
    ]
    findings = []
    for kind, message, table in kinds:
        if count := rows.count(f"FROM {table}"):
            uris = rows.query(_URIS.format(table=table), examples=EXAMPLES)["uri"].to_pylist()
            findings.append(Finding(kind, "labels", message, count, tuple(uris), passing=kind != "missing"))
    return findings
