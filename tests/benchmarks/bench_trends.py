"""The cost of trends: ``python tests/benchmarks/bench_trends.py [TRACKS] [--keep FOLDER]``.

Measures seconds, CPU seconds and peak memory of ``earmark trends`` over seeded tables (of a million tracks by
default), as a table and as a page; the size of the page; and how long headless Chromium takes to open it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.tables.tables import Tables
from tests.trend_tables import write_trend_tables

EARMARK = Path(sys.executable).with_name("earmark")


def measure(*arguments: str) -> None:
    """Run the command, and print its seconds and the peak memory of all commands so far."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([EARMARK, "trends", *arguments], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    options = " ".join(arguments[1:])
    print(f"{options:<40} {seconds:6.2f} s, CPU {cpu_s:6.2f} s, peak so far {after.ru_maxrss / 1024:,.0f} MB")


def open_page(page: Path, folder: Path) -> None:
    """Print how long the browser takes to draw the charts and the list of the page."""
    from tests.browser import chromium, missing_programs

    if missing_programs():
        print("no browser is installed to open the page")
        return
    with chromium(folder / "profile") as browser:
        for _ in range(2):  # the first one starts the renderer too
            begun = time.perf_counter()
            browser.open(page)
            rows = browser.evaluate("document.querySelectorAll('#artists tbody tr').length")
            print(f"opened in {time.perf_counter() - begun:.2f} s, {rows} artists listed")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracks", type=int, nargs="?", default=1_000_000)
    parser.add_argument(
        "--keep", type=Path, help="write the tables and the page there, or use those that are there"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        tables, page = folder / "tables", folder / "trends.html"
        if not tables.exists():
            write_trend_tables(Tables(str(tables)), arguments.tracks)
        for by in ("year", "seen", "folder", "artist", "album", "label"):
            measure(str(tables), "--by", by)
        measure(str(tables), "--html", str(page))
        print(f"the page has {page.stat().st_size / 1e6:.2f} MB")
        open_page(page, Path(scratch))


if __name__ == "__main__":
    main()
