"""``earmark export-descriptors``: the descriptors in the format of the published GTZAN tables."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.formatting import command_text
from pipeline.storage import storage
from pipeline.storage.track_paths import paths_below
from pipeline.tables.current import current_tracks
from pipeline.tables.runs import computed_specs, last_catalog
from pipeline.tables.stored_features import newest_spec, read_features
from pipeline.tables.tables import Tables, semi_join
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.tables import CARRIED_LABELS


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
    computed = computed_specs(tables)
    spec = _last_descriptors(tables, computed)
    rows = read_features(tables, spec, computed, ["duration_s", *DESCRIPTOR_NAMES])
    current = current_tracks(tables, ("genre_tag", "carried"))
    rows = semi_join(rows, current)  # a run may have found meanwhile that a track is gone
    tracks = {track["track_id"]: track for track in current.to_pylist()}
    catalog = last_catalog(tables)
    paths = paths_below(current["uri"].to_pylist(), catalog)
    path_of = dict(zip(current["track_id"].to_pylist(), paths, strict=True))
    n_segments = Counter(rows["track_id"].to_pylist())
    filenames, labels = [], []
    for track_id, segment in zip(rows["track_id"].to_pylist(), rows["segment"].to_pylist(), strict=True):
        filenames.append(_filename(path_of[track_id], segment if n_segments[track_id] > 1 else None))
        labels.append(_label(tracks[track_id]))
    lengths = [round(seconds * spec.sample_rate) for seconds in rows["duration_s"].to_pylist()]
    columns = {"filename": filenames, "length": lengths}
    columns |= {name: rows[name] for name in DESCRIPTOR_NAMES} | {"label": labels}
    sink = io.BytesIO()
    csv.write_csv(
        pa.table(columns).sort_by("filename"),
        sink,
        csv.WriteOptions(quoting_style="needed", quoting_header="needed"),
    )
    storage.write_or_explain(out, sink.getvalue())
    return len(filenames)


def _last_descriptors(tables: Tables, computed: Sequence[FeatureSpec]) -> FeatureSpec:
    """Return the descriptors of the last run that computed some; they are the same without log-mels."""
    spec = newest_spec(computed, log_mel=False, descriptors=True)
    if spec is not None:
        return spec
    raise MisuseError(
        f"the tables {tables.root} contain no descriptors; compute them with "
        f"'{command_text('featurize', 'CATALOG', tables.root, '--only', 'descriptors')}'"
    )


def _filename(name: str, segment: int | None) -> str:
    """Return a path with the segment number, if any, before the extension."""
    if segment is None:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem}.{segment}.{extension}" if dot else f"{name}.{segment}"


def _label(track: dict[str, Any]) -> str:
    carried = dict(track["carried"] or ())
    return next((carried[name] for name in CARRIED_LABELS if carried.get(name)), track["genre_tag"] or "")
