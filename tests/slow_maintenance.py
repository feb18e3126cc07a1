"""What the checks of rows by ``earmark verify`` and ``earmark vacuum`` were before they were queries.

They work in memory, and are simple and slow. The queries of `pipeline.tables.maintenance.verify` and
`pipeline.tables.maintenance.stale_parts` are compared with them, finding by finding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding, ModelAccount, report_names
from pipeline.tables.objects import ChosenParts, StoredObject, StoredObjects
from pipeline.tables.runs import plan_location
from pipeline.tables.tables import VERSION_KEY, Tables
from schemas.report import RunOutcome, RunReport
from tests.slow_joins import anti_join, keep_newest, semi_join


def check_rows(
    tables: Tables, reports: Sequence[RunReport], listing: pa.Table | None
) -> tuple[list[ModelAccount], list[Finding]]:
    """Account for the tracks of each model, and find all faults in the rows of sound parts."""
    keys = read_keys(tables)
    accounts, missing = account_for_tracks(tables, keys, reports, listing)
    return accounts, [
        *find_duplicates(keys),
        *find_contradictions(keys, reports),
        *find_unknown_runs(keys, reports),
        *missing,
        *find_missing_embeddings(keys, reports),
        *find_report_mismatches(keys, reports),
        *find_unknown_tracks(keys),
    ]


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
            said, there = counts.embedded, embedded.get(report.run, 0)
            # Embeddings whose labels were removed look as if the run had labeled these tracks before.
            n_removed = max(0, counts.labeled - labeled.get(report.run, 0))
            pairs.append(("embedded", said, max(min(said, there), there - n_removed)))
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


def _count_by_run(rows: pa.Table) -> dict[str, int]:
    counted = rows.group_by("run").aggregate([([], "count_all")])
    return dict(zip(counted["run"].to_pylist(), counted["count_all"].to_pylist(), strict=True))


def report_rows(kind: str, table: str, message: str, rows: pa.Table, *columns: str) -> list[Finding]:
    """Return a finding about rows, with some columns of the first few as examples; empty without rows."""
    if not rows.num_rows:
        return []
    first = rows.slice(0, EXAMPLES).select(list(columns)).to_pylist()
    examples = tuple(" ".join(str(value) for value in row.values()) for row in first)
    return [Finding(kind, table, message, rows.num_rows, examples)]


def find_missing_embeddings(keys: TableKeys, reports: Sequence[RunReport]) -> list[Finding]:
    """Find current labels without embeddings of completed runs that were to write both.

    A killed run may leave labels without embeddings; the next run with ``--embeddings`` adds those. Vacuum
    removes the embeddings of content that has left the catalog.
    """
    done = [report.run for report in reports if report.outcome == "done" and report.writes_embeddings]
    labels = keys.labels.filter(pc.is_in(keys.labels["run"], pa.array(done, pa.string())))
    newest = keep_newest(keys.tracks, "listed_at")
    newest = newest.filter(newest["present"])
    listed = pa.table({"listed_by": newest["run"]} | {name: newest[name] for name in VERSION_KEY})
    joined = labels.join(listed, list(VERSION_KEY), join_type="inner")
    # A track that left and came back since may have lost its embeddings in between.
    steady = joined.filter(pc.greater_equal(joined["run"], joined["listed_by"]))
    return report_rows(
        "missing embeddings",
        "embeddings",
        "labels of runs with --embeddings without embeddings; the next such run writes them again",
        anti_join(steady, keys.embeddings, ("model", *VERSION_KEY)),
        "track_id",
    )


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
    last = max((report.run for report in done if report.is_full or report.command == "label"), default="")
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
    findings = _find_unlabeled(keys, listing) if listing is not None and not models else []
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


def _find_unlabeled(keys: TableKeys, listing: pa.Table) -> list[Finding]:
    """Find the tracks of the catalog that have not failed, in tables that no run has labeled yet."""
    message = (
        "tracks now in the catalog have no label, since no run has labeled any; run 'earmark run', or "
        "'earmark label' for those that are featurized"
    )
    uris = anti_join(listing.select([*VERSION_KEY, "uri"]), keys.failures)["uri"].to_pylist()
    return report_names("not processed", "labels", message, uris)


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
    if full := [report for report in done if report.is_full]:
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
        if report.outcome == "done" and report.is_full:
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


def read_plan(tables: Tables, report: RunReport) -> pa.Table:
    """Read what a run planned to process: ``track_id``, ``etag``, ``uri``, ``run``; empty without a plan."""
    try:
        data = storage.read_bytes(plan_location(tables, report.run))
    except FileNotFoundError:
        return _STORED_PLAN.empty_table()
    plan = pq.read_table(pa.BufferReader(data), columns=[*VERSION_KEY, "uri"])
    runs = pa.array([report.run] * plan.num_rows, pa.string())
    return plan.append_column("run", runs).cast(_STORED_PLAN)


def read_live_versions(stored: StoredObjects, since: float) -> pa.Table:
    """Read the track versions that were in the catalog at any time since a moment: ``track_id``, ``etag``."""
    tracks = stored.tables.read("tracks", [*VERSION_KEY, "present", "listed_at"])
    moment = pa.scalar(datetime.fromtimestamp(since, UTC), tracks["listed_at"].type)
    recent = pc.greater_equal(tracks["listed_at"], moment)
    rows = pa.concat_tables(
        [keep_newest(tracks.filter(pc.invert(recent)), "listed_at"), tracks.filter(recent)]
    )
    return rows.filter(rows["present"]).select(list(VERSION_KEY))


def read_gone_versions(stored: StoredObjects, since: float) -> pa.Table:
    """Read the track versions that were in the catalog, but not since a moment."""
    # A version that no listing ever named does not count as gone.
    known = stored.tables.read("tracks", list(VERSION_KEY))
    return anti_join(known, read_live_versions(stored, since))


def find_stale_parts(
    stored: StoredObjects, table: str, gone: pa.Table
) -> tuple[list[StoredObject], list[StoredObject]]:
    """Find parts of a table whose rows are all of content that is gone, and parts where some are."""
    parts = stored.parts[table]
    if not gone.num_rows or not parts:
        return [], []
    rows = ChosenParts(stored.tables.root, {table: parts}).read(table, [*VERSION_KEY, "__filename"])
    n_rows, n_stale = _count_rows_by_part(rows), _count_rows_by_part(semi_join(rows, gone))
    root = storage.split(stored.tables.root)[1]
    stale: list[StoredObject] = []
    partly: list[StoredObject] = []
    for part in parts:
        name = f"{root}/{part.path}"
        if name in n_stale:
            (stale if n_stale[name] == n_rows[name] else partly).append(part)
    return stale, partly


def _count_rows_by_part(rows: pa.Table) -> dict[str, int]:
    files = rows["__filename"].cast(pa.string()).value_counts()
    return {str(pair["values"]): pair["counts"].as_py() for pair in files}
