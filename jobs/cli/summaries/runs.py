"""What scans and runs print when they are done."""

from typing import TYPE_CHECKING

from jobs.cli.summaries.publish import print_publication
from jobs.console.output import console, print_table
from pipeline.formatting import command_text, count_text, directions_text, left_out_text, size_text
from pipeline.storage import storage
from schemas.report import LeftOut, RunReport

if TYPE_CHECKING:
    from jobs.run.request import Command
    from jobs.scan import FormatCount, Scan
    from pipeline.catalogs.planning import Plan


def print_scan(scan: "Scan") -> None:
    """Print the summary of a catalog."""
    counts = scan.formats
    rows = [
        (count.extension, f"{count.n_files:,}", f"{count.n_empty:,}", size_text(count.size), _hours(count))
        for count in counts
    ]
    known = [count.hours for count in counts if count.hours is not None]
    # A total that lacks some files is a lower bound, even if other files were estimated.
    is_least = any(count.n_unknown and not (count.estimated and count.hours is not None) for count in counts)
    about = "≥ " if is_least else "≈ " if any(count.estimated for count in counts) else ""
    total = (
        "total",
        f"{sum(count.n_files for count in counts):,}",
        f"{sum(count.n_empty for count in counts):,}",
        size_text(sum(count.size for count in counts)),
        f"{about}{sum(known):,.2f}" if known else "?",
    )
    print_table(("format", "files", "empty", "size", "hours"), [*rows, total])
    if n_unknown := sum(count.n_unknown for count in counts):
        files = "file has" if n_unknown == 1 else "files have"
        console.print(f"{n_unknown:,} {files} no length in the header; the hours cover the other files")
    if scan.n_not_readable:
        console.print(f"{count_text(scan.n_not_readable, 'file')} cannot be found or read")
    print_left_out(scan.left_out)


def _hours(count: "FormatCount") -> str:
    if count.hours is None:
        return "?"
    about = "≈ " if count.estimated else "≥ " if count.n_unknown else ""
    return f"{about}{count.hours:,.2f}"


def print_report(report: RunReport, tables: str) -> None:
    """Print the outcome of a run."""
    counts = report.counts
    before = []
    if counts.labeled_before:
        before.append(f"{counts.labeled_before:,} already done")
    if counts.failed_before:
        before.append(f"{counts.failed_before:,} failed in earlier runs, not retried")
    if not (counts.labeled or counts.embedded or counts.failed or counts.left):
        listed = f"{count_text(counts.listed, 'track')} listed"
        console.print(f"nothing to do: {', '.join([listed, *before])}")
        print_left_out(report.left_out)
        _print_gone(report)
        _print_requests(report)
        _print_afterwards(report)
        return
    verb = "featurized" if report.command == "featurize" else "labeled"
    now = [f"{counts.labeled:,} {verb}"]
    now += [f"{counts.embedded:,} labeled before and embedded"] if counts.embedded else []
    now += [f"{counts.failed:,} failed"]
    console.print(f"{count_text(counts.listed, 'track')} listed: {', '.join(now + before)}")
    if counts.left:
        console.print(f"{count_text(counts.left, 'track')} remaining; run the same command again to continue")
    print_left_out(report.left_out)
    _print_gone(report)
    if report.tracks_per_hour:
        console.print(f"{report.wall_s:,.1f} s, {report.tracks_per_hour:,.0f} tracks per hour")
    if report.genres:
        console.print("genres: " + ", ".join(f"{genre} {n:,}" for genre, n in report.genres.items()))
    if report.rejected:
        console.print(f"without a genre (no music, silent, or below --min-confidence): {report.rejected:,}")
    if report.failures:
        reasons = ", ".join(f"{kind} {n:,}" for kind, n in report.failures.items())
        console.print(f"failures: {reasons} ({command_text('failures', tables)})")
    _print_requests(report)
    _print_afterwards(report)
    if report.command != "featurize":
        console.print(f"labels: {storage.join(tables, 'labels')} ({command_text('labels', tables)})")


def _print_gone(report: RunReport) -> None:
    if report.counts.gone:
        console.print(f"removed from the catalog, and so from the current labels: {report.counts.gone:,}")


def _print_requests(report: RunReport) -> None:
    if report.requests:
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in report.requests.items())
        console.print(f"requests to the store: {kinds}")
    if report.store_bytes:
        console.print(f"data from and to the store: {directions_text(report.store_bytes)}")


def _print_afterwards(report: RunReport) -> None:
    if report.removed_features_bytes:
        console.print(f"features of labeled tracks removed: {size_text(report.removed_features_bytes)}")
    if report.publication is not None and report.publication.error is None:
        print_publication(report.publication)


def print_left_out(left_out: LeftOut) -> None:
    """Print which files of a catalog are no tracks, if there are any."""
    if left_out.total:
        console.print(left_out_text(left_out))


def print_plan(command: "Command", plan: "Plan", left_out: LeftOut) -> None:
    """Print the plan of a run."""
    done = "featurized" if command == "featurize" else "labeled"
    console.print(f"{count_text(plan.listing.num_rows, 'track')} listed")
    print_left_out(left_out)
    rows = (
        (
            f"already {done}" if plan.to_embed.num_rows == 0 else f"already {done} and embedded",
            plan.n_labeled,
        ),
        ("failed in earlier runs, not retried", plan.n_failed),
        ("to featurize", plan.to_featurize.num_rows),
        *(
            [("… labeled before, by this or another model, but features not stored", plan.n_again)]
            if plan.n_again
            else []
        ),
        ("to label from stored features", plan.to_label.num_rows),
        *([("… only to embed", plan.to_embed.num_rows)] if plan.to_embed.num_rows else []),
        ("removed from the catalog", plan.gone.num_rows),
    )
    for name, count in rows:
        console.print(f"  {count:>12,} {name}")
    console.print("nothing was written (--dry-run)")
