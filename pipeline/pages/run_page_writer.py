"""Writing the pages in ``_runs/`` next to the reports; `pipeline.pages.run_page` renders them."""

from collections.abc import Callable, Sequence

from pipeline.formatting import command_text
from pipeline.pages.run_page import INDEX, render_run_list, render_run_page
from pipeline.storage import storage
from pipeline.tables.runs import read_reports, runs_folder
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError
from schemas.report import RunReport

_LISTED = 30
"""Runs in the list, and runs to search for the previous one with the same model."""


class RunPageWriter:
    """Writes the page of a run while it is in progress. A page that cannot be written never stops the run.

    Parameters
    ----------
    tables : Tables
        The tables.
    say : callable
        Called with a message if a page cannot be written.
    """

    def __init__(self, tables: Tables, say: Callable[[str], None]) -> None:
        self._tables = tables
        self._say = say
        self._earlier: list[RunReport] | None = None

    def write(self, report: RunReport) -> None:
        """Write the page of a run and the list of runs."""
        try:
            if self._earlier is None:
                known = read_reports(self._tables, last=_LISTED)
                self._earlier = [other for other in known if other.run < report.run]
            write_page(self._tables, report, self._earlier)
        except Exception as error:  # the run matters more than its page
            self._say(
                f"the page of the run could not be written ({storage.reason(error)}); "
                f"run '{command_text('report', self._tables.root)}' to write it"
            )


def write_page(tables: Tables, report: RunReport, earlier: Sequence[RunReport]) -> str:
    """Write the page of a run and the list of runs, and return the location of the page.

    Parameters
    ----------
    tables : Tables
        The tables.
    report : RunReport
        The run.
    earlier : sequence of RunReport
        Earlier runs, oldest first.

    Raises
    ------
    EarmarkError
        If the store refuses the write.
    """
    folder = runs_folder(tables)
    with storage.explain_errors(folder, "write the page of the run in"):
        linked = storage.list_names(folder)
        location = storage.join(folder, f"{report.run}.html")
        storage.write_bytes(location, render_run_page(report, earlier, linked=linked).encode())
        linked.append(f"{report.run}.html")
        index = render_run_list([*earlier, report][-_LISTED:], linked)
        storage.write_bytes(storage.join(folder, INDEX), index.encode())
    return location


def rewrite_page(tables: Tables, run: str | None, out: str | None) -> str:
    """Write the page of a run again from its report.

    Parameters
    ----------
    tables : Tables
        The tables.
    run : str or None
        Name of the run; None for the latest one.
    out : str or None
        Where to write the page; None to write it next to the report and update the list of runs.

    Returns
    -------
    str
        Location of the page.

    Raises
    ------
    MisuseError
        If there is no such run.
    """
    reports = read_reports(tables)
    names = [report.run for report in reports]
    if run is not None and run not in names:
        raise MisuseError(
            f"{tables.root} has no run '{run}'; "
            f"'{command_text('report', tables.root, '--list')}' lists the runs"
        )
    at = len(names) - 1 if run is None else names.index(run)
    if out is None:
        location = write_page(tables, reports[at], reports[max(0, at - _LISTED) : at])
        if at < len(reports) - 1:  # the list shows the latest runs, not those up to this one
            _write_index(tables, reports[-_LISTED:])
        return location
    with storage.explain_errors(out, "write the page to"):
        storage.write_bytes(out, render_run_page(reports[at], reports[:at], linked=()).encode())
    return out


def _write_index(tables: Tables, reports: Sequence[RunReport]) -> None:
    folder = runs_folder(tables)
    with storage.explain_errors(folder, "write the list of runs in"):
        page = render_run_list(reports, storage.list_names(folder))
        storage.write_bytes(storage.join(folder, INDEX), page.encode())
