"""TrainingSet: labelled log-mels in memory, and the split protocols that part it in two."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MisuseError

VALID_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labelled segments.

    Attributes
    ----------
    log_mel : ndarray of uint8, shape (n, n_mels, n_frames)
        As `schemas.tracks.SegmentFeatures.log_mel`.
    labels : ndarray of int, shape (n,)
        Index into `genres`.
    tracks : ndarray of str, shape (n,)
        The track each segment is of.
    genres : tuple of str
        In the order of the network's outputs.
    """

    log_mel: NDArray[np.uint8]
    labels: NDArray[np.intp]
    tracks: NDArray[np.str_]
    genres: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: NDArray[np.intp]) -> "TrainingSet":
        """Return the segments at `index`."""
        return TrainingSet(self.log_mel[index], self.labels[index], self.tracks[index], self.genres)

    def pieces(self, n_pieces: int) -> "TrainingSet":
        """Cut every segment into `n_pieces` of equal length, as the ``segment`` protocol asks."""
        n, n_mels, n_frames = self.log_mel.shape
        length = n_frames // n_pieces
        cut = self.log_mel[:, :, : n_pieces * length].reshape(n, n_mels, n_pieces, length)
        return TrainingSet(
            np.ascontiguousarray(cut.transpose(0, 2, 1, 3)).reshape(-1, n_mels, length),
            np.repeat(self.labels, n_pieces),
            np.repeat(self.tracks, n_pieces),
            self.genres,
        )


def split_at_random(data: TrainingSet, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Part the segments at random, 80 % to train on, each genre in proportion.

    Segments of one track stand on both sides where it has several: the figure flatters (it leaks).
    """
    rng = np.random.default_rng(seed)
    held = _stratified(data.labels, rng)
    return data.rows(np.flatnonzero(~held)), data.rows(np.flatnonzero(held))


def split_by_track(data: TrainingSet, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Part the tracks at random, 80 % to train on, each genre in proportion; no track on both sides."""
    _, first, track_of = np.unique(data.tracks, return_index=True, return_inverse=True)
    held = _stratified(data.labels[first], np.random.default_rng(seed))[track_of]
    return data.rows(np.flatnonzero(~held)), data.rows(np.flatnonzero(held))


def _stratified(labels: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.bool_]:
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held[members[: round(VALID_SHARE * len(members))]] = True
    return held


def split_by_lists(data: TrainingSet, train: Path, valid: Path) -> tuple[TrainingSet, TrainingSet]:
    """Part the tracks by two lists of file names, one a line, such as ``blues/blues.00029.wav``.

    A name stands for the track it ends in, without folder and extension. Names that the data does not
    have are passed over: published lists name clips that nobody can decode.

    Raises
    ------
    MisuseError
        Where a list cannot be read or names none of the tracks, or both name the same track.
    """
    names = _read_list(train), _read_list(valid)
    both = sorted(names[0] & names[1])
    if both:
        raise MisuseError(f"{train} and {valid} both name the track '{both[0]}': a track is on one side only")
    parts = []
    for path, listed in zip((train, valid), names, strict=True):
        index = np.flatnonzero(np.isin(data.tracks, sorted(listed)))
        if not len(index):
            raise MisuseError(f"{path} names none of the {len(set(data.tracks))} tracks of the data")
        parts.append(data.rows(index))
    return parts[0], parts[1]


def _read_list(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MisuseError(f"cannot read the track list {path}: {error}") from error
    return {track_name(line.strip()) for line in lines if line.strip()}


def track_name(file: str) -> str:
    """Return the track a listed file is: its name without folder and audio extension.

    >>> track_name("blues/blues.00029.wav")
    'blues.00029'
    >>> track_name("blues.00029")
    'blues.00029'
    """
    name = file.rsplit("/", 1)[-1]
    stem, _, extension = name.rpartition(".")
    return stem if stem and not extension.isdigit() else name


def index_genres(names: Iterable[str], genres: Sequence[str]) -> NDArray[np.intp]:
    """Return each name's place in `genres`."""
    place = {genre: number for number, genre in enumerate(genres)}
    return np.array([place[name] for name in names], np.intp)
