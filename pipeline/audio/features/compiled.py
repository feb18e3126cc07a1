"""How kernels are compiled: by numba, once a machine, kept on disk for every later process."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function at its first call and keep the machine code on disk.

    Numba puts the code into ``NUMBA_CACHE_DIR`` where that is set, else into ``__pycache__`` beside the
    module, else (an install directory that is read-only) into the user's cache directory. Where none of these
    can be written the function works just the same, but every process compiles it again: a warning says so.

    Parameters
    ----------
    function : callable
        Takes and returns arrays and numbers only.
    """
    try:
        return _njit(function, cache=True, nogil=True)
    except RuntimeError:
        _log.warning(
            "nowhere to keep compiled kernels, so each process spends seconds on compiling %s: "
            "set NUMBA_CACHE_DIR to a directory that can be written",
            function.__name__,
        )
        return _njit(function, nogil=True)


def inlined(function: _Kernel) -> _Kernel:
    """Compile a function into each kernel that calls it, so that loops around it become vector code.

    It is kept with the kernel, which numba compiles again when its own file changes: a kernel and what it
    inlines belong into one module.
    """
    return _njit(function, forceinline=True)


def summing(function: _Kernel) -> _Kernel:
    """Inline a function, as `inlined`, whose sums may be taken in any order, which vector code needs."""
    return _njit(function, forceinline=True, fastmath={"reassoc", "nsz", "contract"})


def _njit(function: _Kernel, **options: bool | set[str]) -> _Kernel:
    compiled: _Kernel = numba.njit(error_model="numpy", **options)(function)
    return compiled
