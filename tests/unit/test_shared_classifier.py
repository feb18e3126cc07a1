"""One network for several threads: the same predictions as alone, from batches that are full."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle, network_bytes
from pipeline.models.classifier import Classifier
from pipeline.models.cnn import build_cnn
from pipeline.models.shared_classifier import SharedClassifier
from pipeline.stopwatch import Stopwatch
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

GENRES = ("blues", "jazz", "rock")
N_MELS, N_FRAMES, BATCH = 32, 48, 8
LogMels = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    import keras

    keras.utils.set_random_seed(0)
    features = FeatureSpec(n_mels=N_MELS)
    info = ModelInfo(name="tiny", genres=GENRES, features=features, n_frames=N_FRAMES, temperature=1.5)
    return ModelBundle(info, network_bytes(build_cnn(N_MELS, N_FRAMES, len(GENRES), width=8)))


@pytest.fixture(scope="module")
def alone(bundle: ModelBundle) -> Classifier:
    return Classifier(bundle, batch_size=BATCH)


@pytest.fixture
def shared(bundle: ModelBundle) -> SharedClassifier:
    return SharedClassifier(bundle, batch_size=BATCH)


def log_mels(n: int, seed: int = 0) -> LogMels:
    rng = np.random.default_rng(seed)
    shapes = ((N_MELS, int(rng.integers(1, 60))) for _ in range(n))
    return [rng.integers(0, 255, shape, dtype=np.uint8) for shape in shapes]


class Watched:
    """A network that notes how many segments each batch has, and waits in the first one."""

    def __init__(self, network: Callable[..., Any]) -> None:
        self.filled: list[int] = []
        self.is_running = threading.Event()
        self.go_on = threading.Event()
        self._network = network

    def __call__(self, batch: NDArray[np.uint8]) -> Any:
        self.filled.append(int(batch.any(axis=(1, 2, 3)).sum()))
        self.is_running.set()
        assert self.go_on.wait(60)
        if (batch == 255).any():
            raise ValueError("a segment that the network cannot take")
        return self._network(batch)


def predict_while_running(shared: SharedClassifier, parts: list[LogMels]) -> tuple[list[Any], list[int]]:
    """Return what threads get that ask while the network runs for the first, and the sizes of the batches."""
    network = Watched(shared.logits)
    shared.logits = network
    with ThreadPoolExecutor(len(parts)) as pool:
        asked = [pool.submit(shared.predict_proba, parts[0])]
        assert network.is_running.wait(60)
        for number, part in enumerate(parts[1:], 1):
            asked.append(pool.submit(shared.predict_proba, part))
            while len(shared._waiting) < number:
                time.sleep(0.001)  # they arrive in this order
        network.go_on.set()
        answers = [each.exception() or each.result() for each in asked]
    return answers, network.filled


@pytest.fixture(scope="module")
def assert_same(alone: Classifier) -> Callable[[Any, Any], None]:
    """Compare bit by bit, or to within rounding on CPUs where last bits depend on the place in a batch."""
    segments = log_mels(BATCH)
    expected = alone.predict_proba(segments)
    moved = [np.roll(alone.predict_proba(segments[n:] + segments[:n]), n, axis=0) for n in range(1, BATCH)]
    tolerance = 0.0 if all(np.array_equal(each, expected) for each in moved) else 1e-6
    return partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)


def test_predictions_are_those_of_each_part_alone(
    shared: SharedClassifier, alone: Classifier, assert_same: Callable[[Any, Any], None]
) -> None:
    """Fails: a label depends on which other tracks an actor happened to work on."""
    parts = [log_mels(n, seed=n) for n in (1, 3, 20, 8, 0, 13, 2, 17)] * 3
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(shared.predict_proba, parts))
        embedded = list(pool.map(shared.predict_and_embed, parts))
    for part, proba, (prediction, vectors) in zip(parts, found, embedded, strict=True):
        assert_same(proba, alone.predict_proba(part))
        assert_same(vectors, alone.predict_and_embed(part)[1])
        np.testing.assert_allclose(prediction.proba, proba, rtol=1e-6)


def test_small_parts_share_batches(
    shared: SharedClassifier, alone: Classifier, assert_same: Callable[[Any, Any], None]
) -> None:
    """Fails: a GPU runs batches that are a third full, and the night takes three times as long."""
    parts = [log_mels(3, seed=n) for n in range(9)]
    answers, filled = predict_while_running(shared, parts)
    assert filled == [3, 8, 8, 8]
    for part, proba in zip(parts, answers, strict=True):
        assert_same(proba, alone.predict_proba(part))


def test_only_the_part_that_cannot_be_predicted_fails(
    shared: SharedClassifier, alone: Classifier, assert_same: Callable[[Any, Any], None]
) -> None:
    """Fails: tracks that shared a batch with a bad one fail too, or their thread waits forever."""
    parts = [log_mels(3, seed=n) for n in range(6)]
    parts[2] = log_mels(11, seed=2)
    parts[2][1][:] = 255
    answers, _ = predict_while_running(shared, parts)
    assert [isinstance(answer, ValueError) for answer in answers] == [n == 2 for n in range(6)]
    for number in (0, 1, 3, 4, 5):
        assert_same(answers[number], alone.predict_proba(parts[number]))
    assert_same(shared.predict_proba(parts[0]), alone.predict_proba(parts[0]))


def test_outputs_that_do_not_fit_together_fail_one_part(
    shared: SharedClassifier, alone: Classifier, assert_same: Callable[[Any, Any], None]
) -> None:
    """Fails: an error after the network's answer ends its thread, and the run waits forever."""
    network, widths = shared.logits, iter((3, 2))
    shared.logits = lambda batch: np.zeros((BATCH, next(widths)))
    with pytest.raises(ValueError, match="dimensions"):
        shared.predict_proba(log_mels(2 * BATCH))
    shared.logits = network
    with ThreadPoolExecutor(1) as pool:
        after = pool.submit(shared.predict_proba, log_mels(3)).result(timeout=60)
    assert_same(after, alone.predict_proba(log_mels(3)))


def test_a_part_counts_only_its_share_of_the_network(shared: SharedClassifier) -> None:
    """Fails: an actor seems busy twice over, since its threads wait for each other."""
    watches = [Stopwatch() for _ in range(4)]

    def logits(batch: object) -> NDArray[np.float64]:
        time.sleep(0.05)
        return np.zeros((BATCH, len(GENRES)))

    shared.logits = logits
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda watch: shared.predict(log_mels(2), watch=watch), watches))
    seconds = time.perf_counter() - start
    assert sum(watch.seconds["predict"] for watch in watches) == pytest.approx(seconds, abs=seconds - 0.05)
