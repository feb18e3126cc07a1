"""``earmark estimate``: run a sample of a catalog and extrapolate what the whole run takes."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.console.progress import show_progress
from jobs.engine.cluster import plan_actors
from jobs.run.request import Job, list_job, make_job, plan_job
from jobs.run.tasks import fewest_shards, make_label_tasks
from pipeline.catalogs.catalog import Listing
from pipeline.catalogs.cutting import shard_bounds
from pipeline.catalogs.planning import Plan
from pipeline.catalogs.selection import extension_of
from pipeline.catalogs.track_refs import from_table
from pipeline.estimate.estimate import Estimate, Option, Sampled, Todo, labeling_share, make_estimate
from pipeline.estimate.measuring import MeasuredTrack, measure_tracks
from pipeline.estimate.sampling import RUN, RUN_DATE, run_sample
from pipeline.estimate.schedule import Machines
from pipeline.estimate.strata import Stratum, draw_strata
from pipeline.shards.limits import TrackLimits
from pipeline.storage import storage
from pipeline.storage.requests import take_requests
from pipeline.storage.table_on_disk import take_rows
from pipeline.storage.temporary_folders import locked_folder
from pipeline.tables.format_version import tables_at
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import TrackError
from schemas.report import LeftOut
from schemas.tracks import TrackRef

DEFAULT_CPUS = (16, 64, 256)
"""Sizes of clusters to estimate besides this machine."""
_STORED_PARTS = 3
"""Features parts to label where tracks have stored features."""


@dataclass(frozen=True, slots=True)
class SampledFormat:
    """The tracks of one format to featurize, and those of them in the sample."""

    format: str
    n_tracks: int
    size_bytes: int
    n_sampled: int
    n_failed: int


@dataclass(frozen=True)
class RunEstimate:
    """What the next run over a catalog takes.

    Attributes
    ----------
    catalog, model : str
        The catalog, and the model's name with its hash.
    n_listed, n_labeled, n_failed : int
        Tracks of the catalog; those that the tables hold already, labeled or failed.
    n_to_featurize, n_to_label : int
        Tracks to read and decode, and those to label from stored features.
    size_bytes : int
        Size of the tracks to featurize.
    left_out : LeftOut
        Files of the catalog that are not tracks.
    seed : int
        Seed of the sample.
    keep_features : str
        The setting: features that the run removes at its end are in the storage all the same.
    formats : tuple of SampledFormat
        The tracks to featurize, most frequent format first.
    failures : Mapping of str to int
        Failed tracks of the sample by type of error.
    estimate : Estimate or None
        None if there is nothing to do.
    """

    catalog: str
    model: str
    n_listed: int
    n_labeled: int
    n_failed: int
    n_to_featurize: int
    n_to_label: int
    size_bytes: int
    left_out: LeftOut
    seed: int
    keep_features: str = "all"
    formats: tuple[SampledFormat, ...] = ()
    failures: Mapping[str, int] | None = None
    estimate: Estimate | None = None


def estimate_run(
    catalog: str,
    config: RunConfig,
    *,
    n_sample: int,
    tables: str | None = None,
    moved: bool = False,
    seed: int = 0,
    cpus: Sequence[int] = (),
) -> RunEstimate:
    """Estimate what ``earmark run`` would take.

    Parameters
    ----------
    catalog : str
        As for ``earmark run``.
    config : RunConfig
        Settings of the run.
    n_sample : int
        Tracks to read, decode and label.
    tables : str, optional
        Tables that exist: only what they lack is estimated. Nothing is written to them.
    moved : bool
        Whether `tables` hold the catalog under another name, from before it moved.
    seed : int
        Chooses the sample.
    cpus : sequence of int
        Sizes of the cluster; by default this machine's and `DEFAULT_CPUS`.

    Raises
    ------
    MisuseError
        If the catalog or the model does not exist, or the tables belong to another catalog.
    EarmarkError
        If the catalog is empty or cannot be listed, or the model crashes.
    """
    with locked_folder("earmark-sample-") as scratch:
        settings = config.model_copy(update={"publish": None})  # an estimate asks nothing of that place
        job = make_job("run", catalog, tables or f"{scratch}/none", settings, moved=moved)
        take_requests()
        listing = list_job(job)
        plan = plan_job(job, listing)
        planning_requests = take_requests()
        found = _describe(job, listing, plan, seed)
        if not plan.n_todo:
            return found
        strata = _draw(plan, n_sample, seed)
        measured = _measure(job, find_sampled(plan.to_featurize, strata))
        options = [_option(job, plan, each) for each in (cpus or (_cpus_here(), *DEFAULT_CPUS))]
        tracks_per_part = max(1, plan.to_featurize.num_rows // max(1, len(options[0].bounds)))
        sampled = _run_sample(job, plan, strata, measured, tables_at(str(scratch)), seed, tracks_per_part)
        todo = _todo(plan, strata, planning_requests, tables or str(job.catalog))
        return replace(
            found,
            formats=_formats(plan, strata, measured),
            failures=_count_failures(measured),
            estimate=make_estimate(todo, sampled, _with_actors(options, job, labeling_share(sampled))),
        )


def _count_failures(measured: Sequence[MeasuredTrack]) -> dict[str, int]:
    errors = (each.outcome for each in measured if isinstance(each.outcome, TrackError))
    return dict(Counter(type(error).__name__ for error in errors).most_common())


def _describe(job: Job, listing: Listing, plan: Plan, seed: int) -> RunEstimate:
    return RunEstimate(
        catalog=str(job.catalog),
        model=job.bundle.model,
        n_listed=plan.listing.num_rows,
        n_labeled=plan.n_labeled,
        n_failed=plan.n_failed,
        n_to_featurize=plan.to_featurize.num_rows,
        n_to_label=plan.to_label.num_rows,
        size_bytes=int(_sizes(plan).sum()),
        left_out=listing.left_out,
        seed=seed,
        keep_features=job.config.keep_features,
    )


def _sizes(plan: Plan) -> NDArray[np.int64]:
    return np.array(plan.to_featurize["size"].to_numpy(), np.int64)


def _draw(plan: Plan, n_sample: int, seed: int) -> list[Stratum]:
    formats = [extension_of(uri) for uri in plan.to_featurize["uri"].to_pylist()]
    return draw_strata(formats, _sizes(plan), n_sample, seed)


def find_sampled(to_featurize: pa.Table, strata: Sequence[Stratum]) -> list[TrackRef]:
    """Return the tracks of the sample, stratum by stratum, from all tracks to featurize."""
    if not strata:
        return []
    return from_table(
        take_rows(to_featurize.to_batches(), np.concatenate([stratum.sampled for stratum in strata]))
    )


def _measure(job: Job, tracks: Sequence[TrackRef]) -> list[MeasuredTrack]:
    """Read, decode and featurize the sample."""
    limits = TrackLimits.of(job.config)
    measured = []
    n_failed = 0
    with show_progress("sampling", len(tracks)) as meter:
        for each in measure_tracks(tracks, job.spec, limits):
            measured.append(each)
            n_failed += isinstance(each.outcome, TrackError)
            meter.show(len(measured), f"{n_failed:,} failed")
    return measured


def _run_sample(
    job: Job,
    plan: Plan,
    strata: Sequence[Stratum],
    measured: Sequence[MeasuredTrack],
    scratch: Tables,
    seed: int,
    tracks_per_part: int,
) -> Sampled:
    stored = make_label_tasks(plan, RUN, RUN_DATE, job.bundle.model)
    chosen = np.random.default_rng(seed).permutation(len(stored))[:_STORED_PARTS]
    return run_sample(
        strata,
        measured,
        [stored[at] for at in sorted(chosen)],
        scratch,
        job.spec,
        job.bundle,
        job.config,
        n_stored=plan.to_label.num_rows,
        tracks_per_part=tracks_per_part,
    )


def _todo(plan: Plan, strata: Sequence[Stratum], planning_requests: Mapping[str, int], tables: str) -> Todo:
    stratum_of = np.zeros(plan.to_featurize.num_rows, np.int64)
    for number, stratum in enumerate(strata):
        stratum_of[stratum.rows] = number
    per_part = plan.to_label["part"].value_counts().to_pylist()
    return Todo(
        n_listed=plan.listing.num_rows,
        stratum_of=stratum_of,
        n_to_label=plan.to_label.num_rows,
        stored_parts=tuple(each["counts"] for each in per_part),
        planning_requests=planning_requests,
        remote_tables=not storage.is_local(tables),
    )


def _option(job: Job, plan: Plan, cpus: int) -> Option:
    """Return how the run would use a cluster without GPUs."""
    bounds = shard_bounds(
        plan.to_featurize["size"].to_pylist(),
        max_tracks=job.config.shard_tracks,
        max_bytes=job.config.shard_mb << 20,
        at_least=fewest_shards(cpus),
    )
    return Option(_machines(job, cpus), bounds)


def _with_actors(options: Sequence[Option], job: Job, labeling: float) -> list[Option]:
    """Return the options with the actors that a run starts once it knows how long labeling takes."""
    return [replace(each, machines=_machines(job, each.machines.cpus, labeling)) for each in options]


def _machines(job: Job, cpus: int, labeling: float | None = None) -> Machines:
    actors = plan_actors(job.config.model_copy(update={"gpus_per_actor": None}), cpus, 0, labeling)
    workers = max(1, cpus - int(actors.n_actors * actors.num_cpus))
    return Machines(cpus, workers, actors.n_actors)


def _cpus_here() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _formats(
    plan: Plan, strata: Sequence[Stratum], measured: Sequence[MeasuredTrack]
) -> tuple[SampledFormat, ...]:
    sizes = _sizes(plan)
    failed = iter(isinstance(each.outcome, TrackError) for each in measured)
    found: dict[str, SampledFormat] = {}
    for stratum in strata:
        n_failed = sum(next(failed) for _ in stratum.sampled)
        before = found.get(stratum.format, SampledFormat(stratum.format, 0, 0, 0, 0))
        found[stratum.format] = SampledFormat(
            stratum.format,
            before.n_tracks + stratum.n_tracks,
            before.size_bytes + int(sizes[stratum.rows].sum()),
            before.n_sampled + len(stratum.sampled),
            before.n_failed + n_failed,
        )
    return tuple(sorted(found.values(), key=lambda each: -each.n_tracks))
