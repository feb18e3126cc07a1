"""Protocols: how tested music is kept apart from the music trained on, and what leaks all the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.training.splits import cut_for, read_split, split_data
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError
from schemas.evaluation import Evaluation, EvaluationProtocol, Unit

LEAKS: dict[EvaluationProtocol, str] = {
    "as given": "all of the data is tested; what it shares with the model's training is for its user to know",
    "segment": (
        "pieces of one track are on both sides, so the figure says how well recordings are recognized that "
        "were trained on, not how well new music is labeled"
    ),
    "track": (
        "no track is on both sides, but tracks of one artist or album, and copies of a recording, may be"
    ),
    "file": (
        "no track is on both sides; artists and copies of a recording are as far apart as the lists keep them"
    ),
}


@dataclass(frozen=True, slots=True)
class Split:
    """One parting of the data: what may be trained on (None: nothing) and what is tested."""

    train_set: TrainingSet | None
    test_set: TrainingSet


def plan_splits(
    data: TrainingSet, split: str | None, *, n_folds: int = 1, n_pieces: int | None = None, seed: int = 0
) -> tuple[EvaluationProtocol, Iterator[Split]]:
    """Return the protocol that was asked for, and its splits.

    Parameters
    ----------
    data : TrainingSet
    split : str or None
        ``segment``, ``track`` or ``file:TRAIN.txt,VALID.txt``; None: all of the data is tested.
    n_folds : int
        Cross-validation in so many folds, by track or (``segment``) by piece; 1: one split, a fifth
        is tested. Lists are one split.
    n_pieces : int, optional
        Cut each segment into so many first; if not given, ten under ``segment``, else the segments
        stay whole.
    seed : int

    Raises
    ------
    MisuseError
        For another word, lists that do not fit the data, or more folds than a genre has tracks.
    """
    if split is None:
        return "as given", iter([Split(None, data if n_pieces is None else data.pieces(n_pieces))])
    protocol, lists = read_split(split)
    if lists is None and n_folds > 1:
        cut = cut_for(protocol, data, n_pieces)
        parted = folds(cut, n_folds, by_track=protocol == "track", seed=seed)
        return protocol, (Split(*sets) for sets in parted)
    return protocol, iter([Split(*split_data(data, split, seed, n_pieces=n_pieces)[:2])])


def unit_of(protocol: EvaluationProtocol) -> Unit:
    """Return what a protocol's figure counts."""
    return "piece" if protocol == "segment" else "track"


def other_unit(unit: Unit) -> Unit:
    """Return the other one."""
    return "piece" if unit == "track" else "track"


def folds(
    data: TrainingSet, n_folds: int, *, by_track: bool, seed: int
) -> Iterator[tuple[TrainingSet, TrainingSet]]:
    """Part data into folds, each genre in proportion, and yield all but one and that one, for each.

    Parameters
    ----------
    data : TrainingSet
    n_folds : int
    by_track : bool
        Whether all segments of a track go into one fold. Where not, the figure leaks.
    seed : int

    Yields
    ------
    train, test : TrainingSet

    Raises
    ------
    MisuseError
        If there are fewer than two folds, or a genre has fewer tracks (or segments) than there are folds.
    """
    groups = np.unique(data.tracks, return_inverse=True)[1] if by_track else np.arange(len(data))
    _, first = np.unique(groups, return_index=True)
    fold_of = _deal(data.labels[first], n_folds, data.genres, seed)[groups]
    for fold in range(n_folds):
        yield (
            data.rows(np.flatnonzero(fold_of != fold)),
            data.rows(np.flatnonzero(fold_of == fold)),
        )


def _deal(labels: NDArray[np.intp], n_folds: int, genres: tuple[str, ...], seed: int) -> NDArray[np.intp]:
    """Deal the members of each genre out to the folds in random order, going on where the last one ended."""
    present, counts = np.unique(labels, return_counts=True)
    if n_folds < 2 or n_folds > counts.min():
        scarce = genres[present[counts.argmin()]]
        raise MisuseError(
            f"--folds {n_folds} does not fit the data: choose 2 to {counts.min()}, as many as '{scarce}' has"
        )
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in present])
    fold_of = np.empty(len(labels), np.intp)
    fold_of[order] = np.arange(len(labels)) % n_folds
    return fold_of


def protocol_label(protocol: EvaluationProtocol) -> str:
    """Return the protocol in the few words that stand beside a figure."""
    return {
        "as given": "as given",
        "segment": "segment (leaks)",
        "track": "track (leaks a little)",
        "file": "file (lists)",
    }[protocol]


def without_folders(split: str) -> str:
    """Drop the folders of the lists: where files lay on one machine is no part of a figure."""
    kind, colon, lists = split.partition(":")
    return kind + colon + ",".join(Path(path).name for path in lists.split(",") if path)


def seen_sentence(evaluation: Evaluation) -> str | None:
    """Say how far a model that was made before has met what it was tested on; None for one trained for it."""
    seen = evaluation.seen
    if seen is None:
        return None
    if not seen.known:
        return "this model does not say which tracks it was trained on, so nothing could be compared"
    parts = []
    if seen.trained_on:
        parts.append(
            f"LEAKS: {seen.trained_on:,} of the {evaluation.n_tracks:,} tested tracks are, by content "
            "or by name, tracks that this model was trained on; the figures are optimistic"
        )
    if seen.calibrated_on:
        parts.append(
            f"{seen.calibrated_on:,} are tracks that its temperature was fitted to; the calibration is "
            "slightly optimistic"
        )
    if seen.same_name:
        parts.append(
            f"{seen.same_name:,} bear the name of a track that it was trained on, with other content: the "
            "same music in another format, or other music of that name"
        )
    return "; ".join(parts) or "no tested track is, by content or by name, one that this model was made from"
