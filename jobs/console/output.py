"""What the commands print: tables on a terminal, CSV, JSON and Parquet for programs."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.console.json_text import json_text as json_text
from jobs.console.json_text import plain
from jobs.console.messages import printable as printable
from pipeline.storage import storage
from schemas.errors import MisuseError

Format = Literal["table", "csv", "json", "parquet"]

_NAMED: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
_ROWS_AT_ONCE = 10_000


class PlainConsole(Console):
    """A console that prints text as it is: no genre or name is taken for markup, or steers the terminal.

    A line that is printed is one line, whatever is in it.
    """

    def __init__(
        self, file: TextIO | None = None, *, width: int | None = None, force_terminal: bool | None = None
    ) -> None:
        super().__init__(
            file=file, width=width, force_terminal=force_terminal, highlight=False, soft_wrap=True
        )

    def print(self, *objects: Any, **options: Any) -> None:
        """Print text, or anything else that rich renders."""
        plain = (Text(printable(each)) if isinstance(each, str) else each for each in objects)
        super().print(*plain, **options)


console = PlainConsole()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print rows as a table. Cells are plain text: no track's name is taken for markup or color codes.

    Columns of numbers stand right and are never folded: a table of many is wider than a narrow terminal.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    heads = [printable(name) for name in columns]
    shown_title = None if title is None else Text(printable(title))
    table = Table(title=shown_title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    least = _GAP * (len(columns) - 1)
    for index, name in enumerate(heads):
        column = [row[index] for row in cells]
        width = max(map(cell_len, (name, *column)))
        if _are_numbers(column):
            table.add_column(Text(name), justify="right", no_wrap=True, min_width=width)
            least += width
        else:
            table.add_column(Text(name), overflow="fold", min_width=min(width, _NARROWEST))
            least += min(width, _NARROWEST)
    for row in cells:
        table.add_row(*map(Text, row))
    # As wide as it needs to be where no terminal limits it, so that a log or a pipe gets whole names.
    wide = Console(highlight=False, width=max(console.width, least) if console.is_terminal else 500)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        console.out(line.rstrip(), highlight=False)


_GAP = 2
"""Blanks between two columns."""
_NARROWEST = 16
"""To this width names and messages are folded where a terminal is narrow."""
_NUMBER = re.compile(r"[+-]?[\d,]+(\.\d+)?( ([kMGT]?B|%))?")
_MISSING = {"", "–", "·"}


def _are_numbers(cells: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip() not in _MISSING]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def write_rows(rows: pa.Table, form: Format, out: str | None) -> None:
    """Write rows as CSV, a JSON array or Parquet to a file, a URI or stdout.

    For ``table``, which no file holds, the name of the file says which (``labels.parquet``), and CSV where it
    says none.

    Raises
    ------
    MisuseError
        If Parquet were to go to a terminal.
    """
    if out is not None:
        named = _NAMED.get(PurePosixPath(out).suffix.lower(), form)
        with storage.explain_errors(out, "write"):
            storage.write_bytes(out, b"".join(_encoded(rows, named if form == "table" else form)))
        return
    if form == "parquet" and sys.stdout.isatty():
        raise MisuseError("Parquet is no text for a terminal; name a file with --out, or redirect the output")
    for chunk in _encoded(rows, form):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _encoded(rows: pa.Table, form: Format) -> Iterator[bytes]:
    """The rows in a format, some thousand rows at a time."""
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        yield sink.getvalue().to_pybytes()
        return
    batches = (batch.to_pylist() for batch in rows.to_batches(max_chunksize=_ROWS_AT_ONCE))
    if form == "json":
        separator = "[\n"
        for records in batches:
            lines = ",\n".join(json_text(record) for record in records)
            yield (separator + lines).encode()
            separator = ",\n"
        yield b"\n]\n" if rows.num_rows else b"[]\n"
        return
    sink = _Lines()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(rows.column_names)
    for records in batches:
        writer.writerows([_cell(value) for value in record.values()] for record in records)
        yield sink.taken()
    yield sink.taken()


class _Lines:
    """Takes the lines of a CSV writer, which quotes what holds a character of its line end, and ends them so.

    Every reader takes a carriage return for the end of a line, unless it is quoted.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        self._lines.append(line.removesuffix("\r\n") + "\n")

    def taken(self) -> bytes:
        lines, self._lines = self._lines, []
        return "".join(lines).encode()


def _cell(value: object) -> object:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=plain)
    return value.isoformat() if hasattr(value, "isoformat") else value
