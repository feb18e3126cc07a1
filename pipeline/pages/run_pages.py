"""Writing the pages of ``_runs/`` beside the reports; `pipeline.pages.report_page` says what is on them."""

from collections.abc import Callable, Sequence

from pipeline.pages.report_page import INDEX, index_page, run_page
from pipeline.storage import storage
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError
from schemas.report import RunReport

_LISTED = 30
"""Runs that the list shows, and among which the one before is looked for."""


class RunPages:
    """Writes the pages of a run while it lives. No page that cannot be written stops a run.

    Parameters
    ----------
    tables : Tables
        The tables.
    say : callable
        Gets a sentence where a page cannot be written.
    """

    def __init__(self, tables: Tables, say: Callable[[str], None]) -> None:
        self._tables = tables
        self._say = say
        self._earlier: list[RunReport] | None = None

    def write(self, report: RunReport) -> None:
        """Write the page of the run and the list of runs."""
        try:
            if self._earlier is None:
                known = read_reports(self._tables, last=_LISTED)
                self._earlier = [other for other in known if other.run < report.run]
            write_page(self._tables, report, self._earlier)
        except Exception as error:  # the run is worth more than its page
            self._say(
                f"the page of the run could not be written ({storage.reason(error)}); "
                f"'earmark report {self._tables.root}' makes it again"
            )


def write_page(tables: Tables, report: RunReport, earlier: Sequence[RunReport]) -> str:
    """Write the page of a run, and the list of runs; give the page's location.

    Parameters
    ----------
    tables : Tables
        The tables.
    report : RunReport
        The run.
    earlier : sequence of RunReport
        Runs before it, oldest first.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    folder = storage.join(tables.root, "_runs")
    with storage.explain_errors(folder, "write the page of the run in"):
        linked = storage.list_names(folder)
        location = storage.join(folder, f"{report.run}.html")
        storage.write_bytes(location, run_page(report, earlier, linked=linked).encode())
        linked.append(f"{report.run}.html")
        index = index_page([*earlier, report][-_LISTED:], linked)
        storage.write_bytes(storage.join(folder, INDEX), index.encode())
    return location


def rewrite_page(tables: Tables, run: str | None, out: str | None) -> str:
    """Make the page of a run again from its report.

    Parameters
    ----------
    tables : Tables
        The tables.
    run : str or None
        The run; None: the last one.
    out : str or None
        Where to; None: beside the report, and the list of runs with it.

    Returns
    -------
    str
        Where the page is.

    Raises
    ------
    MisuseError
        If there is no such run.
    """
    reports = read_reports(tables)
    names = [report.run for report in reports]
    if run is not None and run not in names:
        raise MisuseError(
            f"{tables.root} has no run '{run}'; 'earmark report {tables.root} --list' lists the runs"
        )
    at = len(names) - 1 if run is None else names.index(run)
    if out is None:
        location = write_page(tables, reports[at], reports[max(0, at - _LISTED) : at])
        if at < len(reports) - 1:  # the list is of the last runs, not of those up to this one
            _write_index(tables, reports[-_LISTED:])
        return location
    with storage.explain_errors(out, "write the page to"):
        storage.write_bytes(out, run_page(reports[at], reports[:at], linked=()).encode())
    return out


def _write_index(tables: Tables, reports: Sequence[RunReport]) -> None:
    folder = storage.join(tables.root, "_runs")
    with storage.explain_errors(folder, "write the list of runs in"):
        page = index_page(reports, storage.list_names(folder))
        storage.write_bytes(storage.join(folder, INDEX), page.encode())
