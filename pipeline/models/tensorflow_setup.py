"""Import TensorFlow quietly and quickly, with a bounded number of threads and of GPU memory at the start."""

import contextlib
import gc
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from pipeline import standard_error
from schemas.errors import EarmarkError

_UNUSED_BY_US = ("sklearn", "matplotlib")
"""Packages that Keras imports for wrappers and plots, if they are there: a third of its time."""
_own_process = False
_started_in: int | None = None
"""Process in which TensorFlow was set up."""
_buffering = threading.Lock()
"""Held while stderr is redirected: a second thread would take the redirection for stderr, and restore it."""


def use_only_our_keras() -> None:
    """Import TensorFlow without what Earmark does not use of it, from now on in this process.

    Call it where only Earmark's code runs. In a notebook, it would take Keras's wrappers for scikit-learn and
    its plots from the user.
    """
    global _own_process
    _own_process = True


def set_up_tensorflow(threads: int) -> Any:
    """Import TensorFlow as the Keras backend of this process and return the module.

    Parameters
    ----------
    threads : int
        Threads per CPU operation. Operations run one after another.

    Raises
    ------
    EarmarkError
        If this process was forked from one in which TensorFlow was set up.

    Notes
    -----
    Threads and GPU memory growth can be set only before the first operation of a process. Later calls do not
    change them. On GPUs, products are computed in float32 as on CPUs, not in TensorFloat-32, from the first
    call on.
    """
    global _started_in
    check_not_forked()
    _started_in = os.getpid()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with _buffer_stderr(), _hidden(_UNUSED_BY_US if _own_process else ()), _no_garbage_collection():
        import tensorflow as tf

        # GPUs would round the factors of products to 10 bits.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        # The rest raises if TensorFlow already runs in this process, with what was set first.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
    return tf


def check_not_forked() -> None:
    """Check that TensorFlow's threads are in this process; where they are not, its operations wait forever.

    Raises
    ------
    EarmarkError
        If this process was forked from one in which TensorFlow was set up.
    """
    if _started_in not in (None, os.getpid()):
        raise EarmarkError(
            "this process was forked after TensorFlow started, which it does not survive; use "
            "multiprocessing.get_context('spawn')"
        )


@contextlib.contextmanager
def _hidden(packages: tuple[str, ...]) -> Iterator[None]:
    """Let imports of packages fail, unless they have been imported before."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect no garbage meanwhile: an import makes a million objects that stay, and looking through them
    again and again takes a fifth of its time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _buffer_stderr() -> Iterator[None]:
    """Buffer what native code writes to stderr, and print it only if the block fails.

    TensorFlow logs its start and each missing GPU library before its log level takes effect.
    """
    standard_error.open_if_closed()
    with _buffering, tempfile.TemporaryFile() as held:
        standard_error.flush()
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            standard_error.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
