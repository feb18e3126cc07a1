"""Importing TensorFlow once a process, quiet, with a bounded number of threads and no greed for memory."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


def set_up_tensorflow(threads: int) -> Any:
    """Import TensorFlow as this process's Keras backend and return the module.

    Parameters
    ----------
    threads : int
        Threads of one CPU operation; operations themselves run one after another.

    Notes
    -----
    Threads and GPU memory growth can only be set before the first operation of a process. Later calls
    leave them as they are.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with _held_back_stderr():
        import tensorflow as tf

        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # TensorFlow already runs in this process, with the threads that its first user asked for.
            return tf
    return tf


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Hold back what native code writes to stderr, and let it out only where the block fails.

    TensorFlow logs its start, and each GPU library it does not find, before its log level counts.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
