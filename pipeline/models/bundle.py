"""Read, check and write model bundles of one network; `pipeline.models.ensemble` has those of several.

A bundle is a folder of two files: ``model.json`` (`schemas.model.ModelInfo`) and ``model.keras``. Neither
can run code: JSON is data, and Keras loads in safe mode. Reading a bundle does not import TensorFlow.
"""

import contextlib
import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.models.model_cache import ADDABLE, added_models, how_to_mend
from pipeline.models.network_shape import check_network
from pipeline.storage import storage
from pipeline.storage.local_kind import local_kind
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.storage.temporary_folders import explain_full_disk, locked_folder
from schemas.errors import MisuseError
from schemas.model import ModelInfo
from schemas.versions import MODEL_FORMAT, FormatHeader, check_format

T = TypeVar("T")

INFO_FILE = "model.json"
WEIGHTS_FILE = "model.keras"
_FULL_NAME = re.compile("[a-z0-9][a-z0-9-]*-[0-9a-f]{8}")
_NOTES = {"format_version", "name", "figures", "training", "counts", "source", "license", "weights_sha256"}
"""Fields of ``model.json`` that labels do not depend on."""


def shipped_models() -> dict[str, Path]:
    """Return the folders of the shipped models, by the name that ``--model`` takes.

    Returns
    -------
    dict of str to Path
        Sorted by name; a run uses "default" unless another is named.
    """
    folder = Path(__file__).parent.parent / "pretrained"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{INFO_FILE}"))}


@dataclass(frozen=True)
class ModelBundle:
    """A model as stored on disk.

    Attributes
    ----------
    info : ModelInfo
        The contents of ``model.json``.
    weights : bytes
        The contents of ``model.keras``: architecture and weights.
    """

    info: ModelInfo
    weights: bytes

    @cached_property
    def model(self) -> str:
        """Name and content hash, as in the labels table: ``earmark-cnn-1f3a9c02``.

        The hash covers what labels depend on: the network, genres, features, frames and temperature. It
        leaves out figures, training notes and file dates, so that measuring a model again does not make it
        a new one. It also leaves out the format version and values at their defaults, so that a setting added
        in a later version does not either.
        """
        relevant = self.info.model_dump(
            mode="json",
            exclude=_NOTES,
            exclude_defaults=True,
        )
        with zipfile.ZipFile(io.BytesIO(self.weights)) as archive:
            network = json.loads(archive.read("config.json"), object_hook=_drop_object_id)
            weights = archive.read("model.weights.h5")
        canonical = json.dumps([relevant, network], sort_keys=True).encode()
        digest = hashlib.sha256(hashlib.sha256(canonical).digest() + hashlib.sha256(weights).digest())
        return f"{self.info.name}-{digest.hexdigest()[:8]}"

    @property
    def files(self) -> dict[str, bytes]:
        """The files of its folder by name, ``model.json`` last: once that is there, so are the others."""
        return {WEIGHTS_FILE: self.weights, INFO_FILE: encode_info(self.info)}

    @classmethod
    def load(cls, name_or_uri: str) -> "ModelBundle":
        """Read a bundle and check that its two files match.

        Parameters
        ----------
        name_or_uri : str
            The name of a shipped or added model, also with its hash as in the tables, or a folder: a local
            path or any URI that fsspec opens.

        Raises
        ------
        MisuseError
            If the name is unknown or an ensemble's, a file is missing or broken, the format version is newer,
            or the inputs or outputs of the network do not match ``model.json``.
        EarmarkError
            If the store refuses or fails.
        """
        if names := split_name(name_or_uri):
            raise _not_one_network(name_or_uri, names)
        folder = find_model(name_or_uri)
        info = read_info(folder)
        if info.members:
            raise _not_one_network(info.name, list(info.members))
        return cls.read(folder, info)

    @classmethod
    def read(cls, folder: str, info: ModelInfo, file: str = WEIGHTS_FILE) -> "ModelBundle":
        """Read a network of a model folder.

        Raises
        ------
        MisuseError, EarmarkError
            As `load` does.
        """

        def parse(weights: bytes) -> "ModelBundle":
            check_network(weights, info, folder, file)
            return cls(info, weights)

        return _read(folder, file, parse)

    def save(self, folder: str | Path) -> None:
        """Write the two files into a local folder, which is created if it is missing.

        The folder appears whole or not at all: a hidden folder beside it is filled and then renamed.

        Raises
        ------
        MisuseError
            If the folder exists and is not empty, or cannot be written.
        """
        target = Path(folder)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
                whole = Path(scratch) / "bundle"
                whole.mkdir()
                for name, data in self.files.items():
                    (whole / name).write_bytes(data)
                whole.replace(target)
        except OSError as error:
            raise MisuseError(f"cannot write the model folder {target}: {error.strerror}") from error


def split_name(name: str) -> list[str]:
    """Return the names of the models of an ensemble; none if it is not the name of one.

    It is one if it joins names by ``+``, or by ``-`` with a hash at the end, as in the tables.
    """
    if "/" in name or local_kind(name) == "folder":
        return []
    if "+" in name:
        return name.split("+")
    names = name.split("-")[:-1] if is_full_name(name) else []
    return names if len(names) > 1 and {*names} <= {*shipped_models(), *ADDABLE} else []


def find_model(name_or_uri: str) -> str:
    """Return the folder of a model; shipped and added ones may be named as in the tables.

    Raises
    ------
    MisuseError
        If the name is unknown, or of a model that has not been added.
    """
    known = shipped_models() | (added_models() if name_or_uri in ADDABLE else {})
    folder = str(known.get(name_or_uri, name_or_uri))
    if "/" not in folder and local_kind(folder) != "folder":
        if folder in ADDABLE:
            raise MisuseError(
                f"the model '{folder}' has not been added yet; add it with 'earmark models add {folder}'"
            )
        if (found := find_by_full_name(folder)) is not None:
            return found
        names = ", ".join(shipped_models() | added_models())
        kept = f"; tables that it labeled have it in _models/{folder}" if is_full_name(folder) else ""
        raise MisuseError(f"there is no model '{folder}': give a folder, or one of {names}{kept}")
    return folder


def is_full_name(model: str) -> bool:
    """Return whether this has the form of a name and a hash of a model or an ensemble, as in the tables."""
    return _FULL_NAME.fullmatch(model) is not None


def find_by_full_name(model: str) -> str | None:
    """Return the folder of the shipped or added model that has a name as in the tables, with its hash."""
    if not is_full_name(model):
        return None
    for folder in map(str, (shipped_models() | added_models()).values()):
        with contextlib.suppress(MisuseError):  # of another model, which was added in part
            info = read_info(folder)
            if model.startswith(f"{info.name}-") and ModelBundle.read(folder, info).model == model:
                return folder
    return None


def _not_one_network(name: str, members: list[str]) -> MisuseError:
    return MisuseError(
        f"'{name}' is an ensemble, which labels whole tracks and nothing else; name one of its models "
        f"({', '.join(members)})"
    )


def _drop_object_id(config: dict[str, Any]) -> dict[str, Any]:
    """Drop the id that Keras derives from a memory address: it differs from process to process."""
    return {key: value for key, value in config.items() if key != "shared_object_id"}


def _read(folder: str, file: str, parse: Callable[[bytes], T]) -> T:
    path = storage.join(folder, file)
    with storage.explain_errors(path, "read"):
        try:
            return read_and_parse(path, parse)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MisuseError(f"there is no {file} in {folder}: give the folder of a model") from error


def read_info(folder: str) -> ModelInfo:
    """Read the ``model.json`` of a model folder; errors are those of `ModelBundle.load`."""
    return _read(folder, INFO_FILE, lambda data: parse_info(data, folder))


def encode_info(info: ModelInfo) -> bytes:
    """Return the content of ``model.json``."""
    return f"{info.model_dump_json(indent=2)}\n".encode()


def parse_info(data: bytes, folder: str) -> ModelInfo:
    """Parse the ``model.json`` of a model folder.

    Raises
    ------
    MisuseError
        If it is not valid, or a newer Earmark wrote a model that this version cannot run.
    """
    with contextlib.suppress(ValidationError):  # reported below, with the cause
        header = FormatHeader.model_validate_json(data)
        check_format(header.format_version, MODEL_FORMAT, f"the model {folder} was")
    try:
        return ModelInfo.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            raise MisuseError(
                f"the model {folder} takes features that this version of Earmark does not know "
                f"({first['loc'][-1]}); upgrade Earmark"
            ) from error
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise MisuseError(
            f"{folder}/{INFO_FILE} is not valid: {where}: {first['msg']}; {how_to_mend(folder)}"
        ) from error


def load_network(bundle: ModelBundle) -> Any:
    """Load the network of a bundle in Keras' safe mode.

    Raises
    ------
    MisuseError
        If Keras refuses it.
    """
    import keras

    with locked_folder("earmark-network-") as scratch:
        path = scratch / WEIGHTS_FILE
        with explain_full_disk():
            path.write_bytes(bundle.weights)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # what a layer of a stranger's network raises may be anything
            reason = str(error).partition("\n")[0]
            raise MisuseError(f"Keras refuses the network of {bundle.model}: {reason}") from error


def network_bytes(network: Any) -> bytes:
    """Return the contents of a ``.keras`` file of the network."""
    with locked_folder("earmark-network-") as scratch:
        path = scratch / WEIGHTS_FILE
        with explain_full_disk():
            network.save(path)
        return path.read_bytes()
