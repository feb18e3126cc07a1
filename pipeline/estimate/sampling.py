"""Writes and labels a sample of tracks in a folder of its own, and collects what each of them takes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa

from pipeline.catalogs.track_refs import to_batch
from pipeline.estimate.estimate import Sampled
from pipeline.estimate.labeling import LabeledPart, measure_labeling
from pipeline.estimate.measuring import MeasuredTrack
from pipeline.estimate.part_sizes import PartSize, measure_part
from pipeline.estimate.sample import (
    ACTOR_S,
    BYTES,
    CPU,
    FAILED,
    RECEIVED,
    REQUESTS,
    WORKER_S,
    SampledStratum,
    Unit,
)
from pipeline.estimate.strata import Stratum
from pipeline.models.ensemble import Bundle
from pipeline.shards.featurize_shard import Shard, shard_rows, write_parts
from pipeline.shards.label_part import LabelTask
from pipeline.storage import storage
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.features import FeatureSpec
from schemas.tables import LISTING
from schemas.tracks import TrackFeatures, TrackRef

RUN, RUN_DATE = "estimate", "1970-01-01"
"""Partitions of what the sample writes."""
_FETCHED_AT_ONCE = 2
"""Objects that a worker fetches ahead while it decodes another."""


def run_sample(
    strata: Sequence[Stratum],
    measured: Sequence[MeasuredTrack],
    stored: Sequence[LabelTask],
    tables: Tables,
    spec: FeatureSpec,
    bundle: Bundle,
    config: RunConfig,
    *,
    n_stored: int,
    tracks_per_part: int,
) -> Sampled:
    """Write and label the tracks of a sample.

    Parameters
    ----------
    strata : sequence of Stratum
        The tracks of the run to featurize.
    measured : sequence of MeasuredTrack
        Those in the sample, stratum by stratum, as `pipeline.estimate.measuring.measure_tracks` returns them.
    stored : sequence of LabelTask
        Features parts, of other tables, that are labeled too.
    tables : Tables
        Where to write, a folder that the caller removes.
    spec : FeatureSpec
        The features that were computed.
    bundle : ModelBundle or Ensemble
        The model.
    config : RunConfig
        How to label.
    n_stored : int
        Tracks of the run that are labeled from stored features.
    tracks_per_part : int
        Tracks in a shard of the run.

    Raises
    ------
    EarmarkError
        If the model cannot be loaded, or crashes.
    """
    shard = _shard([each.track for each in measured], spec)
    outcomes = [(each.track, each.outcome) for each in measured]
    before = time.process_time()
    write_parts(shard, tables, shard_rows(shard, outcomes, spec), lambda: None)
    write_cpu_s = time.process_time() - before
    task = LabelTask.of(shard, tables, run_date=RUN_DATE, model=bundle.model, tracks=shard.as_read({}))
    own = [task] if any(_n_segments(each) for each in measured) else []
    labeling = measure_labeling([*own, *stored], tables, bundle, config)
    locations = shard.parts(tables)
    for task in own:
        # A track fails before or after it is featurized: the parts of failures are alike.
        locations |= {table: part for table, part in task.parts(tables).items() if table != "failures"}
    sizes = {
        table: measure_part(part, tracks_per_part)
        for table, part in locations.items()
        if storage.exists(part)
    }
    label_cpu_s = sum(part.cpu_s for part in labeling.parts[: len(own)])
    units = _units(measured, sizes, write_cpu_s, label_cpu_s)
    found = [
        _stored_unit(task, part, tables)
        for task, part in zip(stored, labeling.parts[len(own) :], strict=True)
    ]
    return Sampled(
        strata=tuple(
            SampledStratum(each.n_tracks, tuple(islice(units, len(each.sampled)))) for each in strata
        ),
        stored=SampledStratum(n_stored, tuple(found)) if found else None,
        bytes_per_part={table: size.per_part for table, size in sizes.items()},
        load_cpu_s=labeling.load_cpu_s,
        model_bytes=sum(map(len, bundle.files.values())),
    )


def _shard(tracks: Sequence[TrackRef], spec: FeatureSpec) -> Shard:
    listing = pa.Table.from_batches([to_batch(tracks)], LISTING)
    attempts = pa.array([0] * len(tracks), pa.int32())
    return Shard(
        "000000", RUN, spec.feature_set, listing.append_column("attempts", attempts), datetime.now(UTC)
    )


def _n_segments(measured: MeasuredTrack) -> int:
    return len(measured.outcome.segments) if isinstance(measured.outcome, TrackFeatures) else 0


def _units(
    measured: Sequence[MeasuredTrack], sizes: Mapping[str, PartSize], write_cpu_s: float, label_cpu_s: float
) -> Iterator[Unit]:
    """Yield the quantities of each track; the network takes the same time for every segment."""
    label_cpu_s /= max(1, sum(map(_n_segments, measured)))
    for each in measured:
        labeling_s = label_cpu_s * _n_segments(each)
        cpu_s = {**each.cpu_s, "write": write_cpu_s / len(measured), "label": labeling_s}
        unit = {f"{CPU}{stage}": seconds for stage, seconds in cpu_s.items()}
        unit |= {
            f"{BYTES}{table}": size.by_track.get(each.track.track_id, 0.0) for table, size in sizes.items()
        }
        unit |= {f"{REQUESTS}{kind}": float(n) for kind, n in each.requests.items()}
        unit[WORKER_S] = _worker_s(each, sum(cpu_s.values()) - labeling_s)
        unit[ACTOR_S] = labeling_s
        unit[FAILED] = float(not isinstance(each.outcome, TrackFeatures))
        unit[RECEIVED] = float(_received_bytes(each))
        yield unit


def _worker_s(measured: MeasuredTrack, cpu_s: float) -> float:
    """Return the seconds for which a track keeps a worker busy."""
    if _is_fetched_whole(measured.track):  # while the tracks before it are decoded
        return max(cpu_s, measured.blocked_s / _FETCHED_AT_ONCE)
    return cpu_s + measured.blocked_s


def _is_fetched_whole(track: TrackRef) -> bool:
    return not storage.is_local(track.uri) and track.size <= storage.WHOLE_OBJECT_BYTES


def _received_bytes(measured: MeasuredTrack) -> int:
    """Return the bytes that a store sends for a track; none from a disk."""
    if storage.is_local(measured.track.uri):
        return 0
    if _is_fetched_whole(measured.track):
        return measured.track.size
    return measured.requests.get("GET", 0) * storage.RANGE_BYTES


def _stored_unit(task: LabelTask, part: LabeledPart, tables: Tables) -> Unit:
    """Return the quantities of a track of a stored features part, on average."""
    n_tracks = max(1, task.tracks.num_rows)
    unit = {f"{CPU}label": part.cpu_s / n_tracks, ACTOR_S: part.cpu_s / n_tracks}
    for table, location in task.parts(tables).items():
        if storage.exists(location):
            unit[f"{BYTES}{table}"] = len(storage.read_bytes(location)) / n_tracks
    return unit
