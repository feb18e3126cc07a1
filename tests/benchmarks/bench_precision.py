"""XLA and lower precision: ``python tests/benchmarks/bench_precision.py [FOLDER [MODEL …]]``.

For the segments of the audio in FOLDER, or of the demo catalog: milliseconds per segment of the network as
Earmark runs it, of the same network compiled by XLA, and with bfloat16 and float16 in its layers; the largest
difference of a logit; and how many segments get another label. On one thread of the CPU, or on a GPU. There,
products are also rounded to TensorFloat-32, and all is compared with the CPU.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from pipeline.audio.features.featurize import featurize_track
from pipeline.catalogs.catalog import list_catalog
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import CPU_BATCH_SIZE, GPU_BATCH_SIZE, Classifier, fit_frames
from pipeline.models.network_shape import input_shapes
from pipeline.models.tensorflow_setup import set_up_tensorflow
from schemas.errors import EarmarkError

TURNS = 3
BATCHES_ON_GPU = 32
"""Batches that are timed there at least; segments are repeated until they fill them."""


def read_log_mels(folder: str, bundle: ModelBundle) -> np.ndarray:
    """Return the segments of a folder as the network's input."""
    n_frames = bundle.info.n_frames or 0
    segments = []
    for uri in list_catalog(folder)["uri"].to_pylist():
        try:
            with Path(uri).open("rb") as file:
                found = featurize_track(file, uri, bundle.info.features).segments
        except EarmarkError:  # the demo catalog has three broken files
            continue
        segments += [fit_frames(each.log_mel, n_frames) for each in found if each.log_mel is not None]
    return np.reshape(np.stack(segments), (len(segments), *input_shapes(bundle.info)[0]))


def with_precision(network: Any, precision: str) -> Any:
    """Return a copy of a network whose layers compute in a lower precision."""
    import keras

    def copy(layer: Any) -> Any:
        settings = layer.get_config()
        if not isinstance(layer, keras.layers.InputLayer):
            settings["dtype"] = keras.DTypePolicy(f"mixed_{precision}")
        return type(layer).from_config(settings)

    lower = keras.models.clone_model(network, clone_function=copy)
    lower.set_weights(network.get_weights())
    return lower


class Form(NamedTuple):
    """One way to run a network."""

    name: str
    network: Any
    is_xla: bool = False
    is_tensor_float_32: bool = False
    device: str | None = None


def list_forms(network: Any, *, on_gpu: bool) -> Iterator[Form]:
    """Yield the ways to run a network; the first one is what the others are compared with."""
    if on_gpu:
        yield Form("on the CPU", network, device="/CPU:0")
    yield Form("as it runs", network)
    if on_gpu:
        yield Form("TensorFloat-32", network, is_tensor_float_32=True)
    yield Form("XLA", network, is_xla=True)
    for name in ("bfloat16", "float16"):
        yield Form(name, with_precision(network, name))


def compile_form(form: Form, shape: tuple[int, ...]) -> Callable[[np.ndarray], Any]:
    """Return a form as a function of a batch of segments of a shape."""
    import tensorflow as tf

    def run(x: Any) -> Any:
        with tf.device(form.device):
            return tf.cast(form.network(tf.cast(x, tf.float32), training=False), tf.float32)

    tf.config.experimental.enable_tensor_float_32_execution(form.is_tensor_float_32)
    compiled: Callable[[np.ndarray], Any] = tf.function(
        run, [tf.TensorSpec((None, *shape), tf.uint8)], autograph=False, jit_compile=form.is_xla
    )
    return compiled


def main(folder: str, *models: str) -> None:
    """Measure and print."""
    on_gpu = bool(set_up_tensorflow(1).config.list_physical_devices("GPU"))
    batch_size = GPU_BATCH_SIZE if on_gpu else CPU_BATCH_SIZE
    for model in models:
        bundle = ModelBundle.load(model)
        segments = read_log_mels(folder, bundle)
        n_batches = max(-(-len(segments) // batch_size), BATCHES_ON_GPU if on_gpu else 1)
        shape = (batch_size, *segments.shape[1:])
        batches = np.resize(segments, (n_batches, *shape))
        print(f"{model}: {len(segments):,} segments, batches of {batch_size}", flush=True)
        network = Classifier(bundle, threads=1, batch_size=batch_size).network
        reference = None
        for form in list_forms(network, on_gpu=on_gpu):
            function = compile_form(form, segments.shape[1:])
            function(batches[0])
            turns = []
            for _ in range(1 if form.device else TURNS):
                begun = time.perf_counter()
                outputs = np.concatenate([np.asarray(function(batch)) for batch in batches])
                turns.append(time.perf_counter() - begun)
            logits = outputs[: len(segments)]
            reference = logits if reference is None else reference
            changed = int((logits.argmax(1) != reference.argmax(1)).sum())
            print(
                f"  {form.name:<14} {1e3 * float(np.median(turns)) / len(outputs):7.3f} ms a segment, "
                f"difference {np.abs(logits - reference).max():.1e}, other labels: {changed}",
                flush=True,
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) < 2:
            write_demo_catalog(Path(scratch))
        main(sys.argv[1] if len(sys.argv) > 1 else scratch, *(sys.argv[2:] or ("gtzan", "default")))
