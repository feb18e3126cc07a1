"""Reading what runs say of themselves in ``_runs/``."""

from pydantic import ValidationError

from pipeline.storage import storage
from pipeline.storage.parsed import read_parsed
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError
from schemas.report import RunReport


def read_reports(tables: Tables, *, last: int | None = None) -> list[RunReport]:
    """The reports of all runs, or of the last ones, oldest first.

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
                    f"{folder}/{name} cannot be read as a run report ({where}: {first['msg']}); upgrade "
                    "Earmark if a newer one wrote it, else move it away"
                ) from error
    return reports
