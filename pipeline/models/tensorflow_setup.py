"""Import TensorFlow quietly, with a bounded number of threads and GPU memory that grows on demand."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


def set_up_tensorflow(threads: int) -> Any:
    """Import TensorFlow as the Keras backend of this process and return the module.

    Parameters
    ----------
    threads : int
        Threads per CPU operation. Operations run one after another.

    Notes
    -----
    Threads and GPU memory growth can be set only before the first operation of a process. Later calls do not
    change them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with _buffer_stderr():
        import tensorflow as tf

        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # TensorFlow already runs in this process, with the number of threads that was set first.
            return tf
    return tf


@contextlib.contextmanager
def _buffer_stderr() -> Iterator[None]:
    """Buffer what native code writes to stderr, and print it only if the block fails.

    TensorFlow logs its start and each missing GPU library before its log level takes effect.
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
