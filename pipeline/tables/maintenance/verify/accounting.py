"""Coverage: whether each track that a run was to do has ended as a label or as a failure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_source import in_arrows_memory
from pipeline.storage.parsed import read_parsed
from pipeline.tables.current import not_overcome
from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding, ModelAccount
from pipeline.tables.maintenance.verify.keys import Ledger, is_full
from pipeline.tables.tables import VERSION, Tables, is_damage, newest, within, without
from schemas.errors import EarmarkError
from schemas.report import RunReport

_PLAN = [*VERSION, "run"]
_PLAN_SCHEMA = pa.schema([(name, pa.string()) for name in _PLAN])
_STORED_PLAN = pa.schema([(name, pa.string()) for name in (*VERSION, "uri", "run")])
_VERSIONS = pa.schema([(name, pa.string()) for name in VERSION])


@dataclass(frozen=True)
class ModelLedger:
    """What became of tracks, for one model.

    Attributes
    ----------
    model : str
        Name with hash.
    labels, failures : pyarrow.Table
        Keys of its labels, and of the failures that stand in its way.
    excused : pyarrow.Table
        Keys of the failures to make features that stood in its way when it last ran.
    feature_sets : tuple of str
        The feature sets that serve it.
    """

    model: str
    labels: pa.Table
    failures: pa.Table
    excused: pa.Table
    feature_sets: tuple[str, ...]

    def undone(self, versions: pa.Table) -> pa.Table:
        """The versions that have neither a label nor a failure."""
        return without(without(versions, self.labels), self.failures)


def model_ledger(ledger: Ledger, reports: Sequence[RunReport], model: str) -> ModelLedger:
    """The part of the ledger that is about a model."""
    sets = tuple({name for report in reports if report.model == model for name in _serving(report)})
    names = pa.array(sets, pa.string())
    failures = ledger.failures
    ours = pc.or_(pc.is_null(failures["feature_set"]), pc.is_in(failures["feature_set"], names))
    theirs = pc.or_kleene(pc.is_null(failures["model"]), pc.equal(failures["model"], model))
    failures = failures.filter(pc.and_(ours, theirs))
    features = ledger.features.filter(pc.is_in(ledger.features["feature_set"], names))
    # Features that another command made since are for the model's next run to label.
    done = [report for report in reports if report.model == model and report.outcome == "done"]
    last = max((report.run for report in done if is_full(report) or report.command == "label"), default="")
    own = pa.array([report.run for report in done], pa.string())
    known = pc.or_(pc.less_equal(features["run"], last), pc.is_in(features["run"], own))
    excused = without(failures.filter(pc.is_null(failures["model"])), features.filter(known))
    labels = ledger.labels.filter(pc.equal(ledger.labels["model"], model))
    return ModelLedger(model, labels, not_overcome(failures, features), excused, sets)


def _serving(report: RunReport) -> list[str]:
    """The feature sets that serve a run; one alone where only a newer Earmark knows what they are."""
    if report.spec is None:
        return [report.feature_set]
    return [spec.feature_set for spec in report.spec.serving()]


def coverage(
    tables: Tables, ledger: Ledger, reports: Sequence[RunReport], listing: pa.Table | None
) -> tuple[list[ModelAccount], list[Finding]]:
    """Account for the tracks of each model, and find those that are missing.

    A model's last full run that ended covers every track that it listed. What was to be done by later ones
    that were stopped, failed or killed is left, unless the track has changed since. A model that is no longer
    run owes nothing for newer tracks.

    Parameters
    ----------
    tables : Tables
        Where the plans of the runs are.
    ledger : Ledger
        The tables' keys.
    reports : sequence of RunReport
        All reports, oldest first.
    listing : pyarrow.Table or None
        The catalog as it is now; the model that ran last must have done all of it.
    """
    present = _listed(ledger.tracks, None)
    models = list(dict.fromkeys(report.model for report in reversed(reports) if report.model is not None))
    accounts: list[ModelAccount] = []
    findings: list[Finding] = []
    for model in reversed(models):
        mine = model_ledger(ledger, reports, model)
        theirs = [report for report in reports if report.model == model]
        lost = _lost(tables, ledger, mine, theirs)
        left = _left(tables, ledger, mine, theirs)
        unlisted = _VERSIONS.empty_table()
        if listing is not None and model == models[0]:
            unlisted = without(without(_versions(mine.undone(listing)), lost), left)
        findings += _missing(Names(tables, theirs, listing), model, theirs[-1], lost, left, unlisted)
        missing = pa.concat_tables([lost, left, unlisted])
        labeled = within(present, mine.labels)
        undone = mine.undone(present)
        accounts.append(
            ModelAccount(
                model=model,
                tracks=present.num_rows,
                labeled=labeled.num_rows,
                failed=present.num_rows - labeled.num_rows - undone.num_rows,
                missing=missing.num_rows,
                unseen=without(undone, missing).num_rows,
            )
        )
    return accounts, findings


@dataclass(frozen=True)
class Names:
    """Finds the URIs of a few tracks, for people to read.

    Attributes
    ----------
    tables : Tables
        The tables.
    reports : sequence of RunReport
        Runs in whose plans tracks may stand that no other table names yet.
    listing : pyarrow.Table or None
        The catalog as it is now.
    """

    tables: Tables
    reports: Sequence[RunReport]
    listing: pa.Table | None

    def uris(self, versions: pa.Table) -> tuple[str, ...]:
        """URIs of the first few tracks, or their ids where nothing names them."""
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
            yield within(self.listing.select(["track_id", "uri"]), wanted, ("track_id",))
        yield self.tables.read("tracks", ["track_id", "uri"], pc.field("track_id").isin(ids))
        for report in reversed(self.reports):
            yield within(read_plan(self.tables, report), wanted, ("track_id",))


def _missing(
    names: Names, model: str, last: RunReport, lost: pa.Table, left: pa.Table, unlisted: pa.Table
) -> list[Finding]:
    ended = "was killed, or is at work" if last.outcome == "running" else f"ended as {last.outcome}"
    neither = f"have neither a label of {model} nor a failure"
    kinds = [
        ("missing", f"tracks that a finished run was to do {neither}; the next run does them", lost),
        ("left", f"tracks {neither}: the last run for it ({last.run}) {ended}; run again", left),
        ("not done yet", f"tracks of the catalog, in their present version, {neither}; run again", unlisted),
    ]
    return [
        Finding(kind, "labels", message, rows.num_rows, names.uris(rows))
        for kind, message, rows in kinds
        if rows.num_rows
    ]


def _listed(tracks: pa.Table, until: datetime | None) -> pa.Table:
    """The versions that the catalog held when it was last listed, or at some moment."""
    if until is not None:
        tracks = tracks.filter(pc.less_equal(tracks["listed_at"], pa.scalar(until, tracks["listed_at"].type)))
    rows = newest(tracks, "listed_at")
    return rows.filter(rows["present"])


def _lost(tables: Tables, ledger: Ledger, mine: ModelLedger, reports: Sequence[RunReport]) -> pa.Table:
    """What runs that ended had planned, or had found done, and that has neither a label nor a failure."""
    done = [report for report in reports if report.outcome == "done"]
    lost = [_planned(tables, ledger, mine, report) for report in done]
    if full := [report for report in done if is_full(report)]:
        lost.append(mine.undone(_listed(ledger.tracks, full[-1].started_at)))
    if relabeled := [report for report in done if report.command == "label"]:
        features = ledger.features
        usable = pc.is_in(features["feature_set"], pa.array(mine.feature_sets, pa.string()))
        older = pc.less(features["run"], relabeled[-1].run)
        listed = _listed(ledger.tracks, relabeled[-1].started_at)
        lost.append(mine.undone(within(listed, features.filter(pc.and_(usable, older)))))
    if not lost:
        return _VERSIONS.empty_table()
    rows = pa.concat_tables([table.select(_PLAN).cast(_PLAN_SCHEMA) for table in lost])
    # A file that changed between listing and reading is labeled as what was read.
    key = ("run", "track_id")
    rows = without(without(without(rows, mine.labels, key), mine.failures, key), mine.excused)
    return _versions(rows).group_by(list(VERSION)).aggregate([])


def _versions(rows: pa.Table) -> pa.Table:
    return rows.select(list(VERSION)).cast(_VERSIONS)


def _left(tables: Tables, ledger: Ledger, mine: ModelLedger, reports: Sequence[RunReport]) -> pa.Table:
    """What runs that did not end had planned, since the last full one that did, and nobody has done."""
    left = _VERSIONS.empty_table()
    for report in reversed(reports):
        if report.outcome == "done" and is_full(report):
            break
        if report.outcome != "done":
            planned = _versions(_planned(tables, ledger, mine, report))
            left = pa.concat_tables([left, without(planned, left)])
    return left


def _planned(tables: Tables, ledger: Ledger, mine: ModelLedger, report: RunReport) -> pa.Table:
    """What a run had planned, nobody has done, and has not changed or gone since."""
    planned = mine.undone(read_plan(tables, report))
    if not planned.num_rows:
        return planned.select(_PLAN)
    listed_at = ledger.tracks["listed_at"]
    later = newest(
        ledger.tracks.filter(pc.greater(listed_at, pa.scalar(report.started_at, listed_at.type))), "listed_at"
    )
    changed = without(later, within(later.filter(later["present"]), planned), ("track_id",))
    return without(planned, changed, ("track_id",)).select(_PLAN)


def plan_location(tables: Tables, run: str) -> str:
    """Where a run keeps its plan."""
    return storage.join(tables.root, "_runs", f"{run}.plan.parquet")


def _decode_plan(data: bytes) -> pa.Table:
    return pq.read_table(in_arrows_memory(data), columns=[*VERSION, "uri"])


def read_plan(tables: Tables, report: RunReport) -> pa.Table:
    """What a run planned to do: ``track_id``, ``etag``, ``uri``, ``run``; no rows where there is no plan.

    Raises
    ------
    EarmarkError
        If the plan cannot be read.
    """
    location = plan_location(tables, report.run)
    with storage.explained(location, "read"):
        try:
            plan = read_parsed(location, _decode_plan)
        except FileNotFoundError:
            return _STORED_PLAN.empty_table()
        except Exception as error:
            if not is_damage(error):
                raise
            raise EarmarkError(f"the plan {location} is damaged ({error}); move it away") from error
    runs = pa.array([report.run] * plan.num_rows, pa.string())
    return plan.append_column("run", runs).cast(_STORED_PLAN)
