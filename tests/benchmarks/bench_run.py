"""The cost of a whole run: ``python tests/benchmarks/bench_run.py [--tracks 300] [--against MODEL]``.

Compares ``earmark run`` on mp3s of usual length with a plain loop over the same functions in as many
processes, without Ray or a lease. They take turns. Printed are tracks per hour, the ratio, the share of each
stage in the workers' time, and the peak memory of driver and workers. Both are measured as whole processes,
including start-up and loading TensorFlow. ``--names 11`` gives each file 11 names, which makes runs longer
with the same disk space. ``--against`` times another model in the same turns.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from pipeline.catalogs.catalog import list_catalog
from pipeline.catalogs.cutting import cut_shards
from pipeline.catalogs.planning import Goal
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.label_part import LabelTask, label_part
from pipeline.shards.limits import TrackLimits
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from tests.benchmarks.long_catalog import write_named_catalog
from tests.plans import plan_tables


def plain_process(catalog: str, root: str, cpus: int, process: int) -> None:
    """Featurize and label every `cpus`-th shard, as `earmark run` does, but without what makes it safe."""
    bundle = ModelBundle.load("default")
    spec, tables = bundle.info.features, Tables(root)
    plan = plan_tables(list_catalog(catalog), tables, Goal(spec, bundle.model))
    config = RunConfig()
    shards = cut_shards(
        plan.to_featurize, max_tracks=config.shard_tracks, max_bytes=config.shard_mb << 20, at_least=4 * cpus
    )
    classifier = Classifier(bundle, threads=1, batch_size=8)
    for number in range(process, len(shards), cpus):
        shard = Shard(f"{number:06}", "plain", spec.feature_set, shards[number], datetime.now(UTC))
        featurize_shard(shard, tables, spec, lambda: None, limits=TrackLimits.of(config))
        tracks = shard.as_read({})
        task = LabelTask.of(shard, tables, run_date="2026-01-01", model=bundle.model, tracks=tracks)
        label_part(task, tables, classifier, lambda: None)


class PeakMemory:
    """Watches a process and its descendants: the peak RSS in bytes of each kind of process."""

    def __init__(self, pid: int) -> None:
        self.peaks: defaultdict[str, int] = defaultdict(int)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def _watch(self, pid: int) -> None:
        # Ten times a second, the watcher alone took 2.6 % of two cores from the run.
        while not self._stop.wait(1):
            try:
                driver = psutil.Process(pid)
                for process in (driver, *driver.children(recursive=True)):
                    kind = "driver" if process.pid == pid else process.name()
                    if kind == "driver" or kind.startswith("ray::"):
                        self.peaks[kind] = max(self.peaks[kind], process.memory_info().rss)
            except psutil.Error:
                continue

    def stop(self) -> dict[str, int]:
        """Stop watching and return the peaks."""
        self._stop.set()
        self._thread.join()
        return dict(self.peaks)


def time_earmark(catalog: Path, root: Path, cpus: int, *flags: str) -> tuple[float, dict[str, int]]:
    """Return the wall seconds of ``earmark run``, and the peak memory of each kind of process."""
    earmark = Path(sys.executable).with_name("earmark")
    command: list[str | Path] = [earmark, "run", catalog, root, "--cpus", str(cpus), *flags]
    start = time.perf_counter()
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    memory = PeakMemory(run.pid)
    if run.wait():
        raise SystemExit("earmark run failed")
    return time.perf_counter() - start, memory.stop()


def time_plain(catalog: Path, root: Path, cpus: int) -> float:
    """Return the wall seconds of the plain loop."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--plain", str(catalog), str(root), str(cpus)]
    runs = [subprocess.Popen([*command, str(process)], stderr=subprocess.DEVNULL) for process in range(cpus)]
    codes = [run.wait() for run in runs]
    if any(codes):
        raise SystemExit("the plain loop failed")
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=300)
    parser.add_argument("--names", type=int, default=1)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--against", metavar="MODEL")
    parser.add_argument("--plain", nargs=4, metavar=("CATALOG", "TABLES", "CPUS", "PROCESS"))
    options = parser.parse_args()
    if options.plain:
        catalog, root, cpus, process = options.plain
        plain_process(catalog, root, int(cpus), int(process))
        return
    folder = Path(tempfile.mkdtemp(prefix="earmark-bench-"))
    try:
        size = write_named_catalog(folder / "catalog", n_tracks=options.tracks, n_names=options.names)
        print(
            f"{options.tracks} mp3s of 3 to 5 minutes, {size / 1e9:.2f} GB, {options.names} names each, "
            f"{options.cpus} processes"
        )
        print(f"{'turn':>4}  {'earmark s':>9}  {'plain s':>8}  {'ratio':>5}")
        ratios, walls = [], []
        for turn in range(options.turns):
            for name in ("earmark", "plain"):
                shutil.rmtree(folder / name, ignore_errors=True)
            wall, memory = time_earmark(folder / "catalog", folder / "earmark", options.cpus)
            plain = time_plain(folder / "catalog", folder / "plain", options.cpus)
            ratios.append(plain / wall)
            walls.append(wall)
            print(f"{turn + 1:>4}  {wall:>9.1f}  {plain:>8.1f}  {plain / wall:>5.2f}", flush=True)
            if options.against:
                shutil.rmtree(folder / "other", ignore_errors=True)
                catalog = folder / "catalog"
                other, _ = time_earmark(catalog, folder / "other", options.cpus, "--model", options.against)
                print(f"      {other:.1f} s with {options.against}: {other / wall:.2f}", flush=True)
        _print_run(folder / "earmark", median(walls), median(ratios), memory)
        described, memory = time_earmark(
            folder / "catalog", folder / "described", options.cpus, "--descriptors"
        )
        print(
            f"\nwith descriptors too: {described:.1f} s, {described / walls[-1]:.2f} of the last turn without"
        )
        print(f"peak memory of a featurize worker then: {_featurize_peak(memory) / 1e6:.0f} MB")
    finally:
        shutil.rmtree(folder)


def _print_run(tables: Path, wall: float, ratio: float, memory: dict[str, int]) -> None:
    (file,) = (tables / "_runs").glob("*.json")
    report = json.loads(file.read_text())
    labeled = report["counts"]["labeled"]
    print(
        f"\nthroughput: {labeled / wall * 3600:,.0f} tracks per hour, {ratio:.2f} of the plain loop (medians)"
    )
    total = sum(report["seconds"].values())
    print(f"\nseconds of the workers' time by stage, of {total:.1f} (last turn):")
    for stage, seconds in sorted(report["seconds"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<10} {seconds:>7.1f}  {seconds / total:>5.1%}")
    print("\npeak memory, MB (resident, shared pages counted in each process):")
    for kind, peak in sorted(memory.items(), key=lambda item: -item[1]):
        print(f"  {kind:<24} {peak / 1e6:>7.0f}")


def _featurize_peak(memory: dict[str, int]) -> int:
    return max(peak for kind, peak in memory.items() if kind.startswith("ray::featurize"))


if __name__ == "__main__":
    main()
