"""Listing many keys of a store by several requests at a time, in the order of the keys.

A store lists a thousand keys a request, and each page begins where the last one ended, so that a million
objects take a thousand requests one after the other. Here, the keys are divided into ranges: first between
the folders of the catalog, and later, when a request could be made but no range waits for one, in the middle
of a range that is being listed. Where its keys lie is not known, so the second half may be empty; then the
next division is made further in front.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Generic, TypeVar

from pipeline.background import run_in_background

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


class OutOfOrderError(Exception):
    """A store does not list keys in the order of their UTF-8, or does not begin where it is told to."""


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
    first_key: str = ""
    next_key: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the first key behind the range is known; "" if there is none."""
        return self.next_key is not None

    def add(self, page: Page[T], to_rows: Callable[[Sequence[tuple[str, T]]], Rows]) -> None:
        """Take what a page holds of the range.

        Raises
        ------
        OutOfOrderError
            If the page does not go on from where the range has come to, in the order of the keys.
        """
        _check_order([self.position, *(key for key, _ in page.items)])
        self.token = page.token
        end = self.end
        inside = page.items if end is None else [each for each in page.items if each[0] <= end]
        if len(inside) < len(page.items):
            self.next_key = page.items[len(inside)][0]
        elif page.token is None:
            self.next_key = ""
        if inside:
            self.first_key = self.first_key or inside[0][0]
            self.position = inside[-1][0]
            self.found.append(to_rows(inside))
            self.pages_since_division += 1

    def divide(self, prefix: str) -> "_Range[T, Rows] | None":
        """Cut off the second half, if there is a text between the last key and the end."""
        middle = middle_of(self.position, self.end, prefix)
        if middle is None or not (self.position < middle and (self.end is None or middle < self.end)):
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
) -> Generator[Rows, None, None]:
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
    OutOfOrderError
        If the store does not list keys in their order, or not from where it is told to. What was yielded
        before is then of no use: list again with `list_in_turn`.
    Exception
        Whatever the callables raise.
    """
    page = list_page(None, None)
    _check_order([key for key, _ in page.items])
    yield to_rows(page.items)  # a small catalog costs one request
    if page.token is None:
        return
    position = page.items[-1][0] if page.items else prefix
    prefix, bounds, end = _find_bounds(list_folders, prefix, position)
    ranges: list[_Range[T, Rows]] = [
        _Range(start, end, start) for start, end in zip(["", *bounds], [*bounds, end], strict=True)
    ]
    ranges[0].token, ranges[0].position = page.token, max(position, prefix)
    ranges[0].pages_since_division = int(bool(page.items))
    n_pages, n_divisions = 1, 0
    expected: str | None = None
    asked: dict[Future[Page[T]], _Range[T, Rows]] = {}

    def ask(which: _Range[T, Rows]) -> None:
        after = which.start if which.token is None else None
        asked[run_in_background(partial(list_page, after, which.token), "listing")] = which

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
            first = ranges[0]
            # The first key of a range must be the one that the range before has seen behind its end.
            if expected not in (None, first.first_key or first.next_key):
                raise OutOfOrderError
            expected = first.next_key
            while first.found:
                yield first.found.popleft()
            if first.is_done:
                ranges.pop(0)
    if expected:
        raise OutOfOrderError


def list_in_turn(
    list_page: ListPage[T], to_rows: Callable[[Sequence[tuple[str, T]]], Rows]
) -> Iterator[Rows]:
    """Yield all keys, page by page, as the store lists them, given the same as `list_in_parallel`."""
    page = list_page(None, None)
    yield to_rows(page.items)
    while page.token is not None:
        page = list_page(None, page.token)
        yield to_rows(page.items)


def _check_order(keys: Sequence[str]) -> None:
    if any(after <= before for before, after in pairwise(keys)):
        raise OutOfOrderError


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
    prefix : str
        What all keys begin with.
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
