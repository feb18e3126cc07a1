"""Reading run reports from ``_runs/``."""

from pydantic import ValidationError

from pipeline.storage import storage
from pipeline.storage.parsed import read_parsed
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError
from schemas.report import RunReport


def read_reports(tables: Tables, *, last: int | None = None) -> list[RunReport]:
    """Read the reports of all runs, or of the `last` ones, oldest first.

    Raises
    ------
    EarmarkError
        If a report cannot be read.
    """
    folder = storage.join(tables.root, "_runs")
    with storage.explain_errors(folder, "read the run reports in"):
        names = [name for name in storage.list_names(folder) if name.endswith(".json")]
        reports = []
        for name in names[-last:] if last else names:
            try:
                reports.append(read_parsed(storage.join(folder, name), RunReport.model_validate_json))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "the file"
                raise EarmarkError(
                    f"{folder}/{name} is not a valid run report ({where}: {first['msg']}); upgrade Earmark "
                    "if a newer version wrote it, otherwise move it out of the folder"
                ) from error
    return reports
