"""Measures what tracks take on one CPU: decoded, featurized, written and labeled by the real code."""

import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pipeline.catalogs.catalog import list_catalog
from pipeline.catalogs.planning import Goal
from pipeline.catalogs.track_refs import from_table
from pipeline.estimate.labeling import MeasuredLabeling, measure_labeling
from pipeline.estimate.measuring import measure_tracks
from pipeline.models.bundle import ModelBundle
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.label_part import LabelTask
from pipeline.shards.limits import TrackLimits
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures
from tests.benchmarks.long_catalog import write_long_catalog
from tests.benchmarks.simulation.inputs import Measured, RayCosts, TrackCost
from tests.plans import plan_tables

_RUN = "20260101-000000-measured"


def measure_work(ray: RayCosts, *, n_tracks: int = 100) -> Measured:
    """Measure tracks of 3 to 5 minutes.

    Parameters
    ----------
    ray : RayCosts
        What was measured of Ray.
    n_tracks : int
        Number of tracks.
    """
    bundle = ModelBundle.load("default")
    spec = bundle.info.features
    with tempfile.TemporaryDirectory(prefix="earmark-simulation-") as folder:
        write_long_catalog(Path(folder) / "catalog", n_tracks=n_tracks)
        tables = Tables(str(Path(folder) / "tables"))
        plan = plan_tables(list_catalog(str(Path(folder) / "catalog")), tables, Goal(spec, bundle.model))
        shard = Shard("000000", _RUN, spec.feature_set, plan.to_featurize, datetime.now(UTC))
        limits = TrackLimits.of(RunConfig())
        tracks = _measure_tracks(shard, spec, limits)
        result = featurize_shard(shard, tables, spec, lambda: None, limits=limits)
        labeling = _measure_labeling(shard, tables, bundle)
        features_bytes = Path(shard.parts(tables)["features"]).stat().st_size / n_tracks
    labeled = labeling.parts[-1]
    return Measured(
        machine=f"{os.cpu_count()} cores of {_processor()}, Python {platform.python_version()}",
        tracks=tracks,
        write_cpu_s=result.seconds["write"] / n_tracks,
        features_bytes=features_bytes,
        label_cpu_s=labeled.cpu_s / labeled.result.n_segments,
        model_load_s=labeling.load_cpu_s,
        ray=ray,
    )


def _measure_tracks(shard: Shard, spec: FeatureSpec, limits: TrackLimits) -> tuple[TrackCost, ...]:
    costs = []
    for each in measure_tracks(from_table(shard.tracks), spec, limits):
        if not isinstance(each.outcome, TrackFeatures):
            raise each.outcome
        cpu_s = sum(each.cpu_s.values())
        costs.append(
            TrackCost(cpu_s=cpu_s, size_bytes=each.track.size, n_segments=len(each.outcome.segments))
        )
    return tuple(costs)


def _measure_labeling(shard: Shard, tables: Tables, bundle: ModelBundle) -> MeasuredLabeling:
    """Label the part twice: the first time, the network is still being traced."""
    task = LabelTask.of(shard, tables, run_date="2026-01-01", model=bundle.model, tracks=shard.as_read({}))
    return measure_labeling([task, task], tables, bundle, RunConfig())


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "a CPU")
