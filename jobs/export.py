"""``earmark export-descriptors``: the descriptors in the format of the published GTZAN tables."""

import io
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.storage import storage
from pipeline.tables.current import current_tracks
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import VERSION_KEY, Tables, keep_newest, semi_join
from schemas.errors import MisuseError
from schemas.features import FeatureSpec

_LABEL_COLUMNS = ("label", "genre")
"""Manifest columns with the label of a track; the first one that is present is used."""


def export_descriptors(tables: Tables, out: str) -> int:
    """Write the descriptors of the current tracks as a CSV in the published format.

    Columns are ``filename``, ``length`` (samples), the 57 descriptors and ``label``. A filename is the
    path of the track below the catalog. A track with several segments has a row for each, with the number of
    the segment before the extension, as in the published three-second table. The label is the manifest column
    ``label`` or ``genre``, else the genre tag of the file, else empty.

    Parameters
    ----------
    tables : Tables
        Tables with descriptors in their features.
    out : str
        File or URI, written whole or not at all.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    MisuseError
        If the tables hold no descriptors.
    """
    spec = _last_spec(tables)
    rows = _read_descriptors(tables, spec)
    current = current_tracks(tables, ("genre_tag", "carried"))
    tracks = {track["track_id"]: track for track in current.to_pylist()}
    catalog = read_reports(tables, last=1)[0].catalog
    n_segments = Counter(rows["track_id"].to_pylist())
    filenames, labels = [], []
    for track_id, segment in zip(rows["track_id"].to_pylist(), rows["segment"].to_pylist(), strict=True):
        track = tracks[track_id]
        filenames.append(_filename(track["uri"], catalog, segment if n_segments[track_id] > 1 else None))
        labels.append(_label(track))
    lengths = [round(seconds * spec.sample_rate) for seconds in rows["duration_s"].to_pylist()]
    columns = {"filename": filenames, "length": lengths}
    columns |= {name: rows[name] for name in DESCRIPTOR_NAMES} | {"label": labels}
    sink = io.BytesIO()
    csv.write_csv(
        pa.table(columns).sort_by("filename"),
        sink,
        csv.WriteOptions(quoting_style="needed", quoting_header="needed"),
    )
    with storage.explain_errors(out, "write"):
        storage.write_bytes(out, sink.getvalue())
    return len(filenames)


def _last_spec(tables: Tables) -> FeatureSpec:
    """Return the features of the last run that computed descriptors."""
    for report in reversed(read_reports(tables)):
        if report.spec is not None and report.spec.descriptors:
            return report.spec
    raise MisuseError(
        f"the tables {tables.root} contain no descriptors; compute them with "
        f"'earmark featurize CATALOG {tables.root} --only descriptors'"
    )


def _read_descriptors(tables: Tables, spec: FeatureSpec) -> pa.Table:
    """Return the descriptor rows of the current tracks, each segment once."""
    columns = ["track_id", "etag", "segment", "duration_s", "feature_set", *DESCRIPTOR_NAMES]
    # Descriptors are the same with or without log-mels.
    sets = [other.feature_set for other in spec.model_copy(update={"log_mel": False}).supersets()]
    rows = tables.read("features", columns, pc.field("feature_set").isin(sets))
    # After a crash, a segment may be in two parts.
    rows = keep_newest(rows, "feature_set", key=(*VERSION_KEY, "segment"))
    return semi_join(rows, current_tracks(tables))


def _filename(uri: str, catalog: str, segment: int | None) -> str:
    """Return the path below the catalog, with the segment number, if any, before the extension."""
    name = storage.path_below(uri, catalog)
    if segment is None:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem}.{segment}.{extension}" if dot else f"{name}.{segment}"


def _label(track: dict[str, Any]) -> str:
    carried = dict(track["carried"] or ())
    return next((carried[name] for name in _LABEL_COLUMNS if carried.get(name)), track["genre_tag"] or "")
