"""Splits: labeled data divided into a training set and a held-out set, by one of three protocols."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.training.copies import find_originals
from pipeline.training.provenance import hash_segments
from pipeline.training.training_set import TrainingSet, track_path
from schemas.errors import MisuseError
from schemas.model import Arch, SplitProtocol

PIECES_PER_SEGMENT = 10
VALID_SHARE = 0.2


def split_data(
    data: TrainingSet, split: str, seed: int, *, n_pieces: int | None = None
) -> tuple[TrainingSet, TrainingSet, SplitProtocol]:
    """Split data by the protocol that ``--split`` names.

    Parameters
    ----------
    data : TrainingSet
    split : str
        ``segment`` (pieces at random, which leaks), ``track`` (random tracks) or
        ``file:TRAIN.txt,VALID.txt`` (lists of tracks).
    seed : int
        Seed of the random splits.
    n_pieces : int, optional
        Cut each segment into this many pieces first. By default, ``segment`` cuts ten, and the other
        protocols keep segments whole.

    Returns
    -------
    train_set, valid_set : TrainingSet
    protocol : str

    Raises
    ------
    MisuseError
        If the protocol is unknown, the lists do not fit the data, or only one genre is left to train on.
    """
    protocol, lists = parse_split(split)
    cut = cut_for_protocol(protocol, data, n_pieces)
    if lists is not None:
        train_set, valid_set = split_by_lists(cut, *lists)
    else:
        train_set, valid_set = (split_by_track if protocol == "track" else split_at_random)(cut, seed)
    trained = np.unique(train_set.labels)
    if len(trained) < 2:
        raise MisuseError(
            f"--split {split} leaves only tracks of {data.genres[trained[0]]} to train on, and at least two "
            "genres are needed to tell apart; choose another split, or other data"
        )
    return train_set, valid_set, protocol


def leave_out_untrained_genres(
    train_set: TrainingSet, valid_set: TrainingSet, say: Callable[[str], None]
) -> tuple[TrainingSet, TrainingSet]:
    """Leave out genres that no track is trained on: a model would know their names and nothing else.

    Parameters
    ----------
    train_set, valid_set : TrainingSet
        Sets with the same genres.
    say : callable
        Called with a message about the genres that are left out.

    Raises
    ------
    MisuseError
        If no track is left in the valid set.
    """
    shares = np.eye(len(train_set.genres))[train_set.labels] if train_set.shares is None else train_set.shares
    trained = np.flatnonzero(shares.any(axis=0))
    genres = tuple(train_set.genres[place] for place in trained)
    if genres == train_set.genres:
        return train_set, valid_set
    tested = valid_set.of_genres(genres)
    lacking = ", ".join(genre for genre in train_set.genres if genre not in genres)
    if not len(tested):
        raise MisuseError(f"no held-out track is of a genre that is trained on, only of {lacking}")
    say(f"left out because no track of them is trained on: {lacking}")
    n_held_out, n_tested = (len(set(data.tracks.tolist())) for data in (valid_set, tested))
    if n_tested < n_held_out:
        say(f"left out with their genres: {n_held_out - n_tested:,} of {n_held_out:,} held-out tracks")
    return train_set.of_genres(genres), tested


def parse_split(split: str) -> tuple[SplitProtocol, tuple[Path, Path] | None]:
    """Return the protocol that ``--split`` names, and the lists of ``file:TRAIN.txt,VALID.txt``.

    Raises
    ------
    MisuseError
        If the protocol is unknown.
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


def check_pieces(arch: Arch, protocol: SplitProtocol | None, n_pieces: int | None) -> None:
    """Check that a network of an architecture can be trained or tested on the pieces of a protocol.

    Parameters
    ----------
    arch : str
    protocol : str or None
        None if nothing is split.
    n_pieces : int or None
        Pieces of each segment; see `split_data`.

    Raises
    ------
    MisuseError
        If it reads descriptors, which describe whole segments.
    """
    if arch == "both" and count_pieces(protocol, n_pieces) > 1:
        raise MisuseError(
            "--arch both reads descriptors, which describe whole segments, so it cannot read pieces of them; "
            "choose --split track or file:TRAIN.txt,VALID.txt without --pieces, or another architecture"
        )
    if arch == "dense" and n_pieces is not None and n_pieces > 1:
        raise MisuseError(
            "--arch dense reads descriptors, which describe whole segments; --pieces has no effect, omit it"
        )


def count_pieces(protocol: SplitProtocol | None, n_pieces: int | None) -> int:
    """Return into how many pieces log-mels are cut: `n_pieces`, or by default those of the protocol."""
    return n_pieces or (PIECES_PER_SEGMENT if protocol == "segment" else 1)


def cut_for_protocol(protocol: SplitProtocol, data: TrainingSet, n_pieces: int | None) -> TrainingSet:
    """Return the data cut into `n_pieces`, or by default into those of the protocol.

    Raises
    ------
    MisuseError
        If the segments have fewer frames than pieces.
    """
    n_pieces = count_pieces(protocol, n_pieces)
    return data if n_pieces == 1 else data.cut_pieces(n_pieces)


def split_at_random(data: TrainingSet, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Split the segments at random, 80 % for training, stratified by genre.

    This leaks: segments of one track can be on both sides, so the result is optimistic.
    """
    return _divide(data, _draw_held_out(data.labels, np.random.default_rng(seed)))


def split_by_track(data: TrainingSet, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Split the tracks at random, 80 % for training, stratified by genre.

    No track is on both sides, and no copy of it.
    """
    first, group_of = group_copies(data)
    return _divide(data, _draw_held_out(data.labels[first], np.random.default_rng(seed))[group_of])


def group_copies(data: TrainingSet) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Group tracks with the same features, which are copies of one file.

    Returns
    -------
    first : ndarray of int, shape (n_groups,)
        A segment of each group; groups are sorted by the name of their first track.
    group_of : ndarray of int, shape (n_segments,)
        The group of each segment.
    """
    names, first, track_of = np.unique(data.tracks, return_index=True, return_inverse=True)
    originals = find_originals(track_of, hash_segments(data).tolist(), len(names))
    tracks, group_of = np.unique(originals, return_inverse=True)
    return first[tracks], group_of[track_of]


def _divide(data: TrainingSet, is_held_out: NDArray[np.bool_]) -> tuple[TrainingSet, TrainingSet]:
    if not is_held_out.any():
        raise MisuseError(
            f"{len(data)} segments of {len(data.genres)} genres are too few to hold some out: "
            "a genre needs at least three tracks that are not copies of one another"
        )
    return data.take(np.flatnonzero(~is_held_out)), data.take(np.flatnonzero(is_held_out))


def _draw_held_out(labels: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw `VALID_SHARE` of each genre at random."""
    is_held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        is_held_out[members[: round(VALID_SHARE * len(members))]] = True
    return is_held_out


def split_by_lists(data: TrainingSet, train: Path, valid: Path) -> tuple[TrainingSet, TrainingSet]:
    """Split the tracks by two lists of file names, one per line, such as ``blues/blues.00029.wav``.

    Names are compared without extension, and folders only as far as both names have them. Names that are not
    in the data are ignored: published lists name clips that cannot be decoded.

    Raises
    ------
    MisuseError
        If a list cannot be read or names none of the tracks, or both lists name the same track.
    """
    in_train, in_valid = find_listed(data.tracks, train, valid)
    return data.take(np.flatnonzero(in_train)), data.take(np.flatnonzero(in_valid))


def find_listed(
    tracks: NDArray[np.str_], train: Path, valid: Path
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which tracks two lists name; see `split_by_lists`."""
    names = _read_list(train), _read_list(valid)
    in_train, in_valid = (_is_listed(tracks, listed) for listed in names)
    for path, found in ((train, in_train), (valid, in_valid)):
        if not found.any():
            raise MisuseError(f"{path} names none of the {len(set(tracks))} tracks of the data")
    if (in_train & in_valid).any():
        both = sorted(tracks[in_train & in_valid].tolist())[0]
        raise MisuseError(f"{train} and {valid} both name the track '{both}': remove it from one of them")
    return in_train, in_valid


def _is_listed(tracks: NDArray[np.str_], listed: set[str]) -> NDArray[np.bool_]:
    """Return whether each track is listed, by a name that can have more leading folders, or fewer."""
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
        # Not splitlines, which also ends lines at characters that names may contain, such as U+2028.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MisuseError(f"cannot read the track list {path}: {error}") from error
    return {track_path(line.strip()) for line in lines if line.strip()}
