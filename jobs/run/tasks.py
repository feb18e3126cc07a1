"""The work of a run: its plan as shards to featurize and features parts to label."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa

from jobs.run.request import Job
from pipeline.catalogs.cutting import cut_shards
from pipeline.catalogs.planning import Plan
from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask
from pipeline.storage.table_on_disk import take_rows

_SHARDS_PER_CPU = 4
_FEWEST_SHARDS = 32


def fewest_shards(cpus: int) -> int:
    """Return the number of shards to cut at least, if there are enough tracks."""
    return max(_FEWEST_SHARDS, _SHARDS_PER_CPU * cpus)  # a cluster of a few CPUs may grow


def make_shards(job: Job, plan: Plan, run: str, listed_at: datetime, cpus: int) -> list[Shard]:
    """Return the shards of the tracks without features."""
    tables = cut_shards(
        plan.to_featurize,
        max_tracks=job.config.shard_tracks,
        max_bytes=job.config.shard_mb << 20,
        at_least=fewest_shards(cpus),
    )
    labeled, embedded = set(_versions(plan.to_embed)), set(_versions(plan.embedded))
    return [
        Shard(
            f"{number:06}",
            run,
            job.spec.feature_set,
            tracks,
            listed_at,
            labeled=frozenset(labeled.intersection(_versions(tracks))),
            embedded=frozenset(embedded.intersection(_versions(tracks))),
        )
        for number, tracks in enumerate(tables)
    ]


def _versions(rows: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(rows["track_id"].to_pylist(), rows["etag"].to_pylist(), strict=True)


def make_label_tasks(plan: Plan, run: str, run_date: str, model: str) -> list[LabelTask]:
    """Return tasks for the tracks that already have features, one per features part."""
    labeled, embedded = set(_versions(plan.to_embed)), set(_versions(plan.embedded))
    tasks = []
    for number, (part, feature_set, tracks) in enumerate(_by_part(plan.to_label)):
        tasks.append(
            LabelTask(
                name=f"part-{number:06}",
                run=run,
                run_date=run_date,
                model=model,
                part=part,
                feature_set=feature_set,
                tracks=tracks,
                labeled=frozenset(labeled.intersection(_versions(tracks))),
                embedded=frozenset(embedded.intersection(_versions(tracks))),
            )
        )
    return tasks


def _by_part(rows: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Yield each part, its feature set, and the tracks to label from it."""
    if not rows.num_rows:
        return
    encoded = rows["part"].dictionary_encode()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    order = np.argsort(codes, kind="stable")
    batches = rows.select(["track_id", "uri", "etag", "attempts"]).to_batches()
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for places in np.split(order, starts[1:]):
        first = int(places[0])
        yield rows["part"][first].as_py(), rows["feature_set"][first].as_py(), take_rows(batches, places)
