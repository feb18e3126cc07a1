"""Estimates against runs: ``python tests/benchmarks/bench_estimate.py [--tracks 90] [--sample 40] [--s3 …]``.

For a catalog of mp3s of usual length and one of mixed formats and lengths, prints what ``earmark estimate``
says and what ``earmark run`` then takes: CPU seconds of all its processes, bytes of each table and, with the
catalog and the tables below ``--s3``, requests. What grows with the time of the run, as the CPU of Ray's own
processes and renewals of the lease, is estimated for the time that the run took, however busy the machine.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from pipeline.catalogs.catalog import list_catalog
from pipeline.estimate import overheads
from pipeline.storage import storage
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from tests.benchmarks.long_catalog import write_long_catalog

EARMARK = str(Path(sys.executable).with_name("earmark"))


class TreeCpu:
    """Watches a process and its descendants: CPU seconds of Ray's workers and of all other processes."""

    def __init__(self, pid: int) -> None:
        self._seconds: dict[int, float] = {}
        self._workers: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def _watch(self, pid: int) -> None:
        while not self._stop.wait(0.25):
            try:
                processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            except psutil.Error:
                continue
            for process in processes:
                try:
                    times, name = process.cpu_times(), process.name()
                except psutil.Error:
                    continue
                self._seconds[process.pid] = times.user + times.system
                if name.startswith(("ray::IDLE", "ray::Labeler", "ray::featurize")):
                    self._workers.add(process.pid)

    def stop(self) -> tuple[float, float]:
        """Stop watching; return the seconds of the workers and actors, and of all processes."""
        self._stop.set()
        self._thread.join()
        workers = sum(seconds for pid, seconds in self._seconds.items() if pid in self._workers)
        return workers, sum(self._seconds.values())


def write_mixed_catalog(folder: Path, long: Path) -> None:
    """Write flac, ogg and m4a of one to five minutes, clips of seconds, and broken files, from long mp3s."""
    sources = sorted(long.rglob("*.mp3"))
    kinds = [("flac", 60, 10)] * 24 + [("ogg", 30, 12)] * 20 + [("mp3", 3, 1)] * 40 + [("m4a", 100, 9)] * 8
    folder.mkdir(parents=True)
    for at, (kind, start_s, step_s) in enumerate(kinds):
        length_s = start_s + step_s * (at % 20)
        out = folder / f"{kind}{at:03d}.{kind}"
        command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(sources[at % len(sources)])]
        subprocess.run([*command, "-t", str(length_s), out], check=True)
    for at in range(6):
        (folder / f"broken{at}.mp3").write_bytes(bytes(3000 * at))


def run(catalog: str, tables: str, cpus: int) -> tuple[float, float]:
    """Run ``earmark run``; return CPU seconds of the workers and of all processes."""
    command = [EARMARK, "run", catalog, tables, "--cpus", str(cpus)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cpu = TreeCpu(process.pid)
    if process.wait():
        raise SystemExit("earmark run failed")
    return cpu.stop()


def compare(name: str, catalog: str, tables: str, options: argparse.Namespace) -> None:
    """Estimate a run, run it, and print both."""
    command = [EARMARK, "estimate", catalog, "--format", "json", "--cpus", str(options.cpus)]
    command += ["--sample", str(options.sample), "--seed", str(options.seed)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    found = json.loads(done.stdout)["estimate"]
    workers_s, all_s = run(catalog, tables, options.cpus)
    (report,) = read_reports(Tables(tables))
    wall_s = found["run_times"][0]["wall_s"]["value"]
    n_listed = list_catalog(catalog).num_rows
    driver_s = overheads.DRIVER_CPU_S + overheads.DRIVER_CPU_S_PER_TRACK * n_listed
    own_s = found["total_cpu_s"]["value"] - driver_s - overheads.DRIVER_CPU_PER_S * wall_s
    rows = [
        ("wall time, s", wall_s, report.wall_s),
        ("CPU of workers and actors, s", own_s, workers_s),
        ("CPU of all processes, s", own_s + driver_s + overheads.DRIVER_CPU_PER_S * report.wall_s, all_s),
    ]
    sizes: defaultdict[str, int] = defaultdict(int)
    for entry in list_objects(Tables(tables)).objects:
        table = entry.path.partition("/")[0]
        sizes["_runs, _index, _models" if table.startswith("_") else table] += entry.size
    storage_bytes = found["storage_bytes"] | {"all tables": found["total_bytes"]}
    sizes["all tables"] = sum(sizes.values())
    rows += [
        (f"{table}, kB", size["value"] / 1e3, sizes[table] / 1e3) for table, size in storage_bytes.items()
    ]
    extra = (report.wall_s - wall_s) / 5  # renewals of the lease in the time that this machine took longer
    rows += [
        (f"{kind} requests", n["value"] + (extra if kind != "HEAD" else 0), report.requests.get(kind, 0))
        for kind, n in found["requests"].items()
    ]
    print(f"\n{name}: {n_listed} tracks, sample {options.sample}, seed {options.seed}")
    print(f"{'':<30} {'estimate':>10} {'run':>10} {'':>7}")
    for what, estimated, truth in rows:
        error = f"{estimated / truth - 1:+.0%}" if truth else ""
        print(f"{what:<30} {estimated:>10.1f} {truth:>10.1f} {error:>7}", flush=True)


def main() -> None:
    """Write the catalogs, and compare estimates with runs over them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=90, help="tracks of the catalog of mp3s")
    parser.add_argument("--sample", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument(
        "--s3", help="where to put the mixed catalog and its tables, such as s3://bucket/bench"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-estimate-"))
    try:
        long, mixed = folder / "long", folder / "mixed"
        write_long_catalog(long, n_tracks=options.tracks)
        write_mixed_catalog(mixed, long)
        compare("mp3s of 3 to 5 minutes", str(long), str(folder / "tables-long"), options)
        if options.s3 is None:
            compare("mixed", str(mixed), str(folder / "tables-mixed"), options)
            return
        for path in mixed.iterdir():
            storage.write_bytes(f"{options.s3}/music/{path.name}", path.read_bytes())
        compare("mixed, on S3", f"{options.s3}/music", f"{options.s3}/tables", options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
