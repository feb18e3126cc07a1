"""Strong scaling over Ray nodes on this machine: ``python tests/benchmarks/bench_nodes.py [--tracks 200]``.

The same catalog of mp3s of usual length is labeled on clusters of one node with one CPU, one node with two,
and two nodes with one each; all processes of a cluster, and the driver, are pinned to as many cores as its
nodes have CPUs. The clusters are up before the clock starts. They take turns; printed are the median seconds
and the ratio to one CPU within each turn.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

from ray.cluster_utils import Cluster

from tests.benchmarks.long_catalog import write_long_catalog

SHAPES = {"1 node, 1 CPU": (1,), "1 node, 2 CPUs": (2,), "2 nodes, 1 CPU each": (1, 1)}
"""CPUs of each node. A head without CPUs comes on top."""


@contextmanager
def running(cpus: tuple[int, ...]) -> Iterator[str]:
    """Start a cluster on as many cores as it has CPUs, yield its address, and stop it."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[: sum(cpus)])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for n_cpus in cpus:
            cluster.add_node(num_cpus=n_cpus, object_store_memory=128 << 20)
        yield str(cluster.address)
    finally:
        cluster.shutdown()
        os.sched_setaffinity(0, cores)


def label(catalog: Path, tables: Path, address: str) -> float:
    """Return the wall seconds of ``earmark run``."""
    command = [Path(sys.executable).with_name("earmark"), "run", catalog, tables, "--address", address]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this needs two cores")
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as scratch:
        folder = Path(scratch)
        write_long_catalog(folder / "catalog", n_tracks=options.tracks)
        seconds: dict[str, list[float]] = {shape: [] for shape in SHAPES}
        for _ in range(options.turns):
            for shape, cpus in SHAPES.items():
                shutil.rmtree(folder / "tables", ignore_errors=True)
                with running(cpus) as address:
                    seconds[shape].append(label(folder / "catalog", folder / "tables", address))
    print(f"{options.tracks} mp3s of 3 to 5 minutes")
    alone = seconds["1 node, 1 CPU"]
    for shape, taken in seconds.items():
        ratio = median(one / each for one, each in zip(alone, taken, strict=True))
        print(f"{shape:<20} {median(taken):7.1f} s  {ratio:5.2f}")


if __name__ == "__main__":
    main()
