"""Verification: check that each track is in the tables exactly once and that nothing is lost or damaged."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

import pyarrow as pa

from pipeline.models.bundle import INFO_FILE
from pipeline.storage import storage
from pipeline.tables.current import CURRENT_TRACKS
from pipeline.tables.kept_models import read_kept_info
from pipeline.tables.maintenance.compact.compaction_log import read_log
from pipeline.tables.maintenance.purge.pending import PURGE_FOLDER
from pipeline.tables.maintenance.verify.accounting import account_for_tracks
from pipeline.tables.maintenance.verify.embedding_values import check_vectors, find_missing_embeddings
from pipeline.tables.maintenance.verify.findings import (
    Finding,
    ModelAccount,
    Unchecked,
    Verification,
    report_names,
)
from pipeline.tables.maintenance.verify.index_check import check_index
from pipeline.tables.maintenance.verify.inspection import Inspected, PartFacts, inspect_parts
from pipeline.tables.maintenance.verify.keys import (
    define_runs,
    find_contradictions,
    find_duplicates,
    find_report_mismatches,
    find_segments_without_label,
    find_unknown_runs,
    find_unknown_tracks,
)
from pipeline.tables.maintenance.verify.label_values import check_labels
from pipeline.tables.maintenance.verify.part_checks import (
    find_bad_parts,
    find_killed_compactions,
    find_stray_objects,
)
from pipeline.tables.maintenance.verify.rows import Rows, open_rows
from pipeline.tables.objects import ChosenParts, StoredObject, StoredObjects, list_objects, partition_values
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError, StoreError
from schemas.report import RunReport


def verify(
    tables: Tables,
    reports: Sequence[RunReport],
    *,
    listing: pa.Table | None = None,
    deep: bool = False,
) -> Verification:
    """Check the tables. Read footers, keys and label values; write nothing.

    Parameters
    ----------
    tables : Tables
        The tables.
    reports : sequence of RunReport
        The reports of all runs, oldest first.
    listing : pyarrow.Table, optional
        The catalog as it is now, with schema `schemas.tables.LISTING`: its tracks must have been processed
        too.
    deep : bool
        Read all data of all parts, including log-mels, not only the footers.

    Raises
    ------
    StoreError
        If the store cannot list the objects.
    EarmarkError
        If a plan or an entry of the compaction log is damaged.
    """
    stored = list_objects(tables)
    begun, replaced = find_killed_compactions(stored, read_log(tables))
    with open_rows(stored) as rows:
        facts = _load_parts(rows, inspect_parts(stored, replaced, deep=deep))
        unchecked = [Unchecked(f.part.path, f.unreadable) for f in facts if f.unreadable is not None]
        findings = [
            *find_bad_parts(facts),
            *find_stray_objects(stored, [report.run for report in reports]),
            *begun,
            *_find_killed_runs(reports),
            *_find_killed_purge(stored),
        ]
        accounts: list[ModelAccount] = []
        checks = (
            partial(_check_rows, rows, reports, listing, accounts, unchecked),
            partial(_check_labels, stored, facts, unchecked),
            partial(_check_vectors, stored, facts),
            partial(check_index, rows),
        )
        for check in checks:
            try:
                findings += check()
            except StoreError as error:
                unchecked.append(Unchecked("the rows of the tables", str(error)))
    return Verification(
        parts=len(facts),
        rows=sum(fact.rows for fact in facts),
        accounts=() if unchecked else tuple(accounts),
        findings=tuple(sorted(findings, key=lambda finding: not finding.fault)),
        unchecked=tuple(unchecked),
    )


def _load_parts(rows: Rows, inspected: Iterable[Inspected]) -> list[PartFacts]:
    facts: list[PartFacts] = []
    for table, of_table in groupby(inspected, key=lambda each: each[0].table):
        rows.add(table, _keys_of(of_table, facts))
    return facts


def _keys_of(inspected: Iterable[Inspected], facts: list[PartFacts]) -> Iterator[tuple[str, pa.Table]]:
    """Append the facts of parts to `facts`, and yield the paths and the keys of the sound ones."""
    for fact, keys in inspected:
        facts.append(fact)
        if keys is not None:
            yield fact.part.path, keys


def _check_rows(
    rows: Rows,
    reports: Sequence[RunReport],
    listing: pa.Table | None,
    accounts: list[ModelAccount],
    unchecked: Sequence[Unchecked],
) -> list[Finding]:
    """Find faults in the rows, and append the accounting of each model to `accounts`.

    If some parts could not be read, look only for duplicates: rows that seem to be missing may be in those
    parts.
    """
    define_runs(rows, reports)
    findings = [
        *find_duplicates(rows),
        *find_contradictions(rows, reports),
        *find_unknown_runs(rows),
    ]
    if unchecked:
        return findings
    rows.define("current_tracks", CURRENT_TRACKS)
    models, missing = account_for_tracks(rows, reports, listing)
    accounts += models
    return [
        *findings,
        *missing,
        *find_missing_embeddings(rows, reports),
        *find_report_mismatches(rows, reports),
        *find_unknown_tracks(rows),
        *find_segments_without_label(rows),
    ]


def _check_labels(
    stored: StoredObjects, facts: Sequence[PartFacts], unchecked: list[Unchecked]
) -> list[Finding]:
    """Find faults in the labels of each model, and models that are not kept next to the tables.

    Models that cannot be read are appended to `unchecked`.
    """
    root = stored.tables.root
    kept = {entry.folder.rpartition("/")[2] for entry in stored.below("_models") if entry.name == INFO_FILE}
    findings: list[Finding] = []
    taxonomies = _group_by_taxonomy(facts)
    for model, found in sorted(taxonomies.items()):
        genres = min(found, key=lambda names: -len(found[names]))
        if model in kept:
            try:
                genres = read_kept_info(storage.join(root, "_models", model)).genres
            except StoreError as error:
                unchecked.append(Unchecked(f"_models/{model}", str(error)))
            except MisuseError as error:
                findings.append(Finding("unreadable model", "_models", str(error), 1, (model,)))
        others = [fact.part for names, held in found.items() if names != genres for fact in held]
        findings += report_names(
            "wrong genres",
            "labels",
            f"parts whose genres differ from those of {model}",
            [part.path for part in others],
        )
        suspect = [fact.part for fact in found.get(genres, ()) if fact.suspect]
        if suspect or others:
            findings += check_labels(ChosenParts(root, {"labels": suspect + others}), model, genres)
    findings += report_names(
        "model not kept",
        "labels",
        "models that made labels but are not in _models/: the labels are valid but cannot be reproduced",
        set(taxonomies) - kept,
        fault=False,
    )
    return findings


def _check_vectors(stored: StoredObjects, facts: Iterable[PartFacts]) -> list[Finding]:
    """Find faults in the embeddings; only parts that seem to have some are read again."""
    lengths: dict[str, int] = {}
    suspect: list[StoredObject] = []
    for fact in facts:
        if fact.sound and fact.vector_length is not None:
            model = partition_values(fact.part)["model"]
            if fact.vector_length:
                lengths.setdefault(model, fact.vector_length)
            if fact.suspect or fact.vector_length != lengths[model]:
                suspect.append(fact.part)
    if not suspect:
        return []
    return check_vectors(ChosenParts(stored.tables.root, {"embeddings": suspect}), lengths)


def _group_by_taxonomy(facts: Iterable[PartFacts]) -> dict[str, dict[tuple[str, ...], list[PartFacts]]]:
    """Group the sound parts of ``labels/`` by model and by the genres in their metadata."""
    found: dict[str, dict[tuple[str, ...], list[PartFacts]]] = {}
    for fact in facts:
        if fact.sound and fact.genres is not None:
            model = partition_values(fact.part)["model"]
            found.setdefault(model, {}).setdefault(fact.genres, []).append(fact)
    return found


def _find_killed_purge(stored: StoredObjects) -> list[Finding]:
    message = (
        "a purge was killed or is still going on, so traces may be left, and reports may differ from the "
        "tables; the next 'earmark purge' with --delete finishes it first"
    )
    paths = [entry.path for entry in stored.below(PURGE_FOLDER)]
    return report_names("killed purge", PURGE_FOLDER, message, paths, passing=True)


def _find_killed_runs(reports: Sequence[RunReport]) -> list[Finding]:
    runs = [report.run for report in reports if report.outcome == "running"]
    return report_names(
        "killed run", "_runs", "runs that were killed or are still running; not a fault", runs, fault=False
    )
