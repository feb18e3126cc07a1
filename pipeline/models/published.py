"""Published models: download their weights and convert them to bundles."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.models.audioset import build_audioset
from pipeline.models.bundle import ModelBundle
from pipeline.models.model_cache import model_folder
from pipeline.models.torch_file import NotWeightsError
from pipeline.storage import storage
from pipeline.storage.cache_folder import CACHE_VARIABLE, cache_folder
from pipeline.storage.local_kind import local_kind
from schemas.errors import EarmarkError, MisuseError

_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model that can be added.

    Attributes
    ----------
    name : str
        What ``--model`` takes.
    url, file, sha256 : str
        Where its weights are, the name of their file, and its checksum.
    size : int
        Bytes of the file.
    license : str
        The terms that its authors give it under.
    build : callable
        Turns the file's bytes, and facts for ``model.json``, into a bundle.
    """

    name: str
    url: str
    file: str
    sha256: str
    size: int
    license: str
    build: Callable[..., ModelBundle]


PUBLISHED = {
    "audioset": PublishedModel(
        name="audioset",
        url="https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn04_as_mAP_432.pt",
        file="mn04_as_mAP_432.pt",
        sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
        size=4_066_513,
        license="MIT",
        build=build_audioset,
    )
}
"""The models that can be added, by name."""


def find_published(name: str) -> PublishedModel:
    """Return the published model of a name.

    Raises
    ------
    MisuseError
        If there is none.
    """
    if name not in PUBLISHED:
        raise MisuseError(
            f"there is no model '{name}' to add; those that can be added: {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[name]


def add_model(model: PublishedModel, file: Path | None = None) -> tuple[ModelBundle, Path]:
    """Add a published model, or rebuild it from its weights.

    Parameters
    ----------
    model : PublishedModel
        The model.
    file : Path, optional
        The file of its weights, which is also kept; without it they are taken from the cache, or downloaded.

    Returns
    -------
    bundle : ModelBundle
        The model.
    folder : Path
        Where it is kept.

    Raises
    ------
    MisuseError
        If the file is another one, or cannot be read.
    EarmarkError
        If the download fails, or the cache cannot be written.
    """
    data = _read(model, file) if file is not None else _download(model)
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise MisuseError(
            f"{file or model.url} is not the published {model.file} (its SHA-256 differs); download it "
            f"from {model.url}"
        )
    try:
        bundle = model.build(data, source=model.url, license=model.license, weights_sha256=model.sha256)
    except NotWeightsError as error:
        raise EarmarkError(f"the weights of {model.name} cannot be used: {error}") from error
    if file is not None:
        _keep_weights(model, data)
    return bundle, _keep(bundle, model_folder(model.name))


def _read(model: PublishedModel, file: Path) -> bytes:
    try:
        # One byte more than it has: a disk image is not read whole to find that it is another file.
        with file.open("rb") as opened:
            return opened.read(model.size + 1)
    except OSError as error:
        raise MisuseError(f"cannot read the weights {file}: {error.strerror or error}") from error


def _download(model: PublishedModel) -> bytes:
    """Return the weights from the cache, or from where they were published."""
    import pooch
    from requests import RequestException

    pooch.get_logger().setLevel("ERROR")
    try:
        path = pooch.retrieve(
            model.url,
            known_hash=f"sha256:{model.sha256}",
            fname=model.file,
            path=_weights_folder(),
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_S),
        )
        return Path(path).read_bytes()
    except RequestException as error:
        raise EarmarkError(
            f"cannot download {model.url} ({type(error).__name__}); download the file elsewhere "
            f"and pass it with 'earmark models add {model.name} --file {model.file}'"
        ) from error
    except ValueError as error:
        raise EarmarkError(
            f"the file from {model.url} is not the published {model.file} (its SHA-256 differs); "
            "nothing was kept"
        ) from error
    except OSError as error:
        raise EarmarkError(_unwritable(cache_folder(), error)) from error


def _weights_folder() -> Path:
    return cache_folder() / "weights"


def _keep_weights(model: PublishedModel, data: bytes) -> None:
    """Keep weights where they are downloaded to, so that the model can be added again without the file."""
    folder = _weights_folder()
    try:
        storage.write_bytes(str(folder / model.file), data)
    except OSError as error:
        raise EarmarkError(_unwritable(folder, error)) from error


def _keep(bundle: ModelBundle, folder: Path) -> Path:
    """Write the bundle, replacing an older one."""
    try:
        if local_kind(folder) == "folder" and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
        bundle.save(folder)
    except OSError as error:
        raise EarmarkError(_unwritable(folder, error)) from error
    return folder


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"cannot write to the cache {folder} ({error.strerror or error}); set "
        f"{CACHE_VARIABLE} to another folder"
    )
