"""Protocols: how tested music is separated from training music, and what still leaks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.training.splits import cut_for_protocol, group_copies, parse_split, split_data
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError
from schemas.evaluation import Evaluation, EvaluationProtocol, Unit

LEAKS: dict[EvaluationProtocol, str] = {
    "as given": "all of the data is tested; it may share music with the training data of the model",
    "segment": (
        "pieces of one track are on both sides, so the result shows how well the model recognizes recordings "
        "from its training, not how well it labels new music"
    ),
    "track": (
        "no track is on both sides, but tracks of one artist or album, and a recording in two formats, can be"
    ),
    "file": (
        "no track is on both sides; artists and copies of a recording are only separated if the lists do so"
    ),
}


@dataclass(frozen=True, slots=True)
class Split:
    """One split of the data: the training set (None if nothing is trained) and the test set."""

    train_set: TrainingSet | None
    test_set: TrainingSet


def plan_splits(
    data: TrainingSet, split: str | None, *, n_folds: int = 1, n_pieces: int | None = None, seed: int = 0
) -> tuple[EvaluationProtocol, Iterator[Split]]:
    """Return the protocol that `split` names, and its splits.

    Parameters
    ----------
    data : TrainingSet
    split : str or None
        ``segment``, ``track`` or ``file:TRAIN.txt,VALID.txt``; None to test all of the data.
    n_folds : int
        Folds of a cross-validation, by track or (``segment``) by piece. 1 is a single split that tests a
        fifth of the data. Lists are always a single split.
    n_pieces : int, optional
        Cut each segment into this many pieces first. By default, ``segment`` cuts ten, and the other
        protocols keep segments whole.
    seed : int

    Raises
    ------
    MisuseError
        If the protocol is unknown, the lists do not fit the data, or a genre has fewer tracks than folds.
    """
    if split is None:
        return "as given", iter([Split(None, data if n_pieces is None else data.cut_pieces(n_pieces))])
    protocol, lists = parse_split(split)
    if lists is None and n_folds > 1:
        cut = cut_for_protocol(protocol, data, n_pieces)
        folds = split_folds(cut, n_folds, by_track=protocol == "track", seed=seed)
        return protocol, (Split(*sets) for sets in folds)
    return protocol, iter([Split(*split_data(data, split, seed, n_pieces=n_pieces)[:2])])


def unit_of(protocol: EvaluationProtocol) -> Unit:
    """Return the unit that the metrics of a protocol count."""
    return "piece" if protocol == "segment" else "track"


def other_unit(unit: Unit) -> Unit:
    """Return the unit that is not `unit`."""
    return "piece" if unit == "track" else "track"


def split_folds(
    data: TrainingSet, n_folds: int, *, by_track: bool, seed: int
) -> Iterator[tuple[TrainingSet, TrainingSet]]:
    """Split data into folds, stratified by genre; for each fold, yield all others and the fold itself.

    Parameters
    ----------
    data : TrainingSet
    n_folds : int
    by_track : bool
        Whether all segments of a track, and its copies, go into one fold. If not, tracks leak.
    seed : int

    Yields
    ------
    train, test : TrainingSet

    Raises
    ------
    MisuseError
        If there are fewer than two folds, a genre has fewer tracks (or segments) than there are folds, or
        copies of its tracks in other genres leave none of it to train on in a fold.
    """
    everything = np.arange(len(data))
    first, groups = group_copies(data) if by_track else (everything, everything)
    fold_of = _assign_folds(data.labels[first], n_folds, data.genres, seed)[groups]
    for label in np.unique(data.labels):
        if len(np.unique(fold_of[data.labels == label])) < 2:
            raise MisuseError(
                f"--folds {n_folds} does not fit the data: a fold has no track of '{data.genres[label]}' to "
                "train on, since its tracks are copies of tracks of other genres; keep them in one genre"
            )
    for fold in range(n_folds):
        yield (
            data.take(np.flatnonzero(fold_of != fold)),
            data.take(np.flatnonzero(fold_of == fold)),
        )


def _assign_folds(
    labels: NDArray[np.intp], n_folds: int, genres: tuple[str, ...], seed: int
) -> NDArray[np.intp]:
    """Deal each genre to the folds in random order, starting where the previous genre ended."""
    present, counts = np.unique(labels, return_counts=True)
    if n_folds < 2 or n_folds > counts.min():
        scarce, n = genres[present[counts.argmin()]], int(counts.min())
        fitting = f"choose 2 to {n}, as many as '{scarce}' has"
        if n < 2:
            fitting = f"'{scarce}' has only one track, or copies of it; add others, or leave the genre out"
        raise MisuseError(f"--folds {n_folds} does not fit the data: {fitting}")
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in present])
    fold_of = np.empty(len(labels), np.intp)
    fold_of[order] = np.arange(len(labels)) % n_folds
    return fold_of


def protocol_label(protocol: EvaluationProtocol) -> str:
    """Return the short name of a protocol that is printed next to a metric."""
    return {
        "as given": "as given",
        "segment": "segment (leaks)",
        "track": "track (leaks a little)",
        "file": "file (lists)",
    }[protocol]


def drop_folders(split: str) -> str:
    """Drop the folders of the lists, since the paths of one machine do not belong in a result."""
    kind, colon, lists = split.partition(":")
    return kind + colon + ",".join(Path(path).name for path in lists.split(",") if path)


def describe_seen(evaluation: Evaluation) -> str | None:
    """Return how much of the tested music the model has seen; None if it was trained for this evaluation."""
    seen = evaluation.seen
    if seen is None:
        return None
    if not seen.known:
        return "this model does not record which tracks it was trained on, so leaks cannot be detected"
    parts = []
    if seen.trained_on:
        parts.append(
            f"LEAKS: {seen.trained_on:,} of the {evaluation.n_tracks:,} tested tracks were used to train "
            "this model (matched by content or by name); the results are optimistic"
        )
    if seen.calibrated_on:
        parts.append(
            f"its temperature, or that of the model it was made from, was fitted to {seen.calibrated_on:,} "
            "tested tracks; the calibration is slightly optimistic"
        )
    if seen.same_name:
        parts.append(
            f"{seen.same_name:,} tested tracks have the name of a training track but other content: the same "
            "music in another format, or other music of that name"
        )
    return "; ".join(parts) or "this model was not made from any of the tested tracks, by content or by name"
