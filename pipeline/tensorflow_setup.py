"""Importing TensorFlow once a process, quiet, with a bounded number of threads and no greed for memory."""

import os
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
