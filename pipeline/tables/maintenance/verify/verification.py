"""Verification: whether the tables hold what they promise, each track once and nothing lost."""

from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa

from pipeline.models.bundle import INFO_FILE
from pipeline.storage import storage
from pipeline.tables.kept_models import read_kept_info
from pipeline.tables.maintenance.compact.log import read_log
from pipeline.tables.maintenance.verify.accounting import account_for_tracks
from pipeline.tables.maintenance.verify.findings import (
    Finding,
    ModelAccount,
    Unchecked,
    Verification,
    report_names,
)
from pipeline.tables.maintenance.verify.keys import (
    find_contradictions,
    find_duplicates,
    find_report_mismatches,
    find_unknown_runs,
    find_unknown_tracks,
    read_keys,
)
from pipeline.tables.maintenance.verify.label_values import check_labels
from pipeline.tables.maintenance.verify.part_checks import (
    PartFacts,
    find_bad_parts,
    find_killed_compactions,
    find_stray_objects,
    inspect_parts,
)
from pipeline.tables.objects import ChosenParts, StoredObjects, list_objects
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError, StoreError
from schemas.report import RunReport
from schemas.tables import PARTITIONS


def verify(
    tables: Tables,
    reports: Sequence[RunReport],
    *,
    listing: pa.Table | None = None,
    deep: bool = False,
) -> Verification:
    """Check the tables. Nothing is written; what is read are footers, keys, and what labels say.

    Parameters
    ----------
    tables : Tables
        The tables.
    reports : sequence of RunReport
        The reports of all runs, oldest first.
    listing : pyarrow.Table, optional
        The catalog as it is now, schema `schemas.tables.LISTING`: its tracks must be done too.
    deep : bool
        Read all data of all parts, log-mels too, and not the footers alone.

    Raises
    ------
    StoreError
        If the store does not list what there is.
    EarmarkError
        If a plan or journal is damaged.
    """
    stored = list_objects(tables)
    begun, replaced = find_killed_compactions(stored, read_log(tables))
    facts = inspect_parts(stored, replaced, deep=deep)
    unchecked = [Unchecked(f.part.path, f.out_of_reach) for f in facts if f.out_of_reach is not None]
    sound = ChosenParts(
        tables.root,
        {table: [fact.part for fact in facts if fact.table == table and fact.sound] for table in PARTITIONS},
    )
    findings = [
        *find_bad_parts(facts),
        *find_stray_objects(stored, [report.run for report in reports]),
        *begun,
        *_find_killed_runs(reports),
    ]
    accounts: list[ModelAccount] = []
    checks = (
        partial(_check_rows, tables, sound, reports, listing, accounts, unchecked),
        partial(_check_labels, sound, stored, facts, unchecked),
    )
    for check in checks:
        try:
            findings += check()
        except StoreError as error:
            unchecked.append(Unchecked("what the rows say", str(error)))
    return Verification(
        parts=len(facts),
        rows=sum(fact.rows for fact in facts),
        accounts=() if unchecked else tuple(accounts),
        findings=tuple(sorted(findings, key=lambda finding: not finding.fault)),
        unchecked=tuple(unchecked),
    )


def _check_rows(
    tables: Tables,
    sound: Tables,
    reports: Sequence[RunReport],
    listing: pa.Table | None,
    accounts: list[ModelAccount],
    unchecked: Sequence[Unchecked],
) -> list[Finding]:
    """What is wrong with the rows; the models are accounted for in `accounts`.

    Where parts could not be read, only what is there too often is found: what seems to be missing may be in
    them.
    """
    keys = read_keys(sound)
    findings = [
        *find_duplicates(keys),
        *find_contradictions(keys, reports),
        *find_unknown_runs(keys, reports),
    ]
    if unchecked:
        return findings
    models, uncovered = account_for_tracks(tables, keys, reports, listing)
    accounts += models
    return [*findings, *uncovered, *find_report_mismatches(keys, reports), *find_unknown_tracks(keys)]


def _check_labels(
    tables: Tables, stored: StoredObjects, facts: Iterable[PartFacts], unchecked: list[Unchecked]
) -> list[Finding]:
    """What is wrong with the labels of each model, and the models that are not kept beside the tables.

    A model that cannot be read is added to `unchecked`.
    """
    kept = {
        entry.folder.rpartition("/")[2] for entry in stored.below("_models") if entry.name == INFO_FILE
    }
    findings: list[Finding] = []
    taxonomies = _group_by_taxonomy(facts)
    for model, found in sorted(taxonomies.items()):
        genres = min(found, key=lambda names: -len(found[names]))
        if model in kept:
            folder = storage.join(tables.root, "_models", model)
            try:
                genres = read_kept_info(folder).genres
            except StoreError as error:
                unchecked.append(Unchecked(f"_models/{model}", str(error)))
            except MisuseError as error:
                findings.append(Finding("unreadable model", "_models", str(error), 1, (model,)))
        others = [path for names, paths in found.items() if names != genres for path in paths]
        findings += report_names(
            "wrong genres", "labels", f"parts whose genres are not those of {model}", others
        )
        findings += check_labels(tables, model, genres)
    findings += report_names(
        "model not kept",
        "labels",
        "models that made labels and are not in _models/: the labels hold, but cannot be made again",
        set(taxonomies) - kept,
        fault=False,
    )
    return findings


def _group_by_taxonomy(facts: Iterable[PartFacts]) -> dict[str, dict[tuple[str, ...], list[str]]]:
    """Paths of the parts of ``labels/``, by model and by the genres that they name."""
    found: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for fact in facts:
        if fact.sound and fact.genres is not None:
            model = fact.part.path.split("/")[1].partition("=")[2]
            found.setdefault(model, {}).setdefault(fact.genres, []).append(fact.part.path)
    return found


def _find_killed_runs(reports: Sequence[RunReport]) -> list[Finding]:
    runs = [report.run for report in reports if report.outcome == "running"]
    return report_names(
        "killed run", "_runs", "runs that were killed, or are at work; no fault in itself", runs, fault=False
    )
