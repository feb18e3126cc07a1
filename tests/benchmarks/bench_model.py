"""What the shipped model costs: ``python tests/benchmarks/bench_model.py [MODEL]``.

Prints, for one thread: the time to read a bundle, to get its classifier ready, and milliseconds a segment of
`Classifier.predict_proba` beside the bare compiled network on arrays that already have its shape. The two
run in turn; what is printed are medians, and the median of the ratios of each turn.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from pipeline.model import Classifier, ModelBundle
from pipeline.tensorflow_setup import set_up_tensorflow

TURNS = 7
SEGMENTS = 64


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
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

    info = bundle.info
    rng = np.random.default_rng(0)
    shape = (SEGMENTS, info.features.n_mels, info.n_frames)
    log_mels = list(rng.integers(0, 256, shape, dtype=np.uint8))
    for batch_size in (1, 8, 32):
        classifier = Classifier(bundle, batch_size=batch_size)
        batches = np.stack(log_mels).reshape(-1, batch_size, *shape[1:], 1)

        def bare(classifier: Classifier = classifier, batches: np.ndarray = batches) -> None:
            for batch in batches:
                classifier.logits(batch)

        def whole(classifier: Classifier = classifier) -> None:
            classifier.predict_proba(log_mels)

        turns = np.array([(seconds(bare), seconds(whole)) for _ in range(TURNS)])
        of_bare, of_whole = 1e3 * np.median(turns, axis=0) / SEGMENTS
        ratio = np.median(turns[:, 0] / turns[:, 1])
        print(
            f"batches of {batch_size:2d}         bare {of_bare:6.2f} ms a segment, "
            f"Classifier {of_whole:6.2f} ms a segment, speed {ratio:.3f} of the bare network"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "default")
