"""Importers: labeled data in the forms it comes in, made into a TrainingSet."""

import io
import zipfile

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.storage import storage
from pipeline.training.data.descriptor_csv import import_descriptor_csv, is_descriptor_csv
from pipeline.training.data.labeled_tables import import_tables, is_tables
from pipeline.training.training_set import TrainingSet, index_genres, pick_genres
from schemas.errors import MisuseError
from schemas.features import FeatureSpec


def import_data(data: str, *, label_column: str | None = None) -> TrainingSet:
    """Read labeled data, whatever form it is in.

    Parameters
    ----------
    data : str
        Path or URI of an ``.npz`` of log-mels (`import_npz`), of a published descriptor CSV
        (`pipeline.training.data.descriptor_csv.import_descriptor_csv`) or of tables
        (`pipeline.training.data.labeled_tables.import_tables`).
    label_column : str, optional
        Where the genres of tables are.

    Raises
    ------
    MisuseError
        Where no importer reads such data, or the data is wrong.
    """
    if data.endswith(".npz"):
        return import_npz(data)
    if is_descriptor_csv(data):
        return import_descriptor_csv(data)
    if is_tables(data):
        return import_tables(data, label_column=label_column)
    raise MisuseError(
        f"{data} is no labeled data: give audio in folders by genre, a manifest with a column label, tables "
        "of 'earmark run', a CSV of the 57 descriptors, or an .npz with the arrays log_mel, track and genre"
    )


def import_npz(path: object) -> TrainingSet:
    """Read an array file of labeled log-mels.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with ``log_mel`` uint8 (n, n_mels, n_frames), ``track`` str (n,) and ``genre`` str (n,), and
        perhaps ``descriptors`` float64 (n, 57). Instead of ``genre`` it may have ``shares`` float
        (n, n_genres), of each genre what another model or several listeners say, and ``genres`` str
        (n_genres,). Further arrays are left alone.

    Returns
    -------
    TrainingSet
        Its genres are GTZAN's ten in their order where the file has just those, else the names sorted;
        with shares those of ``genres`` as they are.

    Raises
    ------
    MisuseError
        Where the file is missing or broken, lacks an array, or the arrays do not fit each other.
    """
    try:
        with np.load(io.BytesIO(storage.read_bytes(str(path))), allow_pickle=False) as arrays:
            log_mel, tracks = arrays["log_mel"], arrays["track"]
            shared = "genre" not in arrays and "shares" in arrays
            answers, names = (arrays["shares"], arrays["genres"]) if shared else (arrays["genre"], None)
            descriptors = arrays.get("descriptors")
    except KeyError as error:
        raise MisuseError(f"{path} lacks an array: {error.args[0]}; needed: log_mel, track, genre") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise MisuseError(f"cannot read the array file {path}: {error}") from error
    if log_mel.ndim != 3 or log_mel.dtype != np.uint8:
        raise MisuseError(
            f"log_mel in {path} is {log_mel.dtype} {log_mel.shape}: it must be uint8 (n, n_mels, n_frames)"
        )
    if not len(log_mel) == len(tracks) == len(answers) or tracks.ndim != 1:
        raise MisuseError(
            f"the arrays of {path} differ in length: {len(log_mel)}, {len(tracks)}, {len(answers)}"
        )
    genres, labels, shares = _answers(answers, names, str(path))
    return TrainingSet(
        log_mel,
        labels,
        tracks.astype(np.str_),
        genres,
        None if descriptors is None else _checked(descriptors, len(log_mel), str(path)),
        FeatureSpec(n_mels=log_mel.shape[1], descriptors=descriptors is not None),
        shares,
    )


def _answers(
    answers: NDArray[np.generic], names: NDArray[np.generic] | None, path: str
) -> tuple[tuple[str, ...], NDArray[np.intp], NDArray[np.float32] | None]:
    """Return the genres, the label of each segment, and the shares of the genres where those are given."""
    if names is None:
        if answers.ndim != 1:
            raise MisuseError(
                f"genre in {path} has shape {answers.shape}: it must be a name for each segment"
            )
        listed = answers.tolist()
        genres = pick_genres(listed, path)
        return genres, index_genres(listed, genres), None
    genres = tuple(str(name) for name in names)
    if answers.ndim != 2 or answers.shape[1] != len(set(genres)) or len(genres) < 2:
        raise MisuseError(
            f"shares in {path} has shape {answers.shape}: a column for each of two or more genres is needed"
        )
    shares = answers.astype(np.float32)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and np.allclose(shares.sum(1), 1, atol=1e-3)):
        raise MisuseError(f"shares in {path} must be numbers from 0 to 1 that sum to 1 in each row")
    return genres, shares.argmax(axis=1), shares


def _checked(descriptors: NDArray[np.generic], n: int, path: str) -> NDArray[np.float64]:
    shape = (n, len(DESCRIPTOR_NAMES))
    if descriptors.shape != shape or not np.issubdtype(descriptors.dtype, np.floating):
        raise MisuseError(
            f"descriptors in {path} is {descriptors.dtype} {descriptors.shape}: it must be float64 {shape}"
        )
    values = descriptors.astype(np.float64)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise MisuseError(
            f"descriptors in {path} has no finite number in row {row}, column {column} "
            f"({DESCRIPTOR_NAMES[column]})"
        )
    return values
