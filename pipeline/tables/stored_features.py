"""Reads given features of the current tracks, of whatever feature sets they are part."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.current import current_tracks
from pipeline.tables.tables import VERSION_KEY, Tables, select_rows, semi_join
from schemas.features import FeatureSpec

_KEY = (*VERSION_KEY, "segment")


def newest_spec(
    computed: Sequence[FeatureSpec],
    *,
    log_mel: bool | None = None,
    descriptors: bool | None = None,
    like: FeatureSpec | None = None,
) -> FeatureSpec | None:
    """Return the newest of the computed specs that has the wanted kinds of features, without other kinds.

    Parameters
    ----------
    computed : sequence of FeatureSpec
        What the runs of some tables computed, oldest first.
    log_mel, descriptors : bool, optional
        The wanted kinds; by default, those that the spec has.
    like : FeatureSpec, optional
        What a model reads: what serves it comes first, however long ago it was computed.
    """
    specs = [spec for stored in reversed(computed) for spec in stored.specs]
    if like is not None:
        serving = like.supersets()
        specs.sort(key=lambda spec: spec not in serving)
    for spec in specs:
        wanted = {
            "log_mel": spec.log_mel if log_mel is None else log_mel,
            "descriptors": spec.descriptors if descriptors is None else descriptors,
        }
        if all(getattr(spec, kind) or not asked for kind, asked in wanted.items()):
            return spec.model_copy(update=wanted)
    return None


def read_features(
    tables: Tables,
    spec: FeatureSpec,
    computed: Sequence[FeatureSpec],
    columns: Sequence[str] = (),
    where: pc.Expression | None = None,
) -> pa.Table:
    """Read the segments of the current tracks that were cut and featurized by a spec.

    Parameters
    ----------
    tables : Tables
        Where the features are.
    spec : FeatureSpec
        What to read, without further specs; segments that have more kinds of features serve as well.
    computed : sequence of FeatureSpec
        What the runs of these tables computed.
    columns : sequence of str
        Columns to read beside ``track_id``, ``etag``, ``segment`` and ``feature_set``.
    where : pyarrow.compute.Expression, optional
        Filter for the rows.

    Returns
    -------
    pyarrow.Table
        Each segment once, numbered from 0 in each track, also where a feature set has other segments too.
    """
    rows = tables.read("features", [*_KEY, "feature_set", *columns], _serving(spec, computed, where))
    if any(each.also for each in computed):
        rows = _number(rows)
    return semi_join(_keep_once(rows), current_tracks(tables))


def _serving(
    spec: FeatureSpec, computed: Sequence[FeatureSpec], where: pc.Expression | None
) -> pc.Expression:
    enough = [each for each in spec.supersets() if not each.also]
    serving = pc.field("feature_set").isin([each.feature_set for each in enough])
    for stored in {each for each in computed if each.also}:
        for place, each in enumerate(stored.specs):
            if each in enough:
                serving |= (pc.field("feature_set") == stored.feature_set) & (pc.field("spec") == place)
    return serving if where is None else serving & where


def _number(rows: pa.Table) -> pa.Table:
    """Number the segments of each track and feature set from 0: those of a further spec follow others."""
    keys = rows.select([*_KEY, "feature_set"]).to_pandas()
    first = keys.groupby([*VERSION_KEY, "feature_set"])["segment"].transform("min")
    place = rows.column_names.index("segment")
    field = rows.schema.field(place)
    return rows.set_column(place, field, pa.array(keys["segment"] - first, field.type))


def _keep_once(rows: pa.Table) -> pa.Table:
    """Keep each segment once, of its greatest feature set: after a crash, it may be in two parts."""
    numbered = rows.select([*_KEY, "feature_set"]).append_column("__row", pa.array(np.arange(rows.num_rows)))
    ordered = numbered.sort_by([("feature_set", "ascending"), ("__row", "ascending")])
    last = ordered.group_by(list(_KEY), use_threads=False).aggregate([("__row", "last")])["__row_last"]
    return select_rows(rows, last)
