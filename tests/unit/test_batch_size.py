"""A segment's outputs do not depend on how many segments run together: 8 on a CPU, 64 on a GPU."""

import numpy as np
import pytest

from infra.distill.student import N_BANDS, build_training_network
from pipeline.models.audioset import audioset_info, build_network, own_head
from pipeline.models.bundle import ModelBundle, network_bytes
from pipeline.models.classifier import CPU_BATCH_SIZE, GPU_BATCH_SIZE, Classifier
from tests.published_weights import random_weights

pytestmark = pytest.mark.slow


def load(name: str) -> ModelBundle:
    """Load a shipped model, or the network of the added one with weights that were never trained."""
    if name == "audioset":
        return ModelBundle(audioset_info(), network_bytes(build_network(random_weights(), own_head())))
    return ModelBundle.load(name)


@pytest.mark.parametrize(
    "name", ["default", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("gtzan", "audioset"))]
)
def test_outputs_do_not_depend_on_the_batch_size(name: str) -> None:
    """Fails: on a GPU, 16 of 20 clips are no music: their 64 bands were taken for the 64 segments."""
    bundle = load(name)
    spec = bundle.info.features
    rng = np.random.default_rng(0)
    loudest = [40, 90, 140, 190, 240]
    segments = [rng.integers(0, loud, (spec.n_mels, bundle.info.n_frames or 1), np.uint8) for loud in loudest]
    expected = Classifier(bundle, batch_size=1).predict(segments)
    for size in sorted({CPU_BATCH_SIZE, GPU_BATCH_SIZE, spec.n_mels // 2, spec.n_mels}):
        found = Classifier(bundle, batch_size=size).predict(segments)
        np.testing.assert_allclose(found.proba, expected.proba, atol=1e-3, err_msg=f"batches of {size}")
        if expected.labels is not None:
            assert found.labels is not None
            np.testing.assert_allclose(found.labels, expected.labels, atol=1e-3, err_msg=f"of {size}")


def test_a_student_is_trained_on_what_it_is_used_on() -> None:
    """Fails: each band was raised by what one of the 64 segments lacks; so was the student at first."""
    network = build_training_network([7], n_pooled=20)
    levels = np.random.default_rng(0).uniform(0, 60, (N_BANDS, N_BANDS, 20, 1)).astype(np.float32)
    levels *= np.linspace(0.5, 4, N_BANDS, dtype=np.float32)[:, None, None, None]
    together = np.asarray(network(levels, training=False))
    halves = [np.asarray(network(half, training=False)) for half in np.split(levels, 2)]
    np.testing.assert_allclose(together, np.concatenate(halves), atol=1e-4)
