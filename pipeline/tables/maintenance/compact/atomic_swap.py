"""Atomic swap of two folders, on systems that support it."""

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP, errno.EPERM}


def swap(first: Path, second: Path) -> bool:
    """Swap two paths on the same filesystem atomically, so that no reader sees an intermediate state.

    Uses Linux's ``renameat2`` with ``RENAME_EXCHANGE`` (ext4, xfs, btrfs, tmpfs, …).

    Returns
    -------
    bool
        False if the system or the filesystem does not support it (most network filesystems do not); nothing
        has changed then.

    Raises
    ------
    OSError
        If the swap is supported but one of the paths is missing or may not be moved.
    """
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


@cache
def _renameat2() -> Any:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # not Linux, or a C library older than 2018
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function
