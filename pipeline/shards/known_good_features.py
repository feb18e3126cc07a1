"""Known-good features, for which every model has probabilities on every sound machine."""

import numpy as np

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.models.classifier import Classifier
from pipeline.models.ensemble_classifier import EnsembleClassifier, networks_of
from pipeline.shards.process_errors import format_error
from schemas.errors import EnvironmentFaultError

_FRAMES = 388


def label_known_good(classifier: Classifier | EnsembleClassifier) -> None:
    """Label noise.

    Raises
    ------
    EnvironmentFaultError
        If a network fails, or its probabilities are not finite: no track is to blame for that.
    """
    for network in networks_of(classifier):
        shape = 1, network.info.features.n_mels, _FRAMES
        log_mels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        try:
            p = network.predict_proba(log_mels, np.zeros((1, len(DESCRIPTOR_NAMES))))
        except Exception as error:
            raise EnvironmentFaultError(f"known-good features get no label: {format_error(error)}") from error
        if not np.isfinite(p).all():
            raise EnvironmentFaultError("known-good features get probabilities that are not finite numbers")
