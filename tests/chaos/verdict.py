"""Check that tables hold every track of a chaos catalog once, with the right result."""

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.chaos.catalog import ChaosCatalog
from tests.chaos.damage import EXPECTED
from tests.e2e.earmark import earmark, read_table

_READ_EVERY_S = 1.0
_KEYS = {
    "labels": ["model", "track_id", "etag"],
    "failures": ["track_id", "etag", "attempts"],
    "features": ["feature_set", "track_id", "etag", "segment"],
}
"""The columns that identify a row. A retried failure has another row, with another number of attempts."""


def find_duplicates(tables: str, names: Iterable[str] = _KEYS) -> list[str]:
    """Return the duplicate rows of the tables, as pandas reads them."""
    found = []
    for name in names:
        rows = read_table(tables, name, _KEYS[name])
        twice = rows[rows.duplicated(keep=False)]
        found += [f"{name} twice: {row}" for row in sorted(set(twice.itertuples(index=False, name=None)))]
    return found


class TablesReader:
    """Reads labels and failures all the time in a ``with`` block, as an analyst might.

    Attributes
    ----------
    n_reads : int
        Number of reads.
    duplicates : list of str
        Duplicate rows that were seen.
    """

    def __init__(self, tables: str) -> None:
        self.n_reads = 0
        self.duplicates: list[str] = []
        self._tables = tables
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True, name="tables reader")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _read(self) -> None:
        while not self._stop.wait(_READ_EVERY_S):
            try:
                self.duplicates += find_duplicates(self._tables, ("labels", "failures"))
                self.n_reads += 1
            except FileNotFoundError:
                # When a shard is halved, its part is removed before the halves are written.
                continue
            except Exception as error:  # raised when the block ends
                self._error = error
                return


def find_faults(catalog: ChaosCatalog, tables: str) -> list[str]:
    """Return everything that is wrong with the tables of a finished run."""
    found = find_duplicates(tables)
    labels, failures = read_table(tables, "labels"), read_table(tables, "failures")
    tracks = read_table(tables, "tracks").sort_values("listed_at").groupby("uri").last()
    found += _differences("listed", set(tracks.index), {*catalog.titles, *catalog.bad})
    found += _differences("labeled", set(labels["uri"]), set(catalog.titles))
    named = dict(zip(failures["uri"], failures["error_type"], strict=True))
    for path in sorted({*named, *catalog.bad}):
        wanted = EXPECTED[catalog.bad[path]] if path in catalog.bad else None
        if named.get(path) != wanted:
            kind = catalog.bad.get(path, "good")
            found.append(f"{path} ({kind}) failed as {named.get(path)}, not as {wanted}")
    for path, title in catalog.titles.items():
        if path in tracks.index and tracks.loc[path, "title"] != title:
            found.append(f"{path} has the title {tracks.loc[path, 'title']!r}, not {title!r}")
    verified = earmark("verify", tables, "--catalog", catalog.root)
    if verified.returncode != 0:
        found.append(f"earmark verify: {verified.stdout}{verified.stderr}")
    return found


def _differences(what: str, have: set[str], want: set[str]) -> list[str]:
    missing = [f"{path} is not {what}" for path in sorted(want - have)]
    return missing + [f"{path} is {what} and should not be" for path in sorted(have - want)]
