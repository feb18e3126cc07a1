"""Provenance: short hashes of the content and the names of the tracks that a model was made from.

They are stored in the bundle, so that an evaluation can tell whether the model has seen the music it is
tested on. Only hashes are stored, because the titles of a catalog are private. Content is compared if
possible: features that Earmark computed from the same file with the same settings are equal bit for bit, even
if the file was renamed, and two tracks named ``01 Intro`` differ. If a set came as arrays, or its features
have other settings, names are compared instead, without folder and extension.
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
"""Entries with hashes of names."""
_CONTENT, _NAME_ONLY = "_content", "_name_only"
"""Suffixes of entries with hashes of segments, and of names of tracks whose content is unknown."""
_CONTENT_FEATURE_SET = "content_made_as"
"""The entry with the feature set of the segments; only segments of the same one can be compared."""
_NAME_DIGITS = 10
_CONTENT_DIGITS = 14
"""Enough hex digits to compare a million segments with a million."""


@dataclass(frozen=True, slots=True)
class _Hashes:
    """Hashes in the notes of a model: all names, names of tracks whose content is unknown, and content."""

    names: set[str]
    name_only: set[str]
    content: set[str]


def describe_provenance(
    train_set: TrainingSet, calibration_set: TrainingSet, start: ModelInfo | None = None
) -> dict[str, str]:
    """Return the entries of `ModelInfo.training` that identify the tracks a model was made from.

    Parameters
    ----------
    train_set, calibration_set : TrainingSet
        The data that the weights and the temperature were fitted to.
    start : ModelInfo, optional
        The model that the training started from, or that gave the embeddings; its tracks are included.

    Returns
    -------
    dict of str to str
        ``trained_on`` and ``calibrated_on``: ten hex digits per name, sorted and separated by spaces. Older
        versions of Earmark read these. If the features were computed from audio, also ``…_content`` with 14
        digits per segment, and ``…_name_only`` for tracks of `start` that are known only by name.
    """
    feature_set = _comparable_set(train_set)
    entries: dict[str, set[str]] = {}
    for key, data in ((TRAINED_ON, train_set), (CALIBRATED_ON, calibration_set)):
        entries[key] = {hash_name(track) for track in set(data.tracks.tolist())}
        if feature_set is not None:
            entries[key + _CONTENT] = set(hash_segments(data).tolist())
    if start is not None:
        for key in (TRAINED_ON, CALIBRATED_ON):
            hashes = _read_hashes(start, key, feature_set)
            entries[key] |= hashes.names
            if feature_set is not None:
                entries[key + _CONTENT] |= hashes.content
                entries.setdefault(key + _NAME_ONLY, set()).update(hashes.name_only)
    notes = {key: " ".join(sorted(digests)) for key, digests in entries.items()}
    return notes if feature_set is None else notes | {_CONTENT_FEATURE_SET: feature_set}


def count_seen(info: ModelInfo, tracks: Iterable[str], data: TrainingSet) -> TrainingOverlap:
    """Count the tested tracks that a model was made from.

    Parameters
    ----------
    info : ModelInfo
        The model.
    tracks : iterable of str
        Names of the tested tracks.
    data : TrainingSet
        The segments of these tracks, and possibly of others.
    """
    feature_set = _comparable_set(data)
    tested = set(tracks)
    segments = None if feature_set is None else hash_segments(data)

    def find(hashes: _Hashes) -> set[str]:
        names = hashes.name_only if hashes.content else hashes.names
        by_name = {track for track in tested if hash_name(track) in names}
        if segments is None:
            return by_name
        return by_name | (set(data.tracks[np.isin(segments, list(hashes.content))].tolist()) & tested)

    trained, calibrated = (_read_hashes(info, key, feature_set) for key in (TRAINED_ON, CALIBRATED_ON))
    seen, fitted = find(trained), find(calibrated)
    return TrainingOverlap(
        known=bool(trained.names),
        trained_on=len(seen),
        calibrated_on=len(fitted),
        seen=len(seen | fitted),
        same_name=sum(hash_name(track) in trained.names for track in tested - seen),
    )


def _read_hashes(info: ModelInfo, key: str, feature_set: str | None) -> _Hashes:
    """Return the hashes of an entry; content only if it has the same feature set."""
    names = _read_entry(info, key)
    if feature_set is None or info.training.get(_CONTENT_FEATURE_SET) != feature_set:
        return _Hashes(names, names, set())
    return _Hashes(names, _read_entry(info, key + _NAME_ONLY), _read_entry(info, key + _CONTENT))


def _read_entry(info: ModelInfo, key: str) -> set[str]:
    return set(str(info.training.get(key) or "").split())


def _comparable_set(data: TrainingSet) -> str | None:
    """Return the feature set of the features that are compared; None if Earmark did not compute them."""
    if data.content is None:
        return None
    log_mel = data.log_mel is not None
    kinds = {"log_mel": log_mel, "descriptors": not log_mel}
    return data.features.model_copy(update=kinds).feature_set


def hash_segments(data: TrainingSet) -> NDArray[np.str_]:
    """Hash the log-mel of each segment, or its descriptors if there are no log-mels."""
    if data.content is not None:
        return data.content
    rows: NDArray[Any] | None = data.descriptors if data.log_mel is None else data.log_mel
    if rows is None:
        return np.empty(0, np.str_)
    return hash_contents(row.tobytes() for row in rows)


def hash_contents(segments: Iterable[bytes]) -> NDArray[np.str_]:
    """Hash the features of each segment."""
    return np.array([_hash(segment, _CONTENT_DIGITS) for segment in segments], np.str_)


def hash_name(track: str) -> str:
    """Return the hash of a track's name as model cards keep it, so that no name is in them."""
    return _hash(track_name(track).encode(), _NAME_DIGITS)


def _hash(data: bytes, n_digits: int) -> str:
    return hashlib.sha256(data).hexdigest()[:n_digits]
