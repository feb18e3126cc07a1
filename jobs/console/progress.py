"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from jobs.console.output import PlainConsole
from pipeline.formatting import duration_text

_LINE_EVERY_S = 5.0


class Meter:
    """Shows the progress of some work.

    Parameters
    ----------
    doing : str
        What is being done, such as ``labeling``.
    total : int or None
        Number of items to do; None if it is not known.
    unit : str
        What the items are.
    console : PlainConsole
        Where to print.
    """

    def __init__(self, doing: str, total: int | None, unit: str, console: PlainConsole) -> None:
        self._doing = doing
        self._total = total
        self._unit = unit
        self._console = console
        self._start = self._last = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(doing, total=total, note="")
            self._bar.start()

    def show(self, done: int, note: str = "", *, under_way: bool = True) -> None:
        """Show that `done` items are done, with a note such as ``3 failed``.

        If the work is `under_way`, also show the rate and the time left; before that, the items done so far
        would give a wrong estimate.
        """
        note = " · ".join(part for part in (note, self._rate(done) if under_way else "") if part)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_S:
            self._last = now
            of = f" of {self._total:,}" if self._total is not None else ""
            self._console.print(f"{self._doing}: {done:,}{of}" + (f" · {note}" if note else ""))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _rate(self, done: int) -> str:
        elapsed = time.monotonic() - self._start
        if not done or elapsed < 1:
            return ""
        rate = done / elapsed
        text = f"{rate:,.1f} {self._unit}/s" if rate >= 1 else f"{rate:.2g} {self._unit}/s"
        if self._total is not None and done < self._total:
            text += f" · {duration_text(round((self._total - done) / rate))} left"
        return text


@contextmanager
def show_progress(doing: str, total: int | None = None, *, unit: str = "tracks") -> Iterator[Meter]:
    """Show a `Meter` on stderr during a ``with`` block."""
    meter = Meter(doing, total, unit, PlainConsole(file=sys.stderr))
    try:
        yield meter
    finally:
        meter.close()
