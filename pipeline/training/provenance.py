"""What a model was made from: short hashes of track names, kept in its bundle.

With them an evaluation can say that a model has seen the music it is tested on. The names themselves stay
where they are: a catalog's titles are nobody's business.
"""

import hashlib
from collections.abc import Iterable

from pipeline.training.training_set import TrainingSet, track_name
from schemas.evaluation import Seen
from schemas.model import ModelInfo

TRAINED_ON, CALIBRATED_ON = "trained_on", "calibrated_on"
_DIGITS = 10


def provenance(
    train_set: TrainingSet, calibration_set: TrainingSet, start: ModelInfo | None = None
) -> dict[str, str]:
    """Return the entries of `ModelInfo.training` that say which tracks a model was made from.

    Parameters
    ----------
    train_set, calibration_set : TrainingSet
        What the weights and the temperature were fitted to.
    start : ModelInfo, optional
        Of the model that the training started from: what that was made from, this one has met too.

    Returns
    -------
    dict of str to str
        ``trained_on`` and ``calibrated_on``: ten hex digits a track, separated by spaces, sorted.
    """
    trained_on = _digests(train_set.tracks.tolist())
    if start is not None:
        trained_on |= _met(start, TRAINED_ON, CALIBRATED_ON)
    return {
        TRAINED_ON: " ".join(sorted(trained_on)),
        CALIBRATED_ON: " ".join(sorted(_digests(calibration_set.tracks.tolist()))),
    }


def seen_by(info: ModelInfo, tracks: Iterable[str]) -> Seen:
    """Count the tracks that a model was made from, by name without folder and extension."""
    tested = _digests(tracks)
    trained, calibrated = _met(info, TRAINED_ON), _met(info, CALIBRATED_ON)
    return Seen(known=bool(trained), trained_on=len(tested & trained), calibrated_on=len(tested & calibrated))


def _met(info: ModelInfo, *keys: str) -> set[str]:
    return {digest for key in keys for digest in str(info.training.get(key) or "").split()}


def _digests(tracks: Iterable[str]) -> set[str]:
    return {hashlib.sha256(track_name(track).encode()).hexdigest()[:_DIGITS] for track in set(tracks)}
