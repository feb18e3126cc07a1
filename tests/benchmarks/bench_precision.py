"""XLA and lower precision: ``python tests/benchmarks/bench_precision.py [FOLDER [MODEL …]]``.

For the segments of the audio in FOLDER, or of the demo catalog: milliseconds per segment of the network as
Earmark runs it, of the same network compiled by XLA, and with bfloat16 and float16 in its layers; the largest
difference of a logit; and how many segments get another label. On one thread of the CPU, or on a GPU.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from pipeline.audio.features.featurize import featurize_track
from pipeline.catalogs.catalog import list_catalog
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import CPU_BATCH_SIZE, Classifier, fit_frames
from pipeline.models.network_shape import input_shapes
from schemas.errors import EarmarkError

TURNS = 3


def read_log_mels(folder: str, bundle: ModelBundle) -> np.ndarray:
    """Return the segments of a folder as whole batches of the network's input."""
    n_frames = bundle.info.n_frames or 0
    segments = []
    for uri in list_catalog(folder)["uri"].to_pylist():
        try:
            with Path(uri).open("rb") as file:
                found = featurize_track(file, uri, bundle.info.features).segments
        except EarmarkError:  # the demo catalog has three broken files
            continue
        segments += [fit_frames(each.log_mel, n_frames) for each in found if each.log_mel is not None]
    n_batches = len(segments) // CPU_BATCH_SIZE
    return np.reshape(
        np.stack(segments[: n_batches * CPU_BATCH_SIZE]),
        (n_batches, CPU_BATCH_SIZE, *input_shapes(bundle.info)[0]),
    )


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


def compile_forms(network: Any, shape: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the forms of a network by name, as functions of a batch."""
    import tensorflow as tf

    forms = {"as it runs": (network, False), "XLA": (network, True)}
    forms |= {name: (with_precision(network, name), False) for name in ("bfloat16", "float16")}
    for name, (each, is_xla) in forms.items():

        def run(x: Any, each: Any = each) -> Any:
            return tf.cast(each(tf.cast(x, tf.float32), training=False), tf.float32)

        signature = [tf.TensorSpec(shape, tf.uint8)]
        yield name, tf.function(run, signature, autograph=False, jit_compile=is_xla)


def main(folder: str, *models: str) -> None:
    """Measure and print."""
    for model in models:
        bundle = ModelBundle.load(model)
        batches = read_log_mels(folder, bundle)
        n_segments = batches.shape[0] * batches.shape[1]
        print(f"{model}: {n_segments:,} segments", flush=True)
        network = Classifier(bundle, threads=1, batch_size=CPU_BATCH_SIZE).network
        reference = None
        for name, function in compile_forms(network, batches.shape[1:]):
            function(batches[0])
            turns = []
            for _ in range(TURNS):
                begun = time.perf_counter()
                logits = np.concatenate([np.asarray(function(batch)) for batch in batches])
                turns.append(time.perf_counter() - begun)
            reference = logits if reference is None else reference
            changed = int((logits.argmax(1) != reference.argmax(1)).sum())
            print(
                f"  {name:<10} {1e3 * float(np.median(turns)) / n_segments:6.2f} ms a segment, "
                f"difference {np.abs(logits - reference).max():.1e}, other labels: {changed}",
                flush=True,
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) < 2:
            write_demo_catalog(Path(scratch))
        main(sys.argv[1] if len(sys.argv) > 1 else scratch, *(sys.argv[2:] or ("default", "small")))
