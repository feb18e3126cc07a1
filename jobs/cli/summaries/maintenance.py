"""What the maintenance commands print: verify, compact, vacuum."""

from collections.abc import Collection, Mapping, Sequence

from jobs.compact import CompactedTable
from jobs.console.output import console, print_table
from jobs.purge import PurgeResult
from pipeline.formatting import count_text, size_text
from pipeline.tables.maintenance.compact.compaction import TableCompaction
from pipeline.tables.maintenance.vacuum import Removal
from pipeline.tables.maintenance.verify.findings import (
    EXAMPLES,
    Finding,
    ModelAccount,
    Unchecked,
    Verification,
)

_PRINTED_TAGS = 50
_DUPLICATE_KINDS = {"duplicate", "duplicated by compaction"}


def print_verification(verification: Verification) -> None:
    """Print a verification as text: the account of the tracks, then the findings."""
    for account in verification.accounts:
        prefix = f"{account.model}: " if len(verification.accounts) > 1 else ""
        console.print(prefix + _account_text(account, verification))
    console.print(f"{count_text(verification.parts, 'part')}, {count_text(verification.rows, 'row')}")
    for finding in verification.findings:
        _print_finding(finding)
    _print_unchecked(verification.unchecked)


def _print_finding(finding: Finding) -> None:
    word = "FAULT" if finding.fault else "note"
    console.print()
    console.print(f"{word} {finding.kind}, {finding.table}: {finding.count:,}")
    console.print(f"    {finding.message}")
    for example in finding.examples:
        console.print(f"      {example}")
    if finding.count > len(finding.examples):
        console.print("      …")


def _print_unchecked(unchecked: Sequence[Unchecked]) -> None:
    """Print what could not be read, by reason."""
    reasons: dict[str, list[str]] = {}
    for each in unchecked:
        reasons.setdefault(each.reason, []).append(each.path)
    for reason, paths in reasons.items():
        console.print()
        console.print(f"COULD NOT BE CHECKED: {len(paths):,} objects, because {reason}")
        for path in paths[:EXAMPLES]:
            console.print(f"      {path}")
        if len(paths) > EXAMPLES:
            console.print("      …")
    if unchecked:
        console.print()
        console.print("They may be intact: leave them as they are, and run verify again")


def _account_text(account: ModelAccount, verification: Verification) -> str:
    words = [f"{account.labeled:,} labeled", f"{account.failed:,} failed"]
    if account.unseen:
        words.append(f"{account.unseen:,} not yet seen by this model")
    words.append(f"{account.missing:,} missing" if account.missing else "none missing")
    twice = sum(finding.count for finding in verification.findings if finding.kind in _DUPLICATE_KINDS)
    words.append(f"{twice:,} duplicated" if twice else "none duplicated")
    return f"{count_text(account.tracks, 'track')}: " + ", ".join(words)


def print_compaction_plan(plans: Sequence[TableCompaction]) -> None:
    """Print what `compact` would merge."""
    work = [plan for plan in plans if plan.groups]
    if not work:
        console.print("nothing to merge; parts younger than --older-than are left alone")
        return
    print_table(
        ("table", "partitions", "parts", "to merge", "size"),
        [
            (plan.table, f"{len(plan.groups):,}", f"{plan.parts:,}", f"{plan.small:,}", size_text(plan.size))
            for plan in work
        ],
    )
    console.print("nothing was written (--dry-run)")


def print_compacted(tables: Sequence[CompactedTable]) -> None:
    """Print what `compact` did."""
    done = [table for table in tables if table.parts_after != table.parts_before]
    if not done:
        console.print("nothing to merge; parts younger than --older-than are left alone")
        return
    print_table(
        ("table", "partitions", "parts", "parts now", "size", "size now"),
        [
            (
                table.table,
                f"{table.partitions:,}",
                f"{table.parts_before:,}",
                f"{table.parts_after:,}",
                size_text(table.bytes_before),
                size_text(table.bytes_after),
            )
            for table in done
        ],
    )


def print_removals(removals: Sequence[Removal], *, deleted: bool) -> None:
    """Print what `vacuum` found or removed."""
    if not removals:
        console.print("nothing to remove")
        return
    total = ("total", sum(len(removal.objects) for removal in removals), sum(r.size for r in removals))
    rows = [*((removal.kind, len(removal.objects), removal.size) for removal in removals), total]
    print_table(("kind", "objects", "size"), [(kind, f"{n:,}", size_text(size)) for kind, n, size in rows])
    if not deleted:
        console.print("nothing was removed; add --delete to remove these objects")


def print_purge(result: PurgeResult, *, deleted: bool) -> None:
    """Print what `purge` found or removed, and what it cannot reach."""
    if result.unknown:
        console.print(f"not in the tables: {len(result.unknown):,} of the names, such as {result.unknown[0]}")
    if result.not_meant:
        others = _count_tracks(result.not_meant)
        console.print(
            f"not purged: {others} whose artist tag is longer; purge them by the whole tag, or --uri:"
        )
        _print_artists(result.not_meant)
    if not result.places:
        console.print("nothing to purge" + (" after the earlier purge" if result.finished_earlier else ""))
        return
    console.print(count_text(result.tracks, "track"))
    if result.shared:
        console.print(f"{_count_tracks(result.shared)} of these by several artists:")
        _print_artists(result.shared)
    print_table(
        ("place", "removed" if deleted else "to remove", "objects"),
        [(each.place, f"{each.removed:,}", f"{each.objects:,}") for each in result.places],
    )
    if not deleted:
        console.print("nothing was removed; add --delete to remove these traces for good")
    console.print(
        "The next run labels these tracks again if their files are still in the catalog. Out of reach are "
        "copies elsewhere: published tables (delete a Delta table, whose log names tracks, and publish "
        "again), exports, playlists, tags in files, backups, old versions of objects, and what "
        "'earmark similar' keeps for other users"
    )


def _count_tracks(by_tag: Mapping[str, Collection[str]]) -> str:
    return count_text(len(set().union(*by_tag.values())), "track")


def _print_artists(by_tag: Mapping[str, Collection[str]]) -> None:
    """Print artist tags, those of most tracks first."""
    most = sorted(by_tag, key=lambda tag: (-len(by_tag[tag]), tag))
    for tag in most[:_PRINTED_TAGS]:
        console.print(f"      {tag}: {len(by_tag[tag]):,}")
    if len(most) > _PRINTED_TAGS:
        console.print(f"      and {len(most) - _PRINTED_TAGS:,} more")
