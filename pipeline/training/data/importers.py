"""Importers: read labeled data of any supported form into a TrainingSet."""

import io
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.storage import storage
from pipeline.training.data.descriptor_csv import import_descriptor_csv, is_descriptor_csv
from pipeline.training.training_set import TrainingSet, index_genres, pick_genres
from schemas.config import first_fault
from schemas.errors import MisuseError
from schemas.features import FeatureSpec


def import_data(data: str, *, say: Callable[[str], None] = lambda _: None) -> TrainingSet:
    """Read an array file or a table of descriptors.

    Parameters
    ----------
    data : str
        Path or URI of an ``.npz`` of log-mels (`import_npz`) or of a published descriptor CSV
        (`pipeline.training.data.descriptor_csv.import_descriptor_csv`).
    say : callable
        Called with a message about what is left out because it has no genre.

    Raises
    ------
    MisuseError
        If it is neither, or invalid.
    """
    if data.endswith(".npz"):
        return import_npz(data)
    if is_descriptor_csv(data):
        return import_descriptor_csv(data, say)
    raise MisuseError(
        f"{data} is not labeled data: give audio in folders by genre, a manifest with a column label, tables "
        "of 'earmark run', a CSV of the 57 descriptors, or an .npz with the arrays log_mel, track and genre"
    )


def import_npz(path: object) -> TrainingSet:
    """Read an array file of labeled log-mels.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with ``log_mel`` uint8 (n, n_mels, n_frames), ``track`` str (n,), ``genre`` str (n,), and
        optionally ``descriptors`` float64 (n, 57). Instead of ``genre`` it can have soft labels: ``shares``
        float (n, n_genres), from another model or several listeners, and ``genres`` str (n_genres,). Other
        arrays are ignored.

    Returns
    -------
    TrainingSet
        Its genres are those of ``genres`` if there are shares. Otherwise they are GTZAN's ten in their usual
        order if the file has exactly those, or else the names in sorted order.

    Raises
    ------
    MisuseError
        If the file is missing or broken, lacks an array, or has arrays that do not match.
    """
    try:
        with np.load(io.BytesIO(storage.read_bytes(str(path))), allow_pickle=False) as arrays:
            log_mel, tracks = arrays["log_mel"], arrays["track"]
            tracks = tracks.astype(np.str_) if tracks.dtype.kind in "iu" else tracks
            is_soft = "genre" not in arrays and "shares" in arrays
            targets, names = (arrays["shares"], arrays["genres"]) if is_soft else (arrays["genre"], None)
            descriptors = arrays.get("descriptors")
    except KeyError as error:
        raise MisuseError(f"{path} lacks an array: {error.args[0]}; needed: log_mel, track, genre") from error
    except ValueError as error:
        raise MisuseError(
            f"cannot read the array file {path}: {error}; arrays of objects, which could run code, are not "
            "read: write text with .astype(str)"
        ) from error
    except (OSError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise MisuseError(f"cannot read the array file {path}: {error}") from error
    if log_mel.ndim != 3 or log_mel.dtype != np.uint8:
        raise MisuseError(
            f"log_mel in {path} is {log_mel.dtype} {log_mel.shape}: it must be uint8 (n, n_mels, n_frames)"
        )
    if not len(log_mel) == len(tracks) == len(targets) or tracks.ndim != 1:
        raise MisuseError(
            f"the arrays of {path} differ in length: {len(log_mel)}, {len(tracks)}, {len(targets)}"
        )
    genres, labels, shares = _read_targets(targets, names, str(path))
    try:
        spec = FeatureSpec(n_mels=log_mel.shape[1], descriptors=descriptors is not None)
    except ValidationError as error:
        raise MisuseError(
            f"log_mel in {path} has {log_mel.shape[1]} mel bands: {first_fault(error)[1]}"
        ) from error
    return TrainingSet(
        log_mel,
        labels,
        np.array(_read_names(tracks, "track", str(path)), np.str_),
        genres,
        None if descriptors is None else _check_descriptors(descriptors, len(log_mel), str(path)),
        spec,
        shares,
    )


def _read_targets(
    targets: NDArray[np.generic], names: NDArray[np.generic] | None, path: str
) -> tuple[tuple[str, ...], NDArray[np.intp], NDArray[np.float32] | None]:
    """Return the genres, the label of each segment, and the shares of the genres if the file has them."""
    if names is None:
        if targets.ndim != 1:
            raise MisuseError(
                f"genre in {path} has shape {targets.shape}: it must be a name for each segment"
            )
        listed = _read_names(targets, "genre", path)
        genres = pick_genres(listed, path)
        return genres, index_genres(listed, genres), None
    genres = tuple(_read_names(names, "genres", path))
    if targets.ndim != 2 or targets.shape[1] != len(set(genres)) or len(genres) < 2:
        raise MisuseError(
            f"shares in {path} has shape {targets.shape}: it needs a column for each of two or more genres"
        )
    shares = targets.astype(np.float32)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and np.allclose(shares.sum(1), 1, atol=1e-3)):
        raise MisuseError(f"shares in {path} must be numbers from 0 to 1 that sum to 1 in each row")
    return genres, shares.argmax(axis=1), shares


def _read_names(array: NDArray[np.generic], name: str, path: str) -> list[str]:
    """Return the names of genres or tracks without the spaces around them."""
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array.astype(np.bytes_), "utf-8")
        except UnicodeDecodeError as error:
            raise MisuseError(
                f"{name} in {path} has the bytes {error.object!r}, which are not UTF-8; decode them with "
                f"np.char.decode({name}, ENCODING)"
            ) from error
    if array.dtype.kind != "U":
        raise MisuseError(
            f"{name} in {path} has dtype {array.dtype}: it must be str; convert it with .astype(str)"
        )
    names = [each.strip() for each in array.ravel().tolist()]
    if "" in names:
        raise MisuseError(
            f"{name} in {path} is empty in row {names.index('')}: write a name, or drop the row"
        )
    return names


def _check_descriptors(descriptors: NDArray[np.generic], n: int, path: str) -> NDArray[np.float64]:
    shape = (n, len(DESCRIPTOR_NAMES))
    if descriptors.shape != shape or not np.issubdtype(descriptors.dtype, np.floating):
        raise MisuseError(
            f"descriptors in {path} is {descriptors.dtype} {descriptors.shape}: it must be float64 {shape}"
        )
    values = descriptors.astype(np.float64)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise MisuseError(
            f"descriptors in {path} must be finite numbers, unlike row {row}, column {column} "
            f"({DESCRIPTOR_NAMES[column]})"
        )
    return values
