"""``earmark scan``: summarize a catalog by format: files, bytes, hours."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from jobs.console.output import check_place
from jobs.console.progress import show_progress
from pipeline.audio.tags.header_length import header_length_s
from pipeline.catalogs.catalog import canonical, survey
from pipeline.catalogs.selection import extension_of
from pipeline.catalogs.track_refs import NOT_READABLE
from pipeline.storage import storage
from pipeline.storage.output_checks import check_writable_file
from schemas.errors import MisuseError
from schemas.report import LeftOut

_THREADS = 16
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".parquet": None}
SAMPLE = 300
"""Maximum number of files per format whose headers are read to find the hours."""


@dataclass(frozen=True, slots=True)
class FormatCount:
    """The files of one format.

    Attributes
    ----------
    extension : str
        Lower case, without the dot.
    n_files, n_empty : int
        Number of files, and of those with zero bytes.
    size : int
        Bytes.
    hours : float or None
        Hours of audio; None if no header states the length.
    estimated : bool
        Whether the hours are extrapolated from a sample of the files, by bytes.
    n_unknown : int
        Files without a length in the header, which the hours leave out.
    """

    extension: str
    n_files: int
    n_empty: int
    size: int
    hours: float | None
    estimated: bool
    n_unknown: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """The summary of a catalog.

    Attributes
    ----------
    formats : tuple of FormatCount
        Most frequent format first.
    left_out : LeftOut
        Files that are not tracks.
    n_not_readable : int
        Tracks that are missing, such as from a manifest's disk, may not be read, or are no files. They count
        in no format.
    """

    formats: tuple[FormatCount, ...]
    left_out: LeftOut
    n_not_readable: int = 0


def scan(catalog: str, *, limit: int | None = None, out: str | None = None) -> Scan:
    """Count a catalog's files by format.

    Parameters
    ----------
    catalog : str
        As for ``earmark run``.
    limit : int, optional
        Only the first files.
    out : str, optional
        Write the listing to this file (``.csv``, ``.tsv`` or ``.parquet``), which can serve as a manifest.

    Returns
    -------
    Scan
        The files by format, and what was left out.

    Raises
    ------
    MisuseError
        If `out` has another extension, is in the folder of a table, or cannot be written.
    EarmarkError
        If the catalog cannot be listed.
    """
    if out is not None:
        if _extension(out) not in _DELIMITERS:
            raise MisuseError(f"cannot write the listing to {out}: name a .csv, .tsv or .parquet file")
        check_place(out)
        check_writable_file(out, "the listing")  # now, not after an hour of listing
    with show_progress("listing") as meter:
        surveyed = survey(canonical(catalog), limit=limit, progress=meter.show)
    listing = surveyed.tracks
    if out is not None:
        _write_listing(listing, out)
    readable = listing.filter(pc.invert(pc.is_in(listing["etag"], pa.array(NOT_READABLE))))
    by_format: dict[str, list[tuple[str, int]]] = {}
    for uri, size in zip(readable["uri"].to_pylist(), readable["size"].to_pylist(), strict=True):
        by_format.setdefault(extension_of(uri), []).append((uri, size))
    with show_progress("reading headers") as meter, ThreadPoolExecutor(_THREADS) as pool:
        counts = []
        for extension, files in by_format.items():
            counts.append(_count(extension, files, pool))
            meter.show(sum(count.n_files for count in counts))
    formats = tuple(sorted(counts, key=lambda count: -count.n_files))
    return Scan(formats, surveyed.left_out, listing.num_rows - readable.num_rows)


def _count(extension: str, files: list[tuple[str, int]], pool: ThreadPoolExecutor) -> FormatCount:
    size = sum(size for _, size in files)
    full = [file for file in files if file[1]]
    sample = list(_sample_evenly(full, SAMPLE))
    lengths = list(pool.map(_duration_s, sample))
    known_s = sum(length for length in lengths if length is not None)
    known_bytes = sum(size for (_, size), length in zip(sample, lengths, strict=True) if length is not None)
    estimated = len(sample) < len(full)
    hours = None
    if known_bytes:
        hours = known_s / 3600 * (size / known_bytes if estimated else 1.0)
    n_unknown = lengths.count(None)
    return FormatCount(extension, len(files), len(files) - len(full), size, hours, estimated, n_unknown)


def _sample_evenly(files: list[tuple[str, int]], n: int) -> Iterator[tuple[str, int]]:
    step = max(1.0, len(files) / n)
    yield from (files[int(index * step)] for index in range(min(n, len(files))))


def _duration_s(file: tuple[str, int]) -> float | None:
    """Return the seconds of audio that the header of a file states, or None."""
    location, size = file
    try:
        with storage.open_binary(location, size, whole_bytes=0) as opened:
            return header_length_s(opened, location, size)
    except Exception:  # mutagen and stores raise many kinds of errors; `earmark run` reports them
        return None


def _extension(location: str) -> str:
    return PurePosixPath(location).suffix.lower()


def _write_listing(listing: pa.Table, out: str) -> None:
    """Write a manifest that stands for the catalog, with the further columns of the one it was read from."""
    rows, carried = listing.drop_columns(["carried"]), listing["carried"]
    names = dict.fromkeys(name for chunk in carried.chunks for name in chunk.keys.unique().to_pylist())
    for name in names:
        rows = rows.append_column(name, pc.map_lookup(carried, pa.scalar(name), "first"))
    buffer = io.BytesIO()
    delimiter = _DELIMITERS[_extension(out)]
    if delimiter is None:
        pq.write_table(rows, buffer)
    else:
        csv.write_csv(rows, buffer, csv.WriteOptions(delimiter=delimiter))
    storage.write_or_explain(out, buffer.getvalue())
