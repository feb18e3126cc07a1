"""The cost of a model: ``python tests/benchmarks/bench_model.py [MODEL]``.

Prints, for one thread, the size of the bundle and the time to read it and to prepare its classifier (the goal
is 10 MB and one second, without TensorFlow). Then it compares the milliseconds per segment of
`Classifier.predict_proba` with those of the bare compiled network on prepared arrays, and with those of
decoding and featurizing clips of one segment (the goal is a ratio of at most 1). They take turns; printed are
medians, and the median of the ratios within each turn.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import soundfile as sf

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.audio.features.featurize import featurize_track
from pipeline.demo.synthesis import synthesize
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.network_shape import input_shapes
from pipeline.models.tensorflow_setup import set_up_tensorflow

TURNS = 7
SEGMENTS = 64


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(name: str) -> None:
    """Measure and print."""
    load = np.median([seconds(lambda: ModelBundle.load(name).model) for _ in range(TURNS)])
    bundle = ModelBundle.load(name)
    print(f"model                 {bundle.model}, {len(bundle.weights) / 1e6:.2f} MB")
    print(f"read and name bundle  {1e3 * load:7.1f} ms")
    print(f"import TensorFlow     {1e3 * seconds(lambda: set_up_tensorflow(1)):7.1f} ms")
    print(f"classifier ready      {1e3 * seconds(lambda: Classifier(bundle, batch_size=1)):7.1f} ms")

    compare_with_bare(bundle)
    compare_with_features(bundle)


def segments_of(bundle: ModelBundle) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return random segments, as `Classifier.predict_proba` takes them."""
    rng = np.random.default_rng(0)
    features = bundle.info.features
    shape = (SEGMENTS, features.n_mels, bundle.info.n_frames or 0)
    log_mels = rng.integers(0, 256, shape, dtype=np.uint8) if features.log_mel else None
    return log_mels, rng.normal(size=(SEGMENTS, len(DESCRIPTOR_NAMES))) if features.descriptors else None


def compare_with_bare(bundle: ModelBundle) -> None:
    """Compare the cost of predicting with that of the network alone."""
    segments = segments_of(bundle)
    for batch_size in (1, 8, 32):
        classifier = Classifier(bundle, batch_size=batch_size)
        batches = [
            each.reshape(-1, batch_size, *shape).astype(np.uint8 if len(shape) == 3 else np.float32)
            for each, shape in zip(
                (each for each in segments if each is not None), input_shapes(bundle.info), strict=True
            )
        ]

        def bare(classifier: Classifier = classifier, batches: list[np.ndarray] = batches) -> None:
            for batch in zip(*batches, strict=True):
                classifier.logits(*batch)

        def whole(classifier: Classifier = classifier) -> None:
            classifier.predict_proba(*segments)

        turns = np.array([(seconds(bare), seconds(whole)) for _ in range(TURNS)])
        of_bare, of_whole = 1e3 * np.median(turns, axis=0) / SEGMENTS
        ratio = np.median(turns[:, 0] / turns[:, 1])
        print(
            f"batches of {batch_size:2d}         bare {of_bare:6.2f} ms a segment, "
            f"Classifier {of_whole:6.2f} ms a segment, speed {ratio:.3f} of the bare network"
        )


def compare_with_features(bundle: ModelBundle) -> None:
    """Compare the cost of predicting a segment with that of decoding and featurizing it."""
    y = synthesize("rock", seed=[1], duration_s=bundle.info.features.segment_s, sr=44100)
    classifier = Classifier(bundle, batch_size=8)
    segments = segments_of(bundle)
    for form, subtype in (("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16")):
        buffer = io.BytesIO()
        sf.write(buffer, y, 44100, subtype, format=form)

        def features(buffer: io.BytesIO = buffer) -> None:
            buffer.seek(0)
            featurize_track(buffer, "clip", bundle.info.features)

        features()
        turns = np.array(
            [
                (seconds(features), seconds(lambda: classifier.predict_proba(*segments)) / SEGMENTS)
                for _ in range(TURNS)
            ]
        )
        featurizing, predicting = 1e3 * np.median(turns, axis=0)
        ratio = np.median(turns[:, 1] / turns[:, 0])
        print(
            f"30 s {form:4s}             decode and features {featurizing:6.2f} ms, "
            f"network {predicting:6.2f} ms a segment, ratio {ratio:.3f}"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "default")
