"""What a model was made from: short hashes of its tracks' content and names, kept in its bundle.

With them an evaluation can say that a model has seen the music it is tested on. The names themselves stay
where they are: a catalog's titles are nobody's business. Content decides where it can: features that Earmark
made of the same file in the same way are the same to the bit, whatever the file is called now, and two tracks
that are both called ``01 Intro`` are not. Where it cannot, because a set came as arrays or its features are
others, names do, without folder and extension.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.training.training_set import TrainingSet, track_name
from schemas.evaluation import TrainingOverlap
from schemas.model import ModelInfo

TRAINED_ON, CALIBRATED_ON = "trained_on", "calibrated_on"
"""Hashes of names."""
_CONTENT, _NAME_ONLY = "_content", "_name_only"
"""Suffixes of the entries with hashes of segments, and of names of tracks whose content is not known."""
_MADE_AS = "content_made_as"
"""The entry that says how the features were made, without which segments cannot be compared."""
_DIGITS = 10
_CONTENT_DIGITS = 14
"""A million segments are compared with a million."""


@dataclass(frozen=True, slots=True)
class _Met:
    """What a model has met: all names, those of tracks whose content it does not know, and content."""

    names: set[str]
    name_only: set[str]
    content: set[str]


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
        ``trained_on`` and ``calibrated_on``: ten hex digits a name, separated by spaces, sorted; older
        versions of Earmark read these. Where the features were made of audio, ``…_content`` with 14 digits a
        segment, and ``…_name_only`` for what a model that it started from knows by name alone.
    """
    made_as = _made_as(train_set)
    entries: dict[str, set[str]] = {}
    for key, data in ((TRAINED_ON, train_set), (CALIBRATED_ON, calibration_set)):
        entries[key] = _names(data.tracks.tolist())
        if made_as is not None:
            entries[key + _CONTENT] = set(_segments(data).tolist())
    if start is not None:
        for key in (TRAINED_ON, CALIBRATED_ON):
            met = _met(start, key, made_as)
            entries[TRAINED_ON] |= met.names
            if made_as is not None:
                entries[TRAINED_ON + _CONTENT] |= met.content
                entries.setdefault(TRAINED_ON + _NAME_ONLY, set()).update(met.name_only)
    kept = {key: " ".join(sorted(digests)) for key, digests in entries.items()}
    return kept if made_as is None else kept | {_MADE_AS: made_as}


def seen_by(info: ModelInfo, tracks: Iterable[str], data: TrainingSet) -> TrainingOverlap:
    """Count the tracks that a model was made from.

    Parameters
    ----------
    info : ModelInfo
        The model.
    tracks : iterable of str
        Names of the tracks that it is tested on.
    data : TrainingSet
        Their segments, and maybe those of others.
    """
    made_as = _made_as(data)
    tested = set(tracks)
    segments = None if made_as is None else _segments(data)

    def found(met: _Met) -> set[str]:
        by_name = {track for track in tested if _name(track) in (met.name_only if met.content else met.names)}
        if segments is None:
            return by_name
        return by_name | (set(data.tracks[np.isin(segments, list(met.content))].tolist()) & tested)

    trained, calibrated = _met(info, TRAINED_ON, made_as), _met(info, CALIBRATED_ON, made_as)
    seen = found(trained)
    return TrainingOverlap(
        known=bool(trained.names),
        trained_on=len(seen),
        calibrated_on=len(found(calibrated)),
        same_name=sum(_name(track) in trained.names for track in tested - seen),
    )


def _met(info: ModelInfo, key: str, made_as: str | None) -> _Met:
    """What a model says under a key; content only if it was made the same way."""
    names = _digests(info, key)
    if made_as is None or info.training.get(_MADE_AS) != made_as:
        return _Met(names, names, set())
    return _Met(names, _digests(info, key + _NAME_ONLY), _digests(info, key + _CONTENT))


def _digests(info: ModelInfo, key: str) -> set[str]:
    return set(str(info.training.get(key) or "").split())


def _made_as(data: TrainingSet) -> str | None:
    """How the features that are compared were made; None where they came from elsewhere."""
    if not data.from_audio:
        return None
    log_mel = data.log_mel is not None
    kinds = {"log_mel": log_mel, "descriptors": not log_mel}
    return data.features.model_copy(update=kinds).feature_set


def _segments(data: TrainingSet) -> NDArray[np.str_]:
    """A digest of each segment: of its log-mel, or of its descriptors where there is none."""
    rows: NDArray[Any] | None = data.descriptors if data.log_mel is None else data.log_mel
    if rows is None:
        return np.empty(0, np.str_)
    return np.array([_digest(row.tobytes(), _CONTENT_DIGITS) for row in rows], np.str_)


def _names(tracks: Iterable[str]) -> set[str]:
    return {_name(track) for track in set(tracks)}


def _name(track: str) -> str:
    return _digest(track_name(track).encode(), _DIGITS)


def _digest(data: bytes, n_digits: int) -> str:
    return hashlib.sha256(data).hexdigest()[:n_digits]
