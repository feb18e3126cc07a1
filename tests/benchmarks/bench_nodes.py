"""Strong scaling over Ray nodes of this machine: ``python tests/benchmarks/bench_nodes.py [--names 4]``.

The same catalog of mp3s of usual length is labeled on clusters of one node with one CPU, one node with two,
and two nodes with one each; all processes of a cluster, and the driver, are pinned to as many cores as its
nodes have CPUs. The clusters are up before the clock starts. The plain loop of ``bench_run.py``, in as many
processes, tells what two cores of this machine can give. All take turns; printed are the median seconds and
the ratio to one CPU within each turn. ``--names 4`` gives each file 4 names, which makes runs longer with the
same disk space.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

from ray.cluster_utils import Cluster

from tests.benchmarks.bench_run import time_plain
from tests.benchmarks.long_catalog import write_named_catalog

SHAPES = {"1 node, 1 CPU": (1,), "1 node, 2 CPUs": (2,), "2 nodes, 1 CPU each": (1, 1)}
"""CPUs of each node. A head without CPUs comes on top."""
PLAIN = {"plain, 1 process": 1, "plain, 2 processes": 2}


@contextmanager
def pinned(n_cores: int) -> Iterator[None]:
    """Pin this process, and those that it starts, to some cores during a ``with`` block."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:n_cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def running(cpus: tuple[int, ...]) -> Iterator[str]:
    """Start a cluster on as many cores as it has CPUs, yield its address, and stop it."""
    with pinned(sum(cpus)):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for n_cpus in cpus:
                cluster.add_node(num_cpus=n_cpus, object_store_memory=128 << 20)
            yield str(cluster.address)
        finally:
            cluster.shutdown()


def label(catalog: Path, tables: Path, address: str) -> float:
    """Return the wall seconds of ``earmark run``."""
    earmark = Path(sys.executable).with_name("earmark")
    command: list[str | Path] = [earmark, "run", catalog, tables, "--address", address]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--names", type=int, default=1)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this needs two cores")
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as scratch:
        folder = Path(scratch)
        catalog, tables = folder / "catalog", folder / "tables"
        write_named_catalog(catalog, n_tracks=options.tracks, n_names=options.names)
        seconds = defaultdict[str, list[float]](list)
        for _ in range(options.turns):
            for shape, cpus in SHAPES.items():
                shutil.rmtree(tables, ignore_errors=True)
                with running(cpus) as address:
                    seconds[shape].append(label(catalog, tables, address))
            for plain, n_processes in PLAIN.items():
                shutil.rmtree(tables, ignore_errors=True)
                with pinned(n_processes):
                    seconds[plain].append(time_plain(catalog, tables, n_processes))
    print(f"{options.tracks} mp3s of 3 to 5 minutes, {options.names} names each")
    for shapes in (SHAPES, PLAIN):
        alone = seconds[next(iter(shapes))]
        for shape in shapes:
            ratio = median(one / each for one, each in zip(alone, seconds[shape], strict=True))
            print(f"{shape:<22} {median(seconds[shape]):7.1f} s  {ratio:5.2f}")


if __name__ == "__main__":
    main()
