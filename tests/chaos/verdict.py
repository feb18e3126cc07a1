"""Whether tables hold every track of a chaos catalog once, rightly named: meanwhile, and after."""

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd

from tests.chaos.catalog import ChaosCatalog
from tests.chaos.damage import EXPECTED
from tests.e2e.earmark import earmark, read_table

_LOOK_EVERY_S = 1.0
_KEYS = {
    "labels": ["model", "track_id", "etag"],
    "failures": ["track_id", "etag", "attempts"],
    "features": ["feature_set", "track_id", "etag", "segment"],
}
"""What may stand in a table once. A failure that is tried again has one row more, of another attempt."""


def doubles(tables: Path, names: Iterable[str] = _KEYS) -> list[str]:
    """What stands in the tables twice, as pandas reads them."""
    found = []
    for name in names:
        folder = tables / name
        if folder.exists():
            rows = pd.read_parquet(folder, columns=_KEYS[name])
            twice = rows[rows.duplicated(keep=False)]
            found += [f"{name} twice: {row}" for row in sorted(set(twice.itertuples(index=False, name=None)))]
    return found


class TablesReader:
    """An analyst who reads labels and failures all the while, for a ``with`` block.

    Attributes
    ----------
    n_looks : int
        How often they were read.
    doubles : list of str
        What was seen twice.
    """

    def __init__(self, tables: Path) -> None:
        self.n_looks = 0
        self.doubles: list[str] = []
        self._tables = tables
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

    def _read(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                self.doubles += doubles(self._tables, ("labels", "failures"))
                self.n_looks += 1
            except FileNotFoundError:  # a part of a shard that is halved goes before its halves come
                continue


def faults(catalog: ChaosCatalog, tables: Path) -> list[str]:
    """What is wrong with the tables of a finished run: nothing, if Earmark keeps its promise."""
    found = doubles(tables)
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
