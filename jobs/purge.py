"""``earmark purge``: remove every trace of some tracks, under the lease."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.console.messages import Say
from jobs.maintaining import maintaining
from pipeline.catalogs.catalog import canonical
from pipeline.pages.run_page_writer import rewrite_page, write_page
from pipeline.storage import storage
from pipeline.tables.index import update_index
from pipeline.tables.maintenance.purge.pending import PendingPurge, read_pending
from pipeline.tables.maintenance.purge.purge import PurgedFrom, begin, carry_out, plan_purge
from pipeline.tables.maintenance.purge.selection import (
    NamedTracks,
    PurgeRequest,
    TracesInTables,
    find_named_tracks,
    find_traces,
)
from pipeline.tables.objects import StoredObjects, list_objects
from pipeline.tables.runs import read_reports, runs_folder
from pipeline.tables.tables import Tables
from pipeline.tables.track_vectors import remove_copies
from schemas.report import RunReport


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What a purge removed, or would remove.

    Attributes
    ----------
    tracks : int
        Tracks that the tables have or had rows of.
    unknown : tuple of str
        Ids and URIs of the request that no row has.
    places : list of PurgedFrom
        What was removed where.
    shared, not_meant : dict of str to frozenset of str
        See `pipeline.tables.maintenance.purge.selection.NamedTracks`.
    finished_earlier : bool
        Whether a purge that was killed was finished first.
    """

    tracks: int
    unknown: tuple[str, ...]
    places: list[PurgedFrom]
    shared: dict[str, frozenset[str]]
    not_meant: dict[str, frozenset[str]]
    finished_earlier: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What a request means: the locations that each of its URIs may stand for, and the rows."""

    request: PurgeRequest
    locations: Mapping[str, frozenset[str]]
    named: NamedTracks
    traces: TracesInTables

    def result(self, places: list[PurgedFrom], finished_earlier: bool = False) -> PurgeResult:
        ids, uris = self.traces.found_ids, self.traces.found_uris
        named = self.request.track_ids | self.request.uris
        unknown = (each for each in named if each not in ids and not uris & self.locations.get(each, set()))
        shared, not_meant = self.named.shared, self.named.not_meant
        return PurgeResult(len(ids), tuple(sorted(unknown)), places, shared, not_meant, finished_earlier)


def purge_job(tables: Tables, request: PurgeRequest, *, delete: bool, say: Say) -> PurgeResult:
    """Find every trace of some tracks; with `delete`, remove it under the lease.

    Parameters
    ----------
    tables : Tables
        The tables.
    request : PurgeRequest
        The tracks.
    delete : bool
        Remove the traces instead of only counting them.
    say : callable
        Prints a message for the user.

    Raises
    ------
    LeaseHeldError
        If a run holds the lease.
    EarmarkError
        If the store fails, or a part is damaged; the same command then goes on.
    """
    if not delete:
        if read_pending(tables) is not None:
            say("an earlier purge was killed; the next one with --delete finishes it first")
        stored = list_objects(tables)
        found = _find(stored, request, read_reports(tables))
        return found.result(plan_purge(stored, found.traces))
    with maintaining(tables, "purge", say) as lease:
        pending = read_pending(tables)
        if pending is not None:
            say("finishing a purge that was killed")
            _carry_out(tables, pending, read_reports(tables), lease.check)
        stored, reports = list_objects(tables), read_reports(tables)
        found = _find(stored, request, reports)
        places = plan_purge(stored, found.traces)
        if places:
            begun = begin(stored, found.traces, reports, lease.check)
            _carry_out(tables, begun, reports, lease.check)
        if places or pending is not None:
            update_index(tables, lease.check)
    return found.result(places, pending is not None)


def _find(stored: StoredObjects, request: PurgeRequest, reports: Sequence[RunReport]) -> _Found:
    """Find the traces of a request."""
    catalogs = {report.catalog for report in reports}
    locations = {uri: _locations(uri, catalogs) for uri in request.uris}
    named = find_named_tracks(stored, replace(request, uris=frozenset[str]().union(*locations.values())))
    # Reports and logs are searched for these: of a path, only for the location that rows have.
    known = (each for uri, each in locations.items() if not storage.is_relative(uri))
    traces = find_traces(stored, named.track_ids, frozenset[str]().union(*known))
    return _Found(request, locations, named, traces)


def _locations(uri: str, catalogs: Collection[str]) -> frozenset[str]:
    """Return where a track may be: at the URI as it is, as tables record it, or below a catalog."""
    places = {storage.local_uri(uri), canonical(uri)}
    if storage.is_relative(uri):
        for protocol, folder in map(storage.split, catalogs):
            if protocol == "file":
                places.add(storage.local_uri(storage.join(folder, uri)))
            elif uri in places:  # otherwise it is not UTF-8, as all keys of stores are
                places.add(storage.join(f"{protocol}://{folder}", uri))
    return frozenset(places)


def _carry_out(
    tables: Tables, pending: PendingPurge, reports: Sequence[RunReport], check: storage.Check
) -> None:
    runs = [report.run for report in reports]
    with storage.explain_errors(tables.root, "list the pages of"):
        pages = set(storage.list_names(runs_folder(tables)))

    def rewrite(report: RunReport) -> None:
        if f"{report.run}.html" in pages:
            write_page(tables, report, reports[: runs.index(report.run)])

    carry_out(tables, pending, reports, check, rewrite)
    remove_copies(tables)
    if any(name.endswith(".html") for name in pages):
        rewrite_page(tables, None, None)  # and with it the list of runs
