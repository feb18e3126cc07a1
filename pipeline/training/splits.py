"""Splits: labeled data parted into what is trained on and what is held back, by one of three protocols."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.training.training_set import TrainingSet, track_path
from schemas.errors import MisuseError
from schemas.model import SplitProtocol

PIECES_A_SEGMENT = 10
VALID_SHARE = 0.2


def split_data(
    data: TrainingSet, split: str, seed: int, *, n_pieces: int | None = None
) -> tuple[TrainingSet, TrainingSet, SplitProtocol]:
    """Part data as ``--split`` says.

    Parameters
    ----------
    data : TrainingSet
    split : str
        ``segment`` (pieces at random, which leaks), ``track`` (random tracks) or
        ``file:TRAIN.txt,VALID.txt`` (lists of tracks).
    seed : int
        Of the random splits.
    n_pieces : int, optional
        Cut each segment into so many first; if not given, ten under ``segment``, else the segments
        stay whole.

    Returns
    -------
    train_set, valid_set : TrainingSet
    protocol : str

    Raises
    ------
    MisuseError
        For another word, or lists that do not fit the data.
    """
    protocol, lists = read_split(split)
    cut = cut_for(protocol, data, n_pieces)
    if lists is not None:
        return *split_by_lists(cut, *lists), protocol
    return *(split_by_track if protocol == "track" else split_at_random)(cut, seed), protocol


def read_split(split: str) -> tuple[SplitProtocol, tuple[Path, Path] | None]:
    """Return the protocol that ``--split`` names, and the lists of ``file:TRAIN.txt,VALID.txt``.

    Raises
    ------
    MisuseError
        For another word.
    """
    kind, _, rest = split.partition(":")
    lists = rest.split(",")
    if kind == "file" and len(lists) == 2 and all(lists):
        return "file", (Path(lists[0]), Path(lists[1]))
    if split == "track":
        return "track", None
    if split == "segment":
        return "segment", None
    raise MisuseError(f"cannot split by '{split}': choose segment, track or file:TRAIN.txt,VALID.txt")


def cut_for(protocol: SplitProtocol, data: TrainingSet, n_pieces: int | None) -> TrainingSet:
    """Return the data in the pieces that were asked for, or else in those of the protocol.

    Raises
    ------
    MisuseError
        Where the segments have fewer frames than that.
    """
    n_pieces = n_pieces or (PIECES_A_SEGMENT if protocol == "segment" else 1)
    return data if n_pieces == 1 else data.pieces(n_pieces)


def split_at_random(data: TrainingSet, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Part the segments at random, 80 % to train on, each genre in proportion.

    Segments of one track stand on both sides where it has several: the figure flatters (it leaks).
    """
    return _parted(data, _stratified(data.labels, np.random.default_rng(seed)))


def split_by_track(data: TrainingSet, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Part the tracks at random, 80 % to train on, each genre in proportion; no track on both sides."""
    _, first, track_of = np.unique(data.tracks, return_index=True, return_inverse=True)
    return _parted(data, _stratified(data.labels[first], np.random.default_rng(seed))[track_of])


def _parted(data: TrainingSet, held: NDArray[np.bool_]) -> tuple[TrainingSet, TrainingSet]:
    if not held.any():
        raise MisuseError(
            f"{len(data)} segments of {len(data.genres)} genres are too few to hold some back: "
            "a genre needs at least three tracks"
        )
    return data.rows(np.flatnonzero(~held)), data.rows(np.flatnonzero(held))


def _stratified(labels: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.bool_]:
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held[members[: round(VALID_SHARE * len(members))]] = True
    return held


def split_by_lists(data: TrainingSet, train: Path, valid: Path) -> tuple[TrainingSet, TrainingSet]:
    """Part the tracks by two lists of file names, one a line, such as ``blues/blues.00029.wav``.

    A name stands for a track without its extension; folders are compared as far as both names have them.
    Names that the data does not have are passed over: published lists name clips that nobody can decode.

    Raises
    ------
    MisuseError
        Where a list cannot be read or names none of the tracks, or both name the same track.
    """
    names = _read_list(train), _read_list(valid)
    parts = []
    for path, listed in zip((train, valid), names, strict=True):
        index = np.flatnonzero(_named(data.tracks, listed))
        if not len(index):
            raise MisuseError(f"{path} names none of the {len(set(data.tracks))} tracks of the data")
        parts.append(data.rows(index))
    both = sorted(set(parts[0].tracks.tolist()) & set(parts[1].tracks.tolist()))
    if both:
        raise MisuseError(f"{train} and {valid} both name the track '{both[0]}': a track is on one side only")
    return parts[0], parts[1]


def _named(tracks: NDArray[np.str_], listed: set[str]) -> NDArray[np.bool_]:
    """Whether each track is listed, by a name that may have more folders in front, or fewer."""
    by_name: dict[str, list[str]] = {}
    for path in listed:
        by_name.setdefault(path.rpartition("/")[2], []).append(f"/{path}")
    wanted = {
        track: any(
            path.endswith(f"/{track}") or f"/{track}".endswith(path)
            for path in by_name.get(track.rpartition("/")[2], ())
        )
        for track in set(tracks.tolist())
    }
    return np.array([wanted[track] for track in tracks.tolist()], bool)


def _read_list(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MisuseError(f"cannot read the track list {path}: {error}") from error
    return {track_path(line.strip()) for line in lines if line.strip()}
