"""Accounting: check that each track that a run should have processed ended as a label or as a failure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding, ModelAccount
from pipeline.tables.maintenance.verify.keys import TableKeys, is_full_run
from pipeline.tables.tables import VERSION_KEY, Tables, anti_join, is_damage, keep_newest, semi_join
from schemas.errors import EarmarkError
from schemas.report import RunOutcome, RunReport

_PLAN = [*VERSION_KEY, "run"]
_PLAN_SCHEMA = pa.schema([(name, pa.string()) for name in _PLAN])
_STORED_PLAN = pa.schema([(name, pa.string()) for name in (*VERSION_KEY, "uri", "run")])
_ENDINGS: dict[RunOutcome, str] = {
    "running": "was killed or is still running",
    "done": "did not cover them",
    "interrupted": "was interrupted",
    "failed": "failed",
}
_VERSIONS = pa.schema([(name, pa.string()) for name in VERSION_KEY])


@dataclass(frozen=True)
class ModelKeys:
    """The keys of the rows that concern one model.

    Attributes
    ----------
    model : str
        Name with hash.
    labels, failures : pyarrow.Table
        Keys of its labels, and of the unresolved failures that keep it from labeling.
    excused : pyarrow.Table
        Keys of the failures to featurize that were unresolved when the model last ran.
    feature_sets : tuple of str
        The feature sets that it can use.
    """

    model: str
    labels: pa.Table
    failures: pa.Table
    excused: pa.Table
    feature_sets: tuple[str, ...]

    def find_undone(self, versions: pa.Table) -> pa.Table:
        """Return the versions that have neither a label nor a failure."""
        return anti_join(anti_join(versions, self.labels), self.failures)


def select_model_keys(keys: TableKeys, reports: Sequence[RunReport], model: str) -> ModelKeys:
    """Select the keys of the rows that concern a model."""
    sets = tuple(
        {name for report in reports if report.model == model for name in _serving_feature_sets(report)}
    )
    names = pa.array(sets, pa.string())
    failures = keys.failures
    ours = pc.or_(pc.is_null(failures["feature_set"]), pc.is_in(failures["feature_set"], names))
    theirs = pc.or_kleene(pc.is_null(failures["model"]), pc.equal(failures["model"], model))
    failures = failures.filter(pc.and_(ours, theirs))
    features = keys.features.filter(pc.is_in(keys.features["feature_set"], names))
    # Features that another command added later are left to the model's next run.
    done = [report for report in reports if report.model == model and report.outcome == "done"]
    last = max(
        (report.run for report in done if is_full_run(report) or report.command == "label"), default=""
    )
    own = pa.array([report.run for report in done], pa.string())
    known = pc.or_(pc.less_equal(features["run"], last), pc.is_in(features["run"], own))
    excused = anti_join(failures.filter(pc.is_null(failures["model"])), features.filter(known))
    labels = keys.labels.filter(pc.equal(keys.labels["model"], model))
    return ModelKeys(model, labels, _drop_resolved(failures, features), excused, sets)


def _serving_feature_sets(report: RunReport) -> list[str]:
    """Return the feature sets that a run could use: only its own if a newer Earmark defined it."""
    if report.spec is None:
        return [report.feature_set]
    return [spec.feature_set for spec in report.spec.supersets()]


def account_for_tracks(
    tables: Tables, keys: TableKeys, reports: Sequence[RunReport], listing: pa.Table | None
) -> tuple[list[ModelAccount], list[Finding]]:
    """Account for the tracks of each model, and find those that are missing.

    A model's last completed full run covers every track that it listed. Tracks planned by later runs that
    were stopped, failed or killed are unfinished, unless they have changed since. A model that is no longer
    run is not expected to label newer tracks.

    Parameters
    ----------
    tables : Tables
        The tables, from which the plans of the runs are read.
    keys : TableKeys
        The keys of all tables.
    reports : sequence of RunReport
        All reports, oldest first.
    listing : pyarrow.Table or None
        The catalog as it is now; the model that ran last must have processed all of it.
    """
    present = _select_listed(keys.tracks, None)
    models = list(dict.fromkeys(report.model for report in reversed(reports) if report.model is not None))
    accounts: list[ModelAccount] = []
    findings: list[Finding] = []
    for model in reversed(models):
        mine = select_model_keys(keys, reports, model)
        theirs = [report for report in reports if report.model == model]
        lost = _find_lost(tables, keys, mine, theirs)
        left = _find_left(tables, keys, mine, theirs)
        unlisted = _VERSIONS.empty_table()
        if listing is not None and model == models[0]:
            unlisted = anti_join(anti_join(_select_versions(mine.find_undone(listing)), lost), left)
        findings += _report_missing(
            UriLookup(tables, theirs, listing), model, theirs[-1], lost, left, unlisted
        )
        missing = pa.concat_tables([lost, left, unlisted])
        labeled = semi_join(present, mine.labels)
        undone = mine.find_undone(present)
        accounts.append(
            ModelAccount(
                model=model,
                tracks=present.num_rows,
                labeled=labeled.num_rows,
                failed=present.num_rows - labeled.num_rows - undone.num_rows,
                missing=missing.num_rows,
                unseen=anti_join(undone, missing).num_rows,
            )
        )
    return accounts, findings


@dataclass(frozen=True)
class UriLookup:
    """Looks up the URIs of a few tracks, to show as examples.

    Attributes
    ----------
    tables : Tables
        The tables.
    reports : sequence of RunReport
        Runs whose plans may name tracks that are not in any table yet.
    listing : pyarrow.Table or None
        The catalog as it is now.
    """

    tables: Tables
    reports: Sequence[RunReport]
    listing: pa.Table | None

    def look_up(self, versions: pa.Table) -> tuple[str, ...]:
        """Return the URIs of the first few tracks, or their ids if no URI is known."""
        ids = versions["track_id"].slice(0, EXAMPLES).to_pylist()
        found: dict[str, str] = {}
        for rows in self._rows(ids):
            found |= dict(zip(rows["track_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
            if len(found) == len(set(ids)):
                break
        return tuple(found.get(track_id, track_id) for track_id in ids)

    def _rows(self, ids: list[str]) -> Iterator[pa.Table]:
        wanted = pa.table({"track_id": pa.array(ids, pa.string())})
        if self.listing is not None:
            yield semi_join(self.listing.select(["track_id", "uri"]), wanted, ("track_id",))
        yield self.tables.read("tracks", ["track_id", "uri"], pc.field("track_id").isin(ids))
        for report in reversed(self.reports):
            yield semi_join(read_plan(self.tables, report), wanted, ("track_id",))


def _report_missing(
    lookup: UriLookup, model: str, last: RunReport, lost: pa.Table, left: pa.Table, unlisted: pa.Table
) -> list[Finding]:
    ended = _ENDINGS[last.outcome]
    neither = f"have neither a label of {model} nor a failure"
    kinds = [
        ("missing", f"tracks of a finished run {neither}; the next run processes them", lost),
        ("unfinished", f"tracks {neither}, because its last run ({last.run}) {ended}; run again", left),
        (
            "not processed",
            f"tracks now in the catalog {neither} for their present version; run again",
            unlisted,
        ),
    ]
    return [
        Finding(kind, "labels", message, rows.num_rows, lookup.look_up(rows))
        for kind, message, rows in kinds
        if rows.num_rows
    ]


def _select_listed(tracks: pa.Table, until: datetime | None) -> pa.Table:
    """Select the versions that were in the catalog when it was last listed, or at a given time."""
    if until is not None:
        tracks = tracks.filter(pc.less_equal(tracks["listed_at"], pa.scalar(until, tracks["listed_at"].type)))
    rows = keep_newest(tracks, "listed_at")
    return rows.filter(rows["present"])


def _find_lost(tables: Tables, keys: TableKeys, mine: ModelKeys, reports: Sequence[RunReport]) -> pa.Table:
    """Find tracks that completed runs planned, or found already processed, without a label or failure."""
    done = [report for report in reports if report.outcome == "done"]
    lost = [_find_outstanding(tables, keys, mine, report) for report in done]
    if full := [report for report in done if is_full_run(report)]:
        lost.append(mine.find_undone(_select_listed(keys.tracks, full[-1].started_at)))
    if relabeled := [report for report in done if report.command == "label"]:
        features = keys.features
        usable = pc.is_in(features["feature_set"], pa.array(mine.feature_sets, pa.string()))
        older = pc.less(features["run"], relabeled[-1].run)
        listed = _select_listed(keys.tracks, relabeled[-1].started_at)
        lost.append(mine.find_undone(semi_join(listed, features.filter(pc.and_(usable, older)))))
    if not lost:
        return _VERSIONS.empty_table()
    rows = pa.concat_tables([table.select(_PLAN).cast(_PLAN_SCHEMA) for table in lost])
    # If a file changed between listing and reading, its label has the version that was read: match by run.
    key = ("run", "track_id")
    rows = anti_join(anti_join(anti_join(rows, mine.labels, key), mine.failures, key), mine.excused)
    return _select_versions(rows).group_by(list(VERSION_KEY)).aggregate([])


def _select_versions(rows: pa.Table) -> pa.Table:
    return rows.select(list(VERSION_KEY)).cast(_VERSIONS)


def _find_left(tables: Tables, keys: TableKeys, mine: ModelKeys, reports: Sequence[RunReport]) -> pa.Table:
    """Find unprocessed tracks that incomplete runs planned since the last completed full run."""
    left = _VERSIONS.empty_table()
    for report in reversed(reports):
        if report.outcome == "done" and is_full_run(report):
            break
        if report.outcome != "done":
            planned = _select_versions(_find_outstanding(tables, keys, mine, report))
            left = pa.concat_tables([left, anti_join(planned, left)])
    return left


def _find_outstanding(tables: Tables, keys: TableKeys, mine: ModelKeys, report: RunReport) -> pa.Table:
    """Find tracks of a run's plan that are not processed and have neither changed nor gone since."""
    planned = mine.find_undone(read_plan(tables, report))
    if not planned.num_rows:
        return planned.select(_PLAN)
    listed_at = keys.tracks["listed_at"]
    later = keep_newest(
        keys.tracks.filter(pc.greater(listed_at, pa.scalar(report.started_at, listed_at.type))), "listed_at"
    )
    changed = anti_join(later, semi_join(later.filter(later["present"]), planned), ("track_id",))
    return anti_join(planned, changed, ("track_id",)).select(_PLAN)


def _drop_resolved(failures: pa.Table, features: pa.Table) -> pa.Table:
    """Drop the failures to featurize whose version has features by now. Failures to label are kept."""
    featurizing = pc.is_null(failures["model"])
    return pa.concat_tables(
        [failures.filter(pc.invert(featurizing)), anti_join(failures.filter(featurizing), features)]
    )


def plan_location(tables: Tables, run: str) -> str:
    """Return the location of a run's plan."""
    return storage.join(tables.root, "_runs", f"{run}.plan.parquet")


def _decode_plan(data: bytes) -> pa.Table:
    return pq.read_table(arrow_buffer(data), columns=[*VERSION_KEY, "uri"])


def read_plan(tables: Tables, report: RunReport) -> pa.Table:
    """Read what a run planned to process: ``track_id``, ``etag``, ``uri``, ``run``; empty without a plan.

    Raises
    ------
    EarmarkError
        If the plan cannot be read.
    """
    location = plan_location(tables, report.run)
    with storage.explain_errors(location, "read"):
        try:
            plan = read_and_parse(location, _decode_plan)
        except FileNotFoundError:
            return _STORED_PLAN.empty_table()
        except Exception as error:
            if not is_damage(error):
                raise
            message = f"the plan {location} is damaged ({error}); move it out of the folder"
            raise EarmarkError(message) from error
    runs = pa.array([report.run] * plan.num_rows, pa.string())
    return plan.append_column("run", runs).cast(_STORED_PLAN)
