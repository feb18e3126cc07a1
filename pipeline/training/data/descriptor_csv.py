"""Import a CSV of descriptors in the published GTZAN form: filename, length, 57 columns, label."""

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.catalogs.manifest_file import is_known
from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.training.training_set import TrainingSet, index_genres, pick_genres, track_path
from schemas.errors import MisuseError
from schemas.features import FeatureSpec

_COVERED_S = 90.0
"""Seconds of a track that its segments cover by default: three of 30 s, or thirty of 3 s."""
_COLUMNS = frozenset({"filename", *DESCRIPTOR_NAMES})
_PIECE = re.compile(r"\.(0|[1-9]\d*)$")


def is_descriptor_csv(location: str) -> bool:
    """Return whether the location is a CSV file with columns of such a table, and not a manifest.

    Raises
    ------
    EarmarkError
        If it cannot be read.
    """
    if not location.lower().endswith(".csv"):
        return False
    with storage.explain_errors(location, "read"):
        if storage.is_folder(location):
            return False
    names = _header(location)
    return not (_COLUMNS.isdisjoint(names) or is_known(names))


def import_descriptor_csv(location: str, say: Callable[[str], None]) -> TrainingSet:
    """Read a CSV of the 57 descriptors, as published for GTZAN or written by ``earmark export-descriptors``.

    Parameters
    ----------
    location : str
        Path or URI of a CSV with the columns ``filename``, ``label``, the 57 of
        `pipeline.audio.features.descriptors.DESCRIPTOR_NAMES` and optionally ``length`` (samples at 22,050
        Hz); other columns are ignored. A number without leading zeros before the extension
        (``blues.00000.3.wav``) is the number of a piece of the track ``blues.00000``.
    say : callable
        Called with a message about rows that are left out because they have no genre.

    Returns
    -------
    TrainingSet
        A set without log-mels and without unlabeled rows. Its `features` have segments of the median length,
        rounded to seconds, and as many of them as cover 90 s of a track.

    Raises
    ------
    MisuseError
        If the file cannot be read, lacks a column, or has a cell that is not a finite number.
    """
    table = _read(location)
    n_rows = table.num_rows
    table = table.filter(pc.not_equal(pc.utf8_trim_whitespace(table["label"]), ""))
    if n_left_out := n_rows - table.num_rows:
        say(f"left out because they have no genre: {n_left_out:,} of {n_rows:,} rows")
    names = [name.strip() for name in table["label"].to_pylist()]
    genres = pick_genres(names, location)
    tracks = [_PIECE.sub("", track_path(file)) for file in table["filename"].to_pylist()]
    columns = [_parse_column(table, name, location) for name in DESCRIPTOR_NAMES]
    return TrainingSet(
        None,
        index_genres(names, genres),
        np.array(tracks, np.str_),
        genres,
        np.column_stack(columns),
        _infer_spec(_parse_column(table, "length", location) if "length" in table.column_names else None),
    )


def _infer_spec(lengths: NDArray[np.float64] | None) -> FeatureSpec:
    spec = FeatureSpec(log_mel=False, descriptors=True)
    if lengths is None:
        return spec
    segment_s = float(np.clip(np.round(np.median(lengths) / spec.sample_rate), 1, 600))
    max_segments = int(np.clip(round(_COVERED_S / segment_s), 1, 100))
    return spec.model_copy(update={"segment_s": segment_s, "max_segments": max_segments})


def _header(location: str) -> list[str]:
    with storage.explain_errors(location, "read"):
        first = storage.read_bytes(location).partition(b"\n")[0]
    return [name.strip().strip('"') for name in first.decode("utf-8-sig", "replace").split(",")]


def _read(location: str) -> pa.Table:
    """Return the rows as text, with the line of each row in the file as ``__line``."""
    with storage.explain_errors(location, "read"):
        data = storage.read_bytes(location)
    try:
        names = csv.read_csv(arrow_buffer(data)).column_names
        as_text = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        )
        table = csv.read_csv(arrow_buffer(data), convert_options=as_text)
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise MisuseError(f"{location} cannot be read as CSV: {reason}") from error
    table = table.rename_columns([name.strip() for name in table.column_names])
    if len(set(table.column_names)) < table.num_columns:
        raise MisuseError(f"{location} has two columns of the same name; rename one of them")
    lacking = [name for name in ("filename", "label", *DESCRIPTOR_NAMES) if name not in table.column_names]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise MisuseError(
            f"{location} has no column '{lacking[0]}'{more}: a table of descriptors has filename, the 57 "
            "descriptors and label"
        )
    return table.append_column("__line", pa.array(range(2, table.num_rows + 2), pa.int64()))


def _parse_column(table: pa.Table, name: str, location: str) -> NDArray[np.float64]:
    """Return a column as finite numbers."""
    text = pc.utf8_trim_whitespace(table[name])
    try:
        values: NDArray[np.float64] = text.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = np.array([_parse_number(cell) for cell in text.to_pylist()])
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise MisuseError(
            f"{location}, line {table['__line'][row]}: column '{name}' is '{text[row]}', not a finite number"
        )
    return values


def _parse_number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
