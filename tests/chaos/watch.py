"""Watch which files of a catalog are opened, and crash processes that open some of them."""

import ctypes
import os
import select
import signal
import struct
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_IN_OPEN, _IN_ISDIR = 0x20, 0x40000000
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16


class CatalogWatch:
    """Counts how often each file of a catalog is opened in a ``with`` block, with Linux's inotify.

    A process that opens one of the `crashing` files gets SIGSEGV, as from a decoder with a wrong pointer,
    since no file is known to crash the real decoders.

    Attributes
    ----------
    opened : Counter
        Number of times each path was opened.
    crashes : int
        Number of signals sent.
    """

    def __init__(self, root: Path, crashing: Collection[str] = ()) -> None:
        self.opened: Counter[str] = Counter()
        self.crashes = 0
        self._crashing = frozenset(crashing)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._queue = self._libc.inotify_init()
        self._folders: dict[int, Path] = {}
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())):
            number = self._libc.inotify_add_watch(self._queue, os.fsencode(folder), _IN_OPEN)
            if number < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(folder))
            self._folders[number] = folder
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="catalog watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._end, b"\0")
        self._thread.join()
        for number in (self._queue, self._ended, self._end):
            os.close(number)

    def _watch(self) -> None:
        while True:
            ready, _, _ = select.select([self._queue, self._ended], [], [])
            if self._ended in ready:
                return
            for path in self._events():
                self.opened[path] += 1
                if path in self._crashing:
                    self._crash(path)

    def _events(self) -> Iterator[str]:
        data = os.read(self._queue, _BUFFER)
        start = 0
        while start < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, start)
            name = data[start + _EVENT.size : start + _EVENT.size + length].rstrip(b"\0")
            start += _EVENT.size + length
            if number in self._folders and name and not mask & _IN_ISDIR:
                yield str(self._folders[number] / os.fsdecode(name))

    def _crash(self, path: str) -> None:
        for process in find_holders(path):
            try:
                os.kill(process, signal.SIGSEGV)
            except ProcessLookupError:
                continue
            self.crashes += 1


def find_holders(path: str) -> list[int]:
    """Return the other processes that have a file open."""
    found = []
    for process in os.listdir("/proc"):
        if not process.isdecimal() or int(process) == os.getpid():
            continue
        try:
            with os.scandir(f"/proc/{process}/fd") as opened:
                if any(os.readlink(entry.path) == path for entry in opened):
                    found.append(int(process))
        except OSError:  # the process has ended
            continue
    return found
