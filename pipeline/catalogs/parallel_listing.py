"""Listing many keys of a store by several requests at a time, in the order of the keys.

A store lists a thousand keys a request, and each page begins where the last one ended, so that a million
objects take a thousand requests one after the other. Here, the keys are divided into ranges: first between
the folders of the catalog, and later, when a request could be made but no range waits for one, in the middle
of a range that is being listed. Where its keys lie is not known, so the second half may be empty; then the
next division is made further in front.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
Rows = TypeVar("Rows")

_REQUESTS = 8
"""Requests at a time; S3's client keeps ten connections."""
_DIVISIONS, _PAGES_A_DIVISION = 16, 20
"""Divisions that are made in any case, and pages for each further one: it may cost a request."""
_LEVELS = 8
"""Folders in folders that are looked into for the first one that holds several."""
_FIRST, _LATIN_END, _END = 0x20, 0x7F, 0x10000
"""Code points: most characters of keys lie between the first two, and most others before the third."""
_BEHIND_ALL = chr(0x10FFFF)
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Keys and what belongs to them, in order, and how to go on; None at the end."""

    items: Sequence[tuple[str, T]]
    token: str | None


ListPage = Callable[[str | None, str | None], Page[T]]
"""Returns the page after a key, or the one that a token names, or the first one."""

ListFolders = Callable[[str], tuple[list[str], bool]]
"""Returns folders right below a prefix, with a slash at the end, and whether all keys are in them."""


@dataclass(eq=False)
class _Range(Generic[T, Rows]):
    """The keys after `start` up to and including `end`, and what was found of them but not yet yielded."""

    start: str
    end: str | None
    position: str
    token: str | None = None
    found: deque[Rows] = field(default_factory=deque)
    pages_since_division: int = 0
    is_done: bool = False

    def add(self, page: Page[T], to_rows: Callable[[Sequence[tuple[str, T]]], Rows]) -> None:
        """Take what a page holds of the range."""
        self.token = page.token
        last = page.items[-1][0] if page.items else self.position
        self.is_done = page.token is None or (self.end is not None and last > self.end)
        items = page.items
        if items and (items[0][0] <= self.start or (self.end is not None and last > self.end)):
            items = [
                (key, item)
                for key, item in items
                if key > self.start and (self.end is None or key <= self.end)
            ]
        if items:
            self.position = items[-1][0]
            self.found.append(to_rows(items))
            self.pages_since_division += 1

    def divide(self, prefix: str) -> "_Range[T, Rows] | None":
        """Cut off the second half, if there is a text between the last key and the end."""
        middle = middle_of(self.position, self.end, prefix)
        if middle is None:
            return None
        other: _Range[T, Rows] = _Range(middle, self.end, middle)
        self.end = middle
        self.pages_since_division = 0
        return other


def list_in_parallel(
    list_page: ListPage[T],
    list_folders: ListFolders,
    prefix: str,
    to_rows: Callable[[Sequence[tuple[str, T]]], Rows],
) -> Iterator[Rows]:
    """Yield all keys below a prefix, some at a time, in order.

    Parameters
    ----------
    list_page : callable
        Requests a page; called in several threads.
    list_folders : callable
        Requests the folders below a prefix; some of them are enough.
    prefix : str
        What all keys begin with.
    to_rows : callable
        Converts keys, and what the pages say of them, to what is yielded, which is kept until its turn.

    Raises
    ------
    Exception
        Whatever the callables raise.
    """
    page = list_page(None, None)
    yield to_rows(page.items)  # a small catalog costs one request
    if page.token is None:
        return
    position = page.items[-1][0] if page.items else ""
    prefix, bounds, end = _find_bounds(list_folders, prefix, position)
    ranges: list[_Range[T, Rows]] = [
        _Range(start, end, start) for start, end in zip(["", *bounds], [*bounds, end], strict=True)
    ]
    ranges[0].token, ranges[0].position, ranges[0].pages_since_division = page.token, position, 1
    n_pages, n_divisions = 1, 0
    asked: dict[Future[Page[T]], _Range[T, Rows]] = {}
    pool = ThreadPoolExecutor(_REQUESTS, thread_name_prefix="listing")

    def ask(which: _Range[T, Rows]) -> None:
        after = which.start if which.token is None else None
        asked[pool.submit(list_page, after, which.token)] = which

    try:
        for each in ranges:
            ask(each)
        while ranges:
            while len(asked) < _REQUESTS and n_divisions < _DIVISIONS + n_pages // _PAGES_A_DIVISION:
                longest = max(asked.values(), key=lambda each: each.pages_since_division)
                other = longest.divide(prefix) if longest.pages_since_division else None
                if other is None:
                    longest.pages_since_division = 0
                    break
                ranges.insert(ranges.index(longest) + 1, other)
                ask(other)
                n_divisions += 1
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                answered = asked.pop(future)
                answered.add(future.result(), to_rows)
                n_pages += 1
                if not answered.is_done:
                    ask(answered)
            while ranges and (ranges[0].found or ranges[0].is_done):
                while ranges[0].found:
                    yield ranges[0].found.popleft()
                if ranges[0].is_done:
                    ranges.pop(0)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _find_bounds(list_folders: ListFolders, prefix: str, position: str) -> tuple[str, list[str], str | None]:
    """Return what all keys begin with, folders to divide the keys at, and a text behind all keys if known."""
    for _ in range(_LEVELS):
        folders, are_all = list_folders(prefix)
        if not (are_all and len(folders) == 1):
            break
        prefix = folders[0]
    left = sorted(folder for folder in folders if folder > position)
    n_bounds = min(_REQUESTS - 1, len(left))
    bounds = [left[len(left) * number // n_bounds] for number in range(n_bounds)]
    return prefix, bounds, folders[-1] + _BEHIND_ALL if folders and are_all else None


def middle_of(start: str, end: str | None, prefix: str) -> str | None:
    """Return a text between two keys, about halfway; None if they are too close.

    Parameters
    ----------
    start, end : str
        Texts that begin with `prefix`, in the order of code points, which is that of UTF-8; `end` may be
        None, for the last possible one.
    """
    if end is not None and start >= end:
        return None
    place = len(prefix)
    while end is not None and place < min(len(start), len(end)) and start[place] == end[place]:
        place += 1
    above = ord(end[place]) if end is not None and place < len(end) else _END
    for _ in range(2):
        below = ord(start[place]) if place < len(start) else _FIRST
        middle = (below + min(above, _LATIN_END if below < _LATIN_END - 1 else _END)) // 2
        if middle > below and middle not in _SURROGATES:
            return start[:place] + chr(middle)
        # Neighbors: keep the lower character, and look for a middle behind it.
        if place >= len(start):
            return None
        place, above = place + 1, _END
    return None
