"""TensorFlow's start: what users see on stderr, and what a worker takes of its machine."""

import subprocess
import sys

import pytest

CODE = """
from pipeline.models.tensorflow_setup import set_up_tensorflow
tf = set_up_tensorflow(1)
tf.zeros(3) + 1
set_up_tensorflow(4)
import keras
print(keras.backend.backend(), tf.config.threading.get_intra_op_parallelism_threads())
print(keras.src.wrappers.sklearn_wrapper.sklearn is not None)
"""


@pytest.mark.slow
def test_tensorflow_starts_quietly_with_its_threads_and_a_second_call_is_harmless() -> None:
    """Lines about GPUs that are not there look like failures, in every log of every worker.

    Another Keras backend in the user's environment must not be taken either: nothing of it is installed.
    """
    command = ["env", "KERAS_BACKEND=torch", sys.executable, "-c", CODE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["tensorflow", "1", "True"]
    assert done.stderr == ""


@pytest.mark.slow
def test_a_process_of_ours_starts_without_what_only_others_use_of_keras() -> None:
    """A third of the start of every actor; what is left out must still be there for Earmark's own use."""
    code = (
        "import sys; from pipeline.models.tensorflow_setup import set_up_tensorflow, use_only_our_keras\n"
        "use_only_our_keras(); set_up_tensorflow(1)\n"
        "print('sklearn' in sys.modules, 'matplotlib' in sys.modules)\n"
        "import sklearn.svm, matplotlib.pyplot, keras; print(keras.Sequential([keras.layers.Dense(1)]).name)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False", "sequential"]


@pytest.mark.slow
@pytest.mark.parametrize("without", ["sys.stderr = None", "sys.stderr.close()", "os.close(2)"])
def test_tensorflow_starts_without_stderr_and_after_others_used_it(without: str) -> None:
    """A program without a console could label nothing, and one that has used a GPU would get other labels."""
    code = (
        f"import os, sys; {without}; import tensorflow as tf; tf.zeros(3) + 1\n"
        "tf.config.experimental.enable_tensor_float_32_execution(True)\n"
        "from pipeline.models.tensorflow_setup import set_up_tensorflow; set_up_tensorflow(1)\n"
        "print(tf.config.experimental.tensor_float_32_execution_enabled(), os.fstat(2) is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.slow
def test_a_process_that_is_forked_too_late_is_told() -> None:
    """A pool of processes in a notebook would wait forever; one that is forked before TensorFlow is good."""
    code = (
        "import multiprocessing, numpy as np, earmark; model = earmark.load_model('gtzan')\n"
        "def predict(_):\n"
        "    try: return model.predict_proba([np.zeros((128, 388), np.uint8)]).shape\n"
        "    except earmark.EarmarkError as error: return str(error)\n"
        "def load(_):\n"
        "    global model; model = earmark.load_model('gtzan'); return predict(_)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    print(*pool.map(predict, [0]))\n"
        "predict(0)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    print(*pool.map(predict, [0])); print(*pool.map(load, [0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300
    )
    before, *after = done.stdout.splitlines()
    assert before == "(1, 10)"
    assert len(after) == 2
    assert all("forked after TensorFlow started" in said for said in after)


def test_two_threads_leave_stderr_as_it_was() -> None:
    """A program that loads two models at once would print no error from then on."""
    code = (
        "import sys, time; from pipeline.models.tensorflow_setup import _buffer_stderr\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def buffer(seconds):\n    with _buffer_stderr(): time.sleep(seconds)\n"
        "list(ThreadPoolExecutor(2).map(buffer, (0.2, 0.5)))\n"
        "print('still here', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "still here\n"


def test_buffered_stderr_is_printed_if_the_start_fails() -> None:
    """A library that cannot be loaded must not fail without its reason."""
    code = (
        "import os; from pipeline.models.tensorflow_setup import _buffer_stderr\n"
        "with _buffer_stderr():\n    os.write(2, b'native reason'); raise ImportError('no library')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "native reason" in done.stderr
    assert "ImportError: no library" in done.stderr
