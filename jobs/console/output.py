"""What the commands print: tables on a terminal, and CSV, JSON or Parquet for other programs."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.console.formats import Format
from jobs.console.json_text import json_text, to_plain
from jobs.console.messages import printable, say
from pipeline.audio.decode.formats import AUDIO_EXTENSIONS
from pipeline.formatting import count_text
from pipeline.storage import storage
from pipeline.tables.format_version import FORMAT_FILE
from schemas.errors import MisuseError
from schemas.tables import PARTITIONS

_FORMATS: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".parquet": "parquet"}
_OTHER_FORMATS = frozenset(
    {".xlsx", ".xls", ".ods", ".html", ".htm", ".pdf", ".png", ".svg", ".gz", ".zip", ".bz2", ".xz", ".zst",
     ".jsonl", ".ndjson", ".feather", ".arrow", ".orc", ".avro", ".db", ".sqlite", ".duckdb", ".m3u", ".m3u8",
     ".pls", ".xspf"}
)  # fmt: skip
"""Extensions of formats that are not written: programs could not read CSV in a file of that name."""
_ROWS_AT_ONCE = 10_000
_ROW_GROUP_ROWS = 100_000


class PlainConsole(Console):
    """A console that prints text literally: no markup, no control characters, exactly one line per string."""

    def __init__(
        self, file: TextIO | None = None, *, width: int | None = None, force_terminal: bool | None = None
    ) -> None:
        super().__init__(
            file=file, width=width, force_terminal=force_terminal, highlight=False, soft_wrap=True
        )
        if self._width == 0:  # of COLUMNS, as some programs set it; rich would print nothing
            self._width = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Print strings literally, and other objects as rich renders them."""
        plain = (Text(printable(each)) if isinstance(each, str) else each for each in objects)
        super().print(*plain, **options)


console = PlainConsole()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print rows as a table. Cells are literal text: names of tracks are never read as markup or color codes.

    Columns of numbers are right-aligned and never folded, even if the table gets wider than the terminal.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    heads = [printable(name) for name in columns]
    table = Table(box=None, pad_edge=False, header_style="bold")
    least = _GAP * (len(columns) - 1)
    for index, name in enumerate(heads):
        column = [row[index] for row in cells]
        width = max(map(cell_len, (name, *column)))
        if _are_numbers(column):
            table.add_column(Text(name), justify="right", no_wrap=True, min_width=width)
            least += width
        else:
            table.add_column(Text(name), overflow="fold", min_width=min(width, _MIN_TEXT_WIDTH))
            least += min(width, _MIN_TEXT_WIDTH)
    for row in cells:
        table.add_row(*map(Text, row))
    # Without a terminal, be wide enough that a log or a pipe gets names in full.
    wide = Console(highlight=False, width=max(console.width, least) if console.is_terminal else 500)
    if title is not None:
        console.out(printable(title), highlight=False)
    with wide.capture() as captured:
        wide.print(table)
    # As rendered: `PlainConsole` would print the codes of a bold line as text.
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


_GAP = 2
"""Spaces between two columns."""
_MIN_TEXT_WIDTH = 16
"""Minimum width of a text column, to which it is folded on a narrow terminal."""
_NUMBER = re.compile(r"[+-]?[\d,]+(\.\d+)?( ([kMGT]?B|%))?")
_MISSING = {"", "–", "·"}


def _are_numbers(cells: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip() not in _MISSING]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def write_rows(rows: pa.Table, form: Format, out: str | None) -> None:
    """Write rows as CSV, TSV, a JSON array or Parquet to a file, a URI or stdout.

    With ``table``, a file gets the format of its extension (``labels.parquet``), or CSV if it has none of
    these extensions. A message to stderr says how many rows it got.

    Raises
    ------
    MisuseError
        If Parquet would be written to a terminal, or the file has the name of a track or of another format.
    """
    if out is not None:
        check_out(out)
        suffix = PurePosixPath(out).suffix.lower()
        if form == "table" and suffix in _OTHER_FORMATS:
            raise MisuseError(
                f"--out {out}: rows are not written as {suffix}; name a file that ends in "
                f"{', '.join(_FORMATS)}, or choose with --format"
            )
        by_name = _FORMATS.get(suffix, form)
        with storage.explain_errors(out, "write"):
            storage.write_chunks(out, _encode_rows(rows, by_name if form == "table" else form))
        say(f"{count_text(rows.num_rows, 'row')} written to {out}")
        return
    if form == "parquet" and sys.stdout.isatty():
        raise MisuseError(
            "cannot print Parquet to a terminal; name a file with --out, or redirect the output"
        )
    for chunk in _encode_rows(rows, form):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def check_out(out: str) -> None:
    """Check that a file to write has a name that is not one of a track, and is not in the folder of a table.

    Raises
    ------
    MisuseError
        If it has no name, the file of that name may be music, or readers would take it for part of a table.
    """
    if PurePosixPath(out).suffix.lower().lstrip(".") in AUDIO_EXTENSIONS:
        raise MisuseError(f"{out} has the name of an audio file, and may be music; choose another name")
    check_place(out)


def check_place(out: str) -> None:
    """Check that a file or folder to write has a name, and is not in the folder of a table.

    Raises
    ------
    MisuseError
        If its name is empty, which would stand for the root or the working directory, or if it is in a table.
    """
    if not out.strip():
        raise MisuseError("the name of the file or folder to write is empty; check that its variable is set")
    protocol, path = storage.split(out)
    folder = out.rstrip("/") if protocol != "file" else str(Path(path).absolute())
    while not (folder.endswith(":/") or folder == ""):
        folder, _, name = folder.rpartition("/")
        with storage.explain_errors(out, "write"):
            if name in PARTITIONS and storage.exists(f"{folder}/{FORMAT_FILE}"):
                raise MisuseError(f"{out} is in a table of {folder}; choose another folder")


def _encode_rows(rows: pa.Table, form: Format) -> Iterator[bytes]:
    """Yield the rows in a format, a few thousand at a time."""
    if form == "parquet":
        chunks = _Chunks()
        repetitive = _repetitive_columns(rows)
        with pq.ParquetWriter(chunks, rows.schema, compression="zstd", use_dictionary=repetitive) as parquet:
            for start in range(0, rows.num_rows, _ROW_GROUP_ROWS):
                parquet.write_table(rows.slice(start, _ROW_GROUP_ROWS))
                yield chunks.take()
        yield chunks.take()
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
    writer = csv.writer(sink, delimiter="\t" if form == "tsv" else ",", lineterminator="\r\n")
    writer.writerow(rows.column_names)
    for records in batches:
        writer.writerows([_cell(value) for value in record.values()] for record in records)
        yield sink.take()
    yield sink.take()


def _repetitive_columns(rows: pa.Table) -> list[str]:
    """Return the columns of text whose values repeat. To look for repetitions in the others takes longer."""
    sample = rows.slice(0, _ROWS_AT_ONCE)
    return [
        name
        for name in rows.column_names
        if pa.types.is_string(rows.schema.field(name).type)
        and 2 * pc.count_distinct(sample[name]).as_py() <= sample.num_rows
    ]


class _Chunks(io.RawIOBase):
    """Collects what is written to it."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._n_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        chunk = bytes(data)
        self._chunks.append(chunk)
        self._n_bytes += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self._n_bytes

    def take(self) -> bytes:
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)


class _Lines:
    """Collects the lines of a CSV writer and ends them with a line feed.

    The writer quotes a value only if it contains a character of the line terminator, and readers take an
    unquoted carriage return for the end of a line. So the writer must use both characters.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        self._lines.append(line.removesuffix("\r\n") + "\n")

    def take(self) -> bytes:
        lines, self._lines = self._lines, []
        return "".join(lines).encode()


def _cell(value: object) -> object:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=to_plain)
    return value.isoformat() if hasattr(value, "isoformat") else value
