"""Reads the file of a manifest, CSV in its dialects or Parquet, as a table."""

import codecs
import csv
import gzip
import io
import re
import zlib

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.selection import is_audio_name
from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from schemas.errors import MisuseError

MANIFEST_EXTENSIONS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark is a prefix of this one
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SEPARATOR_LINE = re.compile(rb"\s*\"?sep=([\t!-~])\"?\1*[ \t]*(?:\r\n|\r|\n|$)", re.IGNORECASE)
_INDEX = re.compile(r"__index_level_\d+__")
"""Name that pandas writes for an index without one, such as the numbers of the rows that a filter left."""
_HEADER_CHARACTERS = 1 << 16
_END = "end of the manifest"
"""First value of a sentinel row that is appended to a CSV; see `_read_csv`."""
_BLOCK_BYTES = 8 << 20


def is_manifest(location: str) -> bool:
    """Whether a location has the extension of a manifest, or the name of the one of an S3 Inventory."""
    return location.lower().rstrip("/").endswith(MANIFEST_EXTENSIONS) or is_inventory_manifest(location)


def is_inventory_manifest(location: str) -> bool:
    """Whether a location has the name of the file that lists the files of an S3 Inventory."""
    return location.rpartition("/")[2] == "manifest.json"


def list_parts(folder: str) -> list[str]:
    """Return the locations of the files directly in a folder that are manifests, sorted by name.

    Spark, for one, writes a table as a folder of such files, and others that begin with ``_`` or ``.``.
    """
    names = [name for name in storage.list_names(folder) if not name.startswith(("_", "."))]
    return [storage.join(folder, name) for name in names if name.lower().endswith(MANIFEST_EXTENSIONS)]


def read_columns(location: str) -> pa.Table:
    """Read the columns of a manifest, which is a file, or a folder of files of the same columns.

    Parameters
    ----------
    location : str
        A file, see `read_file`, or a folder with the extension of one.

    Raises
    ------
    MisuseError
        If a file cannot be read in its format, has two columns of the same name, or has columns of other
        types than the files before it.
    EarmarkError
        If the store does not return it.
    """
    with storage.explain_errors(location, "read the manifest"):
        parts = list_parts(location) if storage.is_folder(location) else []
    if not parts:
        return read_file(location)
    try:
        return pa.concat_tables([read_file(part) for part in parts], promote_options="default")
    except pa.ArrowException as error:
        raise MisuseError(f"the files in {location} have columns of different types: {error}") from error


def read_file(location: str, header: list[str] | None = None) -> pa.Table:
    """Read the columns of one file of a manifest; those of a CSV are text, exactly as written.

    A CSV may be compressed with gzip. It is UTF-8 or what its byte order mark says, and separated by commas,
    semicolons, tabs or vertical bars, which is detected from its header. Excel's line ``sep=;`` may precede
    the header and names any other character. Columns without a name are left out, such as an index of pandas.

    Parameters
    ----------
    location : str
        A ``.csv``, ``.csv.gz``, ``.tsv`` or ``.parquet`` file.
    header : list of str, optional
        The columns of a CSV without a header, which is separated by commas.

    Raises
    ------
    MisuseError
        If the file cannot be read in its format, or has two columns of the same name.
    EarmarkError
        If the store does not return it.
    """
    with storage.explain_errors(location, "read the manifest"):
        data = storage.read_bytes(location)
    try:
        if location.lower().endswith(".parquet"):
            import pyarrow.parquet as pq

            table = pq.read_table(arrow_buffer(data), use_threads=False)
            names = ["" if _INDEX.fullmatch(name) else name.strip() for name in table.column_names]
        else:
            text = _as_utf8(data, location)
            if header is not None:
                return _read_csv(text, len(header), ",", location).rename_columns(header)
            declared = _SEPARATOR_LINE.match(text)
            text = text[declared.end() :] if declared else text
            names, separator = _header(text, location, declared[1].decode() if declared else None)
            table = _read_csv(text, len(names), separator, location).slice(1)
            _refuse_hidden_rows(table, names, separator, location)
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise MisuseError(f"the manifest {location} cannot be read: {reason}") from error
    named = [number for number, name in enumerate(names) if name]  # spreadsheets end rows with separators
    table, names = table.select(named), [names[number] for number in named]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MisuseError(f"the manifest {location} has two columns '{twice}'; rename one of them")
    return table.rename_columns(names)


def _as_utf8(data: bytes, location: str) -> bytes:
    if location.lower().endswith(".gz"):
        data = gzip.decompress(data)
    mark = next((mark for mark in _BOMS if data.startswith(mark)), b"")
    encoding = _BOMS.get(mark, "utf-8")
    data = data[len(mark) :]
    if encoding == "utf-8" and b"\0" in data[:64]:
        raise MisuseError(
            f"the manifest {location} has zero bytes, like UTF-16 without a byte order mark; save it as UTF-8"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MisuseError(
            f"line {line} of the manifest {location} is not {encoding.upper()}; save the manifest as UTF-8"
        ) from error
    return data if encoding == "utf-8" else text.encode()


def _header(data: bytes, location: str, declared: str | None) -> tuple[list[str], str]:
    """Return the column names and the separator: the declared one or the one that yields a known name."""
    text = data[:_HEADER_CHARACTERS].decode("utf-8", "replace")
    if declared is not None and (names := _first_row(text, declared)):
        return names, declared
    splits = {separator: _first_row(text, separator) for separator in _SEPARATORS}
    if not splits[","]:
        raise MisuseError(f"the manifest {location} cannot be read: it is empty")
    fitting = [separator for separator, names in splits.items() if len(names) > 1 and is_known(names)]
    if not fitting and is_known(splits[","]):  # a single column
        return splits[","], "\t" if location.lower().endswith((".tsv", ".tsv.gz")) else ","
    if not fitting:
        # No name is known; split as finely as possible, for the error message that lists the names.
        fitting = [max(splits, key=lambda separator: len(splits[separator]))]
    if len(fitting) > 1:
        kinds = " and ".join(_SEPARATORS[separator] for separator in fitting)
        raise MisuseError(f"the header of the manifest {location} is separated by {kinds}; use commas only")
    return splits[fitting[0]], fitting[0]


def _first_row(text: str, separator: str) -> list[str]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        return [name.strip() for name in next((row for row in rows if row), [])]
    except csv.Error:
        return [text.partition("\n")[0].strip()]


def is_known(names: list[str]) -> bool:
    """Whether the columns locate tracks: by a uri, or as an S3 Inventory does."""
    plain = {plain_name(name) for name in names}
    return "uri" in plain or {"bucket", "key"} <= plain


def plain_name(name: str) -> str:
    """Normalize a column's name, without case, spaces and underscores, to compare spellings."""
    return name.strip().lower().replace("_", "").replace(" ", "")


def _read_csv(data: bytes, n_columns: int, separator: str, location: str) -> pa.Table:
    from pyarrow import csv as arrow_csv

    names = [str(number) for number in range(n_columns)]
    end = f"\n{_END}{separator * (n_columns - 1)}\n"
    rows = arrow_csv.read_csv(
        arrow_buffer(data, end.encode()),
        # Without threads, errors name the row.
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names),
        parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        # Ids such as 00123 and years stay text.
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
    # To Arrow, an unclosed quote starts a value that contains the rest of the file, the sentinel included.
    if rows["0"][-1].as_py() != _END:
        raise MisuseError(
            f"the manifest {location} cannot be read: row {rows.num_rows - 1} has an unclosed quotation mark "
            "that hides the rows after it; close it, or double it if it is part of the text"
        )
    return rows.slice(0, rows.num_rows - 1)


def _refuse_hidden_rows(table: pa.Table, names: list[str], separator: str, location: str) -> None:
    """Check that no value contains a row: to Arrow, the text between two stray quotation marks is one value.

    Raises
    ------
    MisuseError
        If a value with line breaks names an audio file where a row has its uri.
    """
    if "uri" not in names:
        return
    place = names.index("uri")
    for number, column in enumerate(table.columns):
        if number == place:  # a name may contain line breaks
            continue
        broken = pc.match_substring(column, "\n")
        for row in pc.indices_nonzero(broken).to_pylist():
            # Of the first and the last row that are hidden so, the value has only a part.
            first, *others, last = (line.split(separator) for line in column[row].as_py().split("\n"))
            found = [line[place] for line in others if len(line) == len(names)]
            if number < place and number + len(first) == len(names):
                found.append(first[place - number])
            if place < number and len(last) == number + 1:
                found.append(last[place])
            if any(is_audio_name(uri.strip('"\r')) for uri in found):
                raise MisuseError(
                    f"row {row + 1} of the manifest {location} has a quotation mark that hides the rows "
                    'after it, up to the next one; remove both, or write them as in "The ""End"""'
                )
