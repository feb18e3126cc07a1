"""The work of a run: its plan as shards to featurize and features parts to label."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import pyarrow as pa

from jobs.run.request import Job
from pipeline.catalogs.planning import Plan, copy_rows, cut_shards
from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask

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
    rows = plan.to_label.sort_by("part")
    starts = [
        0,
        *(i for i in range(1, rows.num_rows) if rows["part"][i] != rows["part"][i - 1]),
        rows.num_rows,
    ]
    tasks = []
    for number, (start, stop) in enumerate(pairwise(starts)):
        if start == stop:
            continue
        tracks = copy_rows(rows.select(["track_id", "uri", "etag", "attempts"]), start, stop)
        tasks.append(
            LabelTask(
                name=f"part-{number:06}",
                run=run,
                run_date=run_date,
                model=model,
                part=rows["part"][start].as_py(),
                feature_set=rows["feature_set"][start].as_py(),
                tracks=tracks,
                labeled=frozenset(labeled.intersection(_versions(tracks))),
                embedded=frozenset(embedded.intersection(_versions(tracks))),
            )
        )
    return tasks
