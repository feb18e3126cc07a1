"""Checks of the index: a key file must hold the keys of each part that it names in its present version."""

import numpy as np
import pyarrow as pa

from pipeline.tables.key_files import INDEX_FOLDER, KeyFile, open_key_files
from pipeline.tables.keys import KEY_COLUMNS, from_file
from pipeline.tables.maintenance.verify.findings import Finding, report_names
from pipeline.tables.maintenance.verify.rows import Rows, code_parts

_DIFFERENT = """\
SELECT named.part
FROM named
LEFT JOIN ({codes}) AS copied ON copied.part = named.number
LEFT JOIN (
    SELECT part, sum(rows) AS rows, sum(code) AS code FROM codes_{table} GROUP BY part
) AS codes ON codes.part = named.part
WHERE copied.rows IS DISTINCT FROM codes.rows OR copied.code IS DISTINCT FROM codes.code
"""


def check_index(rows: Rows) -> list[Finding]:
    """Find parts whose keys the index holds wrongly, and key files that are ignored.

    Parameters
    ----------
    rows : Rows
        The keys of the parts, as they are in the parts themselves.
    """
    wrong: list[str] = []
    ignored: list[str] = []
    for table in KEY_COLUMNS:
        parts = rows.stored.parts[table]
        present = {(part.path, part.version) for part in parts}
        files, damaged = open_key_files(rows.stored, table, KEY_COLUMNS[table], rows.scratch, lambda: None)
        ignored += [entry.path for entry in damaged]
        for file in files:
            if present.isdisjoint(file.parts):
                ignored.append(file.entry.path)
            else:
                numbers = _find_different(rows, table, file)
                wrong += [f"{file.entry.path}: {parts[number].path}" for number in numbers]
    return [
        *report_names(
            "wrong index",
            INDEX_FOLDER,
            "parts of which the index holds other keys than they have, so that runs may leave tracks out or "
            f"process them again; remove {INDEX_FOLDER}/, which the next run builds anew",
            wrong,
        ),
        *report_names(
            "ignored index",
            INDEX_FOLDER,
            "key files that are damaged, or whose parts have all been replaced or copied since: nothing "
            "reads them, and the next run with new tracks removes them",
            ignored,
            fault=False,
        ),
    ]


def _find_different(rows: Rows, table: str, file: KeyFile) -> list[int]:
    """Return the numbers of the sound parts of which a key file holds other keys in their present version."""
    number_of = {
        (part.path, part.version): number
        for number, part in enumerate(rows.stored.parts[table])
        if number in rows.loaded[table]
    }
    pairs = [(at, number_of[named]) for at, named in enumerate(file.parts) if named in number_of]
    columns = np.array(pairs, np.int32).reshape(-1, 2).T
    rows.register("named", pa.table(dict(zip(("number", "part"), map(pa.array, columns), strict=True))))
    codes = code_parts(table, from_file(file.path))
    return [
        int(number) for number in rows.query(_DIFFERENT.format(codes=codes, table=table))["part"].to_pylist()
    ]
