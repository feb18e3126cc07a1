"""Listing by several requests at a time gives what one request after the other gives, in the same order."""

import contextlib
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.catalogs.parallel_listing import (
    OutOfOrderError,
    Page,
    list_in_parallel,
    list_in_turn,
    middle_of,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
names = st.one_of(st.text("ab/0~ ", min_size=1, max_size=8), texts)


class Store:
    """Keys in the order of their UTF-8, listed as S3 does, a few a page."""

    def __init__(self, keys: Sequence[str], page: int = 3, heeds_start: bool = True) -> None:
        self.keys = sorted(set(keys), key=str.encode)
        self.n_requests = 0
        self.at_once: list[int] = []
        self._page = page
        self._heeds_start = heeds_start
        self._now = 0
        self._lock = threading.Lock()
        self.latency_s = 0.0
        self._collate: Callable[[str], Any] = str.encode

    def order_by(self, collate: Callable[[str], Any]) -> None:
        self._collate = collate
        self.keys.sort(key=collate)

    def list_page(self, after: str | None, token: str | None) -> Page[int]:
        with self._lock:
            self.n_requests += 1
            self._now += 1
            self.at_once.append(self._now)
        time.sleep(self.latency_s)
        start = 0
        if token is not None:
            start = int(token)
        elif after is not None and self._heeds_start:
            start = bisect_right([self._collate(key) for key in self.keys], self._collate(after))
        items = [(key, len(key)) for key in self.keys[start : start + self._page]]
        end = start + self._page
        with self._lock:
            self._now -= 1
        return Page(items, str(end) if end < len(self.keys) else None)

    def list_folders(self, prefix: str) -> tuple[list[str], bool]:
        self.n_requests += 1
        below = [key.removeprefix(prefix) for key in self.keys if key.startswith(prefix)]
        folders = sorted({prefix + key.partition("/")[0] + "/" for key in below if "/" in key})
        return folders[: self._page], all("/" in key for key in below) and len(folders) <= self._page

    def list(self, prefix: str = "") -> list[str]:
        rows = list_in_parallel(self.list_page, self.list_folders, prefix, list)
        return [key for items in rows for key, _ in items]

    @property
    def n_pages(self) -> int:
        return -(-len(self.keys) // self._page)


@given(st.lists(names, max_size=60), st.sampled_from(["", "m/", "é/"]))
@example(["/", "//", "a//b", "a/b", "a"], "m/")
@settings(deadline=None, max_examples=150)
def test_every_key_is_listed_once_and_in_order(found: list[str], prefix: str) -> None:
    """A track that is listed twice, or not at all, is labeled twice, or counts as gone."""
    store = Store([prefix + name for name in found])
    assert store.list(prefix) == store.keys


@pytest.mark.parametrize("order", ["ignores StartAfter", "no order", "no case"])
@given(st.lists(st.text("abAB/", min_size=1, max_size=4), min_size=20, max_size=60), st.randoms())
@settings(deadline=None, max_examples=60)
def test_a_store_that_lists_otherwise_is_noticed(order: str, found: list[str], shuffling: Random) -> None:
    """Directory buckets have no order, some gateways no case: tracks would be lost, and count as gone."""
    store = Store(found, heeds_start=order != "ignores StartAfter")
    if order == "no order":
        shuffling.shuffle(store.keys)
    if order == "no case":
        store.order_by(str.lower)
    with contextlib.suppress(OutOfOrderError):
        assert store.list() == sorted(store.keys)
    rows = list_in_turn(store.list_page, list)
    assert sorted(key for items in rows for key, _ in items) == sorted(store.keys)


def test_an_empty_page_is_not_the_end() -> None:
    """A versioned bucket in which much was deleted has pages without a key."""
    store = Store([f"A/{folder}/{number:03}" for folder in "xy" for number in range(200)])

    def list_page(after: str | None, token: str | None) -> Page[int]:
        if after is None and token is None:
            return Page([], "0")
        return store.list_page(after, token)

    rows = list_in_parallel(list_page, store.list_folders, "A/", list)
    assert [key for items in rows for key, _ in items] == store.keys


LAYOUTS = {
    "one folder": [f"m/{n:06}.mp3" for n in range(20_000)],
    "a folder a year, deep": [f"m/lib/flac/{n % 24 + 2000}/{n:05}.flac" for n in range(20_000)],
    "a folder an artist": [f"m/{chr(65 + n % 26)}{n % 7000:04}/{n}.mp3" for n in range(20_000)],
    "hashes": [f"m/{n * 2654435761 % 2**32:08x}.mp3" for n in range(20_000)],
    "most in one folder": [f"m/{'all' if n % 50 else n % 9}/{n:06}.mp3" for n in range(20_000)],
    "no folder, other letters": [f"m/{chr(0x4E00 + n % 3000)}{n}.mp3" for n in range(20_000)],
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_million_objects_cost_little_more_than_a_thousand_requests(layout: str) -> None:
    """Dividing blindly asks for many ranges in which nothing lies; stores charge by the request."""
    store = Store(LAYOUTS[layout], page=20)
    store.latency_s = 0.004
    assert store.n_pages == 1000
    assert store.list("m/") == store.keys
    assert store.n_requests <= 1100
    assert max(store.at_once) <= 8
    assert np.mean(store.at_once) > 2


def test_a_small_catalog_costs_one_request() -> None:
    store = Store(["m/a.mp3", "m/b.mp3"])
    assert store.list("m/") == store.keys
    assert store.n_requests == 1


def test_who_needs_only_the_first_page_asks_for_no_more() -> None:
    """``earmark scan s3://… --limit 1000`` of a huge bucket."""
    store = Store([f"{n:03}" for n in range(100)])
    rows = list_in_parallel(store.list_page, store.list_folders, "", list)
    assert [key for key, _ in next(rows)] == ["000", "001", "002"]
    rows.close()
    assert store.n_requests == 1


def test_an_error_of_any_request_ends_the_listing() -> None:
    """Half a listing would look as if the other half of the catalog were gone."""
    store = Store([f"{n:03}" for n in range(100)])

    def list_page(after: str | None, token: str | None) -> Page[int]:
        page = store.list_page(after, token)
        if any(key == "060" for key, _ in page.items):
            raise OSError("the store does not answer")
        return page

    with pytest.raises(OSError, match="does not answer"):
        list(list_in_parallel(list_page, store.list_folders, "", list))


@given(names, st.one_of(names, st.none()), st.sampled_from(["", "m/"]))
@settings(deadline=None)
def test_the_middle_lies_between(start: str, end: str | None, prefix: str) -> None:
    if end is not None and end.encode() <= start.encode():
        start, end = end, start
    middle = middle_of(prefix + start, None if end is None else prefix + end, prefix)
    if start == end:
        assert middle is None
    elif middle is not None:
        assert (prefix + start).encode() < middle.encode()
        assert middle.startswith(prefix)
        assert end is None or middle.encode() < (prefix + end).encode()
