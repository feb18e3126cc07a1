"""How busy an actor keeps its network: ``python tests/benchmarks/bench_actor.py [MODEL] [--on URI]``.

A real actor labels parts of ``features/`` that the product wrote, with as many in flight as the engine gives
it. Its segments per second are compared with those of the bare compiled network, called in a loop in the same
process with whole batches in memory (the goal is a ratio of 0.9). They take turns; printed are medians, and
the median of the ratios within each turn. With ``--actors 4``, four actors share a GPU, if there is one, and
all of them are compared with the bare network of one.

No GPU is needed: ``--network-ms 20`` replaces the network by a sleep of that length for each batch, which
takes no CPU, as a GPU does. Then the ratio shows how fast a network one actor can feed.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow as pa
import ray
import soundfile as sf

from jobs.engine import cluster
from jobs.engine import lease as leases
from jobs.engine.actor_pool import ActorPool
from jobs.engine.assignment import Assignment
from jobs.engine.cluster import connected, cpus_and_gpus
from pipeline.audio.features.featurize import featurize_track
from pipeline.catalogs.track_refs import from_table
from pipeline.demo.synthesis import synthesize
from pipeline.models.bundle import INFO_FILE, WEIGHTS_FILE, ModelBundle
from pipeline.shards.featurize_shard import Shard, shard_rows, write_parts
from pipeline.shards.label_part import LabelTask
from pipeline.storage import storage
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.tracks import TrackFeatures
from tests.benchmarks.product_tables import make_listing

RUN = "20260101T000000-0000"
TURNS = 3


def write_features(tables: Tables, bundle: ModelBundle, n_parts: int, n_tracks: int) -> list[LabelTask]:
    """Write parts as featurizing does, and return the tasks that label them."""
    tracks = [_featurize(genre, bundle) for genre in ("jazz", "metal", "disco", "classical")]
    tasks = []
    for number in range(n_parts):
        listing = make_listing(number * n_tracks, (number + 1) * n_tracks)
        rows = listing.append_column("attempts", pa.array([0] * n_tracks, pa.int32()))
        spec = bundle.info.features
        shard = Shard(f"{number:06}", RUN, spec.feature_set, rows, datetime.now(UTC))
        outcomes = [(ref, tracks[place % len(tracks)]) for place, ref in enumerate(from_table(rows))]
        write_parts(shard, tables, shard_rows(shard, outcomes, spec), lambda: None)
        tasks.append(
            LabelTask.of(shard, tables, run_date="2026-01-01", model=bundle.model, tracks=shard.as_read({}))
        )
    return tasks


def _featurize(genre: str, bundle: ModelBundle) -> TrackFeatures:
    """Featurize a synthesized piece, as long as it takes for all of the model's segments."""
    spec = bundle.info.features
    file = io.BytesIO()
    sound = synthesize(genre, seed=(0,), duration_s=spec.segment_s * spec.max_segments + 1)
    sf.write(file, sound, 44_100, format="FLAC")
    file.seek(0)
    return featurize_track(file, genre, spec)


def sleep_instead(labeler: Any, seconds: float) -> None:
    """Let an actor sleep where it would run its network."""
    zeros = np.zeros((labeler.classifier.batch_size, labeler.classifier.info.n_outputs), np.float32)

    def network(*batch: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        return zeros

    labeler.classifier.logits = network


def run_bare(labeler: Any, n_segments: int) -> float:
    """Return the segments per second of the network alone."""
    classifier = labeler.classifier
    rng = np.random.default_rng(0)
    info = classifier.info
    shape = (classifier.batch_size, info.features.n_mels, info.n_frames, 1)
    batch = rng.integers(0, 256, shape, np.uint8)
    n_batches = -(-n_segments // classifier.batch_size)
    start = time.perf_counter()
    for _ in range(n_batches):
        np.asarray(classifier.logits(batch))
    return float(n_batches * classifier.batch_size / (time.perf_counter() - start))


def cpu_seconds(actors: list[Any]) -> float:
    """Return the CPU time that actors have taken so far."""
    calls = [actor.__ray_call__.remote(lambda labeler: time.process_time()) for actor in actors]
    return float(sum(ray.get(calls)))


def run_actors(
    pool: ActorPool, actors: list[Any], tasks: list[LabelTask], assignment: Assignment
) -> tuple[float, float]:
    """Label all parts as the engine does; return segments per second, and the actors' CPU ms per segment."""
    waiting, n_segments = list(tasks), 0
    in_flight: dict[Any, Any] = {}
    cpu = cpu_seconds(actors)
    start = time.perf_counter()
    while waiting or in_flight:
        while waiting and (taken := pool.take()) is not None:
            in_flight[taken.answer.remote(waiting.pop(0), assignment)] = taken
        (ready,), _ = ray.wait(list(in_flight), num_returns=1)
        pool.finish_part(in_flight.pop(ready))
        n_segments += ray.get(ready).result.n_segments
    seconds = time.perf_counter() - start
    return n_segments / seconds, 1e3 * (cpu_seconds(actors) - cpu) / n_segments


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--parts", type=int, default=24)
    parser.add_argument("--tracks", type=int, default=32, help="tracks of a part")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--network-ms", type=float, help="sleep so long for each batch instead")
    parser.add_argument("--on", help="an empty place for the tables; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(options, options.on or scratch)


def measure(options: argparse.Namespace, root: str) -> None:
    """Measure on tables at `root`, and print."""
    bundle, tables = ModelBundle.load(options.model), Tables(root)
    location = storage.join(root, "_models", bundle.model)
    storage.write_bytes(storage.join(location, WEIGHTS_FILE), bundle.weights)
    storage.write_bytes(storage.join(location, INFO_FILE), bundle.info.model_dump_json().encode())
    tasks = write_features(tables, bundle, options.parts, options.tracks)
    if options.network_ms is not None:
        cluster._PARTS_ON_CPU = cluster._PARTS_ON_GPU
    with connected(RunConfig()), leases.hold(root, RUN, say=print) as lease:
        share = 1 / options.actors if cpus_and_gpus()[1] else None
        config = RunConfig(batch_size=options.batch_size, actors=options.actors, gpus_per_actor=share)
        spec = bundle.info.features
        assignment = Assignment("2026-01-01", tables, lease, spec, bundle.model, location, config)
        pool = ActorPool(location, config)
        pool.resize()
        actors = list(pool.starting.values())
        while pool.starting:
            for ref in ray.wait(list(pool.starting), timeout=1)[0]:
                pool.add_started(ref)
        if options.network_ms is not None:
            seconds = options.network_ms / 1e3
            ray.get([actor.__ray_call__.remote(sleep_instead, seconds) for actor in actors])
        n_segments = options.parts * options.tracks * spec.max_segments
        # Opens the store, and imports what labeling needs.
        run_actors(pool, actors, tasks[: 2 * options.actors], assignment)
        rows = []
        for _ in range(TURNS):
            bare = ray.get(actors[0].__ray_call__.remote(run_bare, n_segments))
            whole, cpu_ms = run_actors(pool, actors, tasks, assignment)
            rows.append((whole, bare, whole / bare, cpu_ms))
    whole, bare, ratio, cpu_ms = (median(column) for column in zip(*rows, strict=True))
    size = f"{options.parts} parts of {options.tracks} tracks, batches of {options.batch_size}"
    print(f"{options.model}: {size}, {'on a GPU' if share else 'on a CPU'}")
    print(f"bare network  {bare:8.0f} segments per second")
    print(
        f"{options.actors} actors      {whole:8.0f} segments per second, {cpu_ms:.2f} ms of CPU per segment"
    )
    print(f"ratio         {ratio:8.2f}")


if __name__ == "__main__":
    main()
