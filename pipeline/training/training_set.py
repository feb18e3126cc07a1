"""TrainingSet: labelled segments in memory, and the split protocols that part them in two."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.genres import GTZAN_GENRES

VALID_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labelled segments, with log-mels, descriptors or both.

    Attributes
    ----------
    log_mel : ndarray of uint8, shape (n, n_mels, n_frames), or None
        As `schemas.tracks.SegmentFeatures.log_mel`.
    labels : ndarray of int, shape (n,)
        Index into `genres`.
    tracks : ndarray of str, shape (n,)
        The track each segment is of: its path without extension, or its name alone.
    genres : tuple of str
        In the order of the network's outputs.
    descriptors : ndarray of float64, shape (n, 57), or None
        In the order of `pipeline.featurizing.descriptors.DESCRIPTOR_NAMES`.
    features : FeatureSpec
        How the features were made: what a model that is trained on them asks of a catalog.
    """

    log_mel: NDArray[np.uint8] | None
    labels: NDArray[np.intp]
    tracks: NDArray[np.str_]
    genres: tuple[str, ...]
    descriptors: NDArray[np.float64] | None = None
    features: FeatureSpec = field(default_factory=FeatureSpec)

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: NDArray[np.intp]) -> "TrainingSet":
        """Return the segments at `index`."""
        return replace(
            self,
            log_mel=None if self.log_mel is None else self.log_mel[index],
            labels=self.labels[index],
            tracks=self.tracks[index],
            descriptors=None if self.descriptors is None else self.descriptors[index],
        )

    def pieces(self, n_pieces: int) -> "TrainingSet":
        """Cut every log-mel into `n_pieces` of equal length, as the ``segment`` protocol asks.

        Descriptors, which are of whole segments, are left out; a set of descriptors alone stays as it is:
        its segments are the pieces.

        Raises
        ------
        MisuseError
            Where the segments have fewer frames than that.
        """
        if self.log_mel is None:
            return self
        n, n_mels, n_frames = self.log_mel.shape
        length = n_frames // n_pieces
        if not length:
            raise MisuseError(f"segments of {n_frames} frames cannot be cut into {n_pieces} pieces")
        cut = self.log_mel[:, :, : n_pieces * length].reshape(n, n_mels, n_pieces, length)
        shorter = {
            "segment_s": max(1.0, round(self.features.segment_s / n_pieces, 3)),
            "max_segments": min(100, self.features.max_segments * n_pieces),
        }
        return TrainingSet(
            np.ascontiguousarray(cut.transpose(0, 2, 1, 3)).reshape(-1, n_mels, length),
            np.repeat(self.labels, n_pieces),
            np.repeat(self.tracks, n_pieces),
            self.genres,
            features=self.features.model_copy(update=shorter),
        )


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


def track_name(file: str) -> str:
    """Return the track a listed file is: its name without folder and audio extension.

    >>> track_name("blues/blues.00029.wav")
    'blues.00029'
    >>> track_name("blues.00029")
    'blues.00029'
    """
    return track_path(file).rpartition("/")[2]


def track_path(file: str) -> str:
    """Return the file's path without its audio extension.

    >>> track_path("blues/blues.00029.wav")
    'blues/blues.00029'
    """
    folder, slash, name = file.rpartition("/")
    stem, _, extension = name.rpartition(".")
    return folder + slash + (stem if stem and not extension.isdigit() else name)


def pick_genres(names: Iterable[str], source: str) -> tuple[str, ...]:
    """Return the genres of labelled data: GTZAN's ten in their order where they are just those, else sorted.

    Raises
    ------
    MisuseError
        Where there are fewer than two; `source` is what the message calls the data.
    """
    present = set(names)
    if len(present) < 2:
        raise MisuseError(f"{source} has {len(present)} genres: a model needs at least two to tell apart")
    return GTZAN_GENRES if present == set(GTZAN_GENRES) else tuple(sorted(present))


def index_genres(names: Iterable[str], genres: Sequence[str]) -> NDArray[np.intp]:
    """Return each name's place in `genres`."""
    place = {genre: number for number, genre in enumerate(genres)}
    return np.array([place[name] for name in names], np.intp)
