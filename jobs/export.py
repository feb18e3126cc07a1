"""``earmark export-descriptors``: the descriptors in the form of the published GTZAN tables."""

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
"""Columns of a manifest that hold a track's label, the first one that is there."""


def export_descriptors(tables: Tables, out: str) -> int:
    """Write the descriptors of the current tracks as the published CSV.

    Columns are ``filename``, ``length`` (samples), the 57 descriptors and ``label``. A filename is the
    track's path below the catalog; a track of several segments has a row for each, with the segment's number
    before the extension, as the published three-second table has it. The label is the manifest's column
    ``label`` or ``genre``, else the file's genre tag, else empty.

    Parameters
    ----------
    tables : Tables
        With features that hold descriptors.
    out : str
        File or URI to write, whole or not at all.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    MisuseError
        If the tables hold no descriptors.
    """
    spec = _last_spec(tables)
    rows = _described(tables, spec)
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
    """The features of the last run that computed descriptors."""
    for report in reversed(read_reports(tables)):
        if report.spec is not None and report.spec.descriptors:
            return report.spec
    raise MisuseError(
        f"the tables {tables.root} hold no descriptors; make them with "
        f"'earmark featurize CATALOG {tables.root} --only descriptors'"
    )


def _described(tables: Tables, spec: FeatureSpec) -> pa.Table:
    """The descriptor rows of the current tracks, each segment once."""
    columns = ["track_id", "etag", "segment", "duration_s", "feature_set", *DESCRIPTOR_NAMES]
    # They are the same whether log-mels were computed beside them or not.
    sets = [other.feature_set for other in spec.model_copy(update={"log_mel": False}).supersets()]
    rows = tables.read("features", columns, pc.field("feature_set").isin(sets))
    # After a crash a segment may stand in two parts.
    rows = keep_newest(rows, "feature_set", key=(*VERSION_KEY, "segment"))
    return semi_join(rows, current_tracks(tables))


def _filename(uri: str, catalog: str, segment: int | None) -> str:
    """Path below the catalog, with the segment's number before the extension where there are several."""
    name = storage.path_below(uri, catalog)
    if segment is None:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem}.{segment}.{extension}" if dot else f"{name}.{segment}"


def _label(track: dict[str, Any]) -> str:
    carried = dict(track["carried"] or ())
    return next((carried[name] for name in _LABEL_COLUMNS if carried.get(name)), track["genre_tag"] or "")
