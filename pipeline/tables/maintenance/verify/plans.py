"""What runs planned to process, as each run writes it in ``_runs/`` before it begins."""

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.tables.maintenance.verify.rows import Rows
from pipeline.tables.runs import plan_location
from pipeline.tables.tables import VERSION_KEY, is_damage
from schemas.errors import EarmarkError
from schemas.report import RunReport

_COLUMNS = [*VERSION_KEY, "uri"]
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])


def load_plan(rows: Rows, report: RunReport) -> None:
    """Make ``plan`` a table of what a run planned to process; it stays empty without a plan.

    Raises
    ------
    EarmarkError
        If the plan cannot be read.
    """

    def load(data: bytes) -> None:
        rows.create("plan", _SCHEMA)
        with pq.ParquetFile(arrow_buffer(data)) as file:
            for batch in file.iter_batches(columns=_COLUMNS):
                rows.append("plan", pa.Table.from_batches([batch]))

    location = plan_location(rows.stored.tables, report.run)
    with storage.explain_errors(location, "read"):
        try:
            read_and_parse(location, load)
        except FileNotFoundError:
            rows.create("plan", _SCHEMA)
        except Exception as error:
            if not is_damage(error):
                raise
            message = f"the plan {location} is damaged ({error}); move it out of the folder"
            raise EarmarkError(message) from error
