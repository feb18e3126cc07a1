"""Compilation of kernels with numba, once for each machine and cached on disk."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function at its first call and cache the machine code on disk.

    Numba caches it in ``NUMBA_CACHE_DIR`` if that is set, else in ``__pycache__`` beside the module, else (if
    the installation is read-only) in the user's cache directory. If none of these is writable, the function
    still works, but every process compiles it again: a warning says so.

    Parameters
    ----------
    function : callable
        Takes and returns arrays and numbers only.
    """
    try:
        return _njit(function, cache=True, nogil=True)
    except RuntimeError:
        _log.warning(
            "no directory to cache compiled kernels in, so each process spends seconds compiling %s; "
            "set NUMBA_CACHE_DIR to a writable directory",
            function.__name__,
        )
        return _njit(function, nogil=True)


def inlined(function: _Kernel) -> _Kernel:
    """Compile a function into each kernel that calls it, so that loops around it are vectorized.

    It is cached with the kernel, which numba recompiles when the kernel's own file changes: a kernel and the
    functions that it inlines belong in one module.
    """
    return _njit(function, forceinline=True)


def summing(function: _Kernel) -> _Kernel:
    """Inline a function, as `inlined` does, whose sums may be reordered, as vectorization requires."""
    return _njit(function, forceinline=True, fastmath={"reassoc", "nsz", "contract"})


def _njit(function: _Kernel, **options: bool | set[str]) -> _Kernel:
    compiled: _Kernel = numba.njit(error_model="numpy", **options)(function)
    return compiled
