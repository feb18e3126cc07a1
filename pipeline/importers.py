"""Importers: labelled data in the forms it comes in, made into a TrainingSet."""

import zipfile
from pathlib import Path

import numpy as np

from pipeline.training_set import TrainingSet, index_genres
from schemas.errors import MisuseError
from schemas.genres import GTZAN_GENRES


def import_npz(path: Path) -> TrainingSet:
    """Read an array file of labelled log-mels.

    Parameters
    ----------
    path : Path
        ``.npz`` with ``log_mel`` uint8 (n, n_mels, n_frames), ``track`` str (n,) and ``genre`` str (n,).
        Further arrays are left alone.

    Returns
    -------
    TrainingSet
        Its genres are GTZAN's ten in their order where the file has just those, else the names sorted.

    Raises
    ------
    MisuseError
        Where the file is missing or broken, lacks an array, or the arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            log_mel, tracks, names = (arrays[key] for key in ("log_mel", "track", "genre"))
    except KeyError as error:
        raise MisuseError(f"{path} lacks an array: {error.args[0]}; needed: log_mel, track, genre") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise MisuseError(f"cannot read the array file {path}: {error}") from error
    if log_mel.ndim != 3 or log_mel.dtype != np.uint8:
        raise MisuseError(
            f"log_mel in {path} is {log_mel.dtype} {log_mel.shape}: it must be uint8 (n, n_mels, n_frames)"
        )
    if not len(log_mel) == len(tracks) == len(names) or tracks.ndim != 1 or names.ndim != 1:
        raise MisuseError(
            f"the arrays of {path} differ in length: {len(log_mel)}, {len(tracks)}, {len(names)}"
        )
    present = set(names.tolist())
    genres = GTZAN_GENRES if present == set(GTZAN_GENRES) else tuple(sorted(present))
    if len(genres) < 2:
        raise MisuseError(f"{path} has {len(genres)} genres: a model needs at least two to tell apart")
    return TrainingSet(log_mel, index_genres(names.tolist(), genres), tracks.astype(np.str_), genres)


def import_data(data: str) -> TrainingSet:
    """Read labelled data from `data`, whatever form it is in.

    Raises
    ------
    MisuseError
        Where no importer reads such data.
    """
    path = Path(data)
    if path.suffix == ".npz":
        return import_npz(path)
    raise MisuseError(f"cannot train on {data}: give an .npz with the arrays log_mel, track and genre")
