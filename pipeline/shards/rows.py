"""Rows of the tables ``tracks`` and ``features``, made from featurized tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.catalogs.track_refs import to_batch
from schemas.features import FeatureSpec
from schemas.tables import LISTING, TRACKS, features_schema
from schemas.tracks import TrackFeatures, TrackRef

if TYPE_CHECKING:
    from pipeline.shards.outcomes import TrackOutcome


def track_rows(
    tracks: list[TrackRef], outcomes: Mapping[str, "TrackOutcome"], listed_at: datetime
) -> pa.Table:
    """Return rows of the table ``tracks``: the listed facts and, where known, tags and audio facts.

    Parameters
    ----------
    tracks : list of TrackRef
        The tracks, as listed or as read.
    outcomes : mapping
        Features or failures of the tracks that were read, by track id.
    listed_at : datetime
        When the catalog was listed.

    Returns
    -------
    pyarrow.Table
        Schema `TRACKS`.
    """
    listing = pa.Table.from_batches([to_batch(tracks)], LISTING)
    rows = []
    for track in tracks:
        row: dict[str, object] = {"present": True, "listed_at": listed_at}
        if outcome := outcomes.get(track.track_id):
            row |= asdict(outcome.tags)
        if isinstance(outcome, TrackFeatures):
            row |= asdict(outcome.info)
        rows.append(row)
    facts = pa.Table.from_pylist(
        rows, pa.schema([field for field in TRACKS if field.name not in LISTING.names])
    )
    return pa.Table.from_arrays([*listing.columns, *facts.columns], schema=TRACKS)


def feature_rows(featurized: Sequence[tuple[TrackRef, TrackFeatures]], spec: FeatureSpec) -> pa.Table:
    """Return rows of the table ``features``, one for each segment.

    Parameters
    ----------
    featurized : sequence of (TrackRef, TrackFeatures)
        Tracks, as read, with their features.
    spec : FeatureSpec
        The feature set; it is stored in the schema's metadata.

    Returns
    -------
    pyarrow.Table
        Schema `features_schema`.
    """
    rows = [
        {
            "track_id": track.track_id,
            "etag": track.etag,
            "segment": number,
            "start_s": segment.start_s,
            "duration_s": segment.duration_s,
            "log_mel": None if segment.log_mel is None else segment.log_mel.tobytes(),
            "n_frames": 0 if segment.log_mel is None else segment.log_mel.shape[1],
            "range_db": segment.range_db,
            "spec": segment.spec,
        }
        | dict(
            zip(DESCRIPTOR_NAMES, () if segment.descriptors is None else segment.descriptors, strict=False)
        )
        for track, features in featurized
        for number, segment in enumerate(features.segments)
    ]
    # Every part has every column, even an empty one: readers take the first part's columns for the table's.
    # Only the parts of ensembles have `spec`, so that others are as they were before there was one.
    schema = features_schema(DESCRIPTOR_NAMES).with_metadata({"feature_spec": spec.model_dump_json()})
    if not spec.also:
        schema = schema.remove(schema.get_field_index("spec"))
    return pa.Table.from_pylist(rows, schema)
