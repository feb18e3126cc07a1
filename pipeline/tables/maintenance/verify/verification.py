"""Verification: whether the tables hold what they promise, each track once and nothing lost."""

from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa

from pipeline.models.bundle import INFO_FILE
from pipeline.storage import storage
from pipeline.tables.kept_models import read_info
from pipeline.tables.maintenance.compact.log import journals
from pipeline.tables.maintenance.verify.accounting import coverage
from pipeline.tables.maintenance.verify.findings import (
    Finding,
    ModelAccount,
    Unchecked,
    Verification,
    name_finding,
)
from pipeline.tables.maintenance.verify.keys import (
    contradictions,
    disagreements,
    doubles,
    read_ledger,
    unknown_runs,
    unknown_tracks,
)
from pipeline.tables.maintenance.verify.label_values import check_labels
from pipeline.tables.maintenance.verify.part_checks import (
    PartFacts,
    journal_findings,
    part_findings,
    read_parts,
    stray_findings,
)
from pipeline.tables.objects import ChosenParts, Inventory, take_inventory
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
    inventory = take_inventory(tables)
    begun, replaced = journal_findings(inventory, journals(tables))
    facts = read_parts(inventory, replaced, deep=deep)
    unchecked = [Unchecked(f.part.path, f.out_of_reach) for f in facts if f.out_of_reach is not None]
    sound = ChosenParts(
        tables.root,
        {table: [fact.part for fact in facts if fact.table == table and fact.sound] for table in PARTITIONS},
    )
    findings = [
        *part_findings(facts),
        *stray_findings(inventory, [report.run for report in reports]),
        *begun,
        *_killed(reports),
    ]
    accounts: list[ModelAccount] = []
    checks = (
        partial(_row_findings, tables, sound, reports, listing, accounts, unchecked),
        partial(_label_findings, sound, inventory, facts, unchecked),
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


def _row_findings(
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
    ledger = read_ledger(sound)
    findings = [*doubles(ledger), *contradictions(ledger, reports), *unknown_runs(ledger, reports)]
    if unchecked:
        return findings
    models, uncovered = coverage(tables, ledger, reports, listing)
    accounts += models
    return [*findings, *uncovered, *disagreements(ledger, reports), *unknown_tracks(ledger)]


def _label_findings(
    tables: Tables, inventory: Inventory, facts: Iterable[PartFacts], unchecked: list[Unchecked]
) -> list[Finding]:
    """What is wrong with the labels of each model, and the models that are not kept beside the tables.

    A model that cannot be read is added to `unchecked`.
    """
    kept = {
        entry.folder.rpartition("/")[2] for entry in inventory.below("_models") if entry.name == INFO_FILE
    }
    findings: list[Finding] = []
    taxonomies = _taxonomies(facts)
    for model, found in sorted(taxonomies.items()):
        genres = min(found, key=lambda names: -len(found[names]))
        if model in kept:
            folder = storage.join(tables.root, "_models", model)
            try:
                genres = read_info(folder).genres
            except StoreError as error:
                unchecked.append(Unchecked(f"_models/{model}", str(error)))
            except MisuseError as error:
                findings.append(Finding("unreadable model", "_models", str(error), 1, (model,)))
        others = [path for names, paths in found.items() if names != genres for path in paths]
        findings += name_finding(
            "wrong genres", "labels", f"parts whose genres are not those of {model}", others
        )
        findings += check_labels(tables, model, genres)
    findings += name_finding(
        "model not kept",
        "labels",
        "models that made labels and are not in _models/: the labels hold, but cannot be made again",
        set(taxonomies) - kept,
        fault=False,
    )
    return findings


def _taxonomies(facts: Iterable[PartFacts]) -> dict[str, dict[tuple[str, ...], list[str]]]:
    """Paths of the parts of ``labels/``, by model and by the genres that they name."""
    found: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for fact in facts:
        if fact.sound and fact.genres is not None:
            model = fact.part.path.split("/")[1].partition("=")[2]
            found.setdefault(model, {}).setdefault(fact.genres, []).append(fact.part.path)
    return found


def _killed(reports: Sequence[RunReport]) -> list[Finding]:
    runs = [report.run for report in reports if report.outcome == "running"]
    return name_finding(
        "killed run", "_runs", "runs that were killed, or are at work; no fault in itself", runs, fault=False
    )
