"""The memory of a run with long files: ``python tests/benchmarks/bench_memory.py [--tracks 200]``.

The catalog has mp3s of usual length, a four-hour mp3 and a two-hour flac at 96 kHz. Printed are the peaks of
each kind of process. RSS includes pages shared between processes: it is what a limit per process must allow.
USS does not: it is what one more process costs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import psutil
import soundfile as sf

from tests.benchmarks.long_catalog import write_long_catalog, write_long_mp3

LIMIT_MB = 600
FLAC_RATE = 96_000


def write_long_flac(path: Path, hours: float) -> None:
    """Write a stereo flac at 96 kHz: quiet noise that changes every minute."""
    rng = np.random.default_rng(0)
    with sf.SoundFile(
        path, "w", FLAC_RATE, 2, format="FLAC", subtype="PCM_16", compression_level=0.0
    ) as sound:
        for _ in range(round(hours * 60)):
            sound.write(rng.integers(-128, 128, (FLAC_RATE * 10, 2), np.int16).repeat(6, axis=0))


class PeakMemory:
    """Watches a process and its descendants: the peak RSS and USS in bytes of each kind of process."""

    def __init__(self, pid: int) -> None:
        self.rss: defaultdict[str, int] = defaultdict(int)
        self.uss: defaultdict[str, int] = defaultdict(int)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def _watch(self, pid: int) -> None:
        while not self._stop.wait(0.1):
            try:
                driver = psutil.Process(pid)
                for process in (driver, *driver.children(recursive=True)):
                    kind = "driver" if process.pid == pid else process.name()
                    if kind != "driver" and not kind.startswith("ray::"):
                        continue
                    memory = process.memory_full_info()
                    self.rss[kind] = max(self.rss[kind], memory.rss)
                    self.uss[kind] = max(self.uss[kind], memory.uss)
            except psutil.Error:
                continue

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()


def main() -> None:
    """Make the catalog, run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--mp3-hours", type=float, default=4.0)
    parser.add_argument("--flac-hours", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="Keep the catalog there for the next time.")
    parser.add_argument("flags", nargs="*", help="Flags of earmark run, after --")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="earmark-memory-"))
    catalog = folder / "catalog"
    try:
        if not catalog.exists():
            write_long_catalog(catalog, n_tracks=options.tracks - 2)
            write_long_mp3(catalog / "four hours.mp3", next(catalog.rglob("*.mp3")), hours=options.mp3_hours)
            write_long_flac(catalog / "two hours.flac", options.flac_hours)
        sizes = [path.stat().st_size for path in catalog.rglob("*.*")]
        print(f"{len(sizes)} tracks, {sum(sizes) / 1e9:.2f} GB, the longest two {sorted(sizes)[-2:]} bytes")
        measure(catalog, folder / "tables", options.flags)
    finally:
        shutil.rmtree(folder / "tables", ignore_errors=True)
        if options.folder is None:
            shutil.rmtree(folder)


def measure(catalog: Path, tables: Path, flags: list[str]) -> None:
    """Run once and print the peaks."""
    command: list[str | Path] = [Path(sys.executable).with_name("earmark"), "run", catalog, tables, *flags]
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    memory = PeakMemory(run.pid)
    code = run.wait()
    memory.stop()
    if code:
        raise SystemExit(f"earmark run ended with {code}")
    print(f"{'process':<24} {'RSS MB':>7} {'USS MB':>7}")
    for kind, peak in sorted(memory.rss.items(), key=lambda item: -item[1]):
        print(f"{kind:<24} {peak / 1e6:>7.0f} {memory.uss[kind] / 1e6:>7.0f}")
    workers = max(peak for kind, peak in memory.rss.items() if kind.startswith("ray::featurize"))
    print(f"featurize workers: {workers / 1e6:.0f} MB at most, of {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
