"""The log-mels of features, which may also be descriptors alone."""

import numpy as np
from numpy.typing import NDArray

from pipeline.training.training_set import TrainingSet
from schemas.tracks import SegmentFeatures


def log_mel_of(features: SegmentFeatures | TrainingSet) -> NDArray[np.uint8]:
    """The log-mel of a segment, or those of a training set, which must have them."""
    assert features.log_mel is not None
    return features.log_mel
