"""Read PyTorch weight files (``.pt``) without PyTorch, and without executing code in them.

Such a file is a zip of a pickle, which names the tensors, and of their raw numbers. A pickle is a program:
here it may build ordered dictionaries and tensors, and nothing else, within bounds.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 512 << 20
"""Maximum size of a file, and of its declared unpacked contents."""

_MAX_PICKLE_BYTES = 4 << 20
_MAX_MEMBERS = 20_000
_KINDS: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class NotWeightsError(ValueError):
    """A file that is not a PyTorch weights file, or contains more than weights; the message says which."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """An array in the file: the name of its member, its dtype, and its length."""

    member: str
    kind: np.dtype[Any]
    size: int


def read_weights(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the tensors of a ``.pt`` file by name.

    Parameters
    ----------
    data : bytes
        The file: a state dictionary saved by PyTorch 1.6 or later.

    Returns
    -------
    dict of str to ndarray
        float32 and int64 arrays, read-only.

    Raises
    ------
    NotWeightsError
        If the file is damaged or too large, or its pickle asks for anything but tensors in dictionaries.
    """
    if len(data) > MAX_BYTES:
        raise NotWeightsError(f"the file is larger than {MAX_BYTES >> 20} MB")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _Archive(archive).tensors()
    except NotWeightsError:
        raise
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError) as error:
        raise NotWeightsError("the file is not a zip archive of weights") from error
    # A pickle that was tampered with fails in any of these ways.
    except (
        *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError),
        *(ValueError, OverflowError, MemoryError, RecursionError, UnicodeError),
    ) as error:
        raise NotWeightsError("the list of tensors in the file is damaged") from error


class _Archive:
    """An opened file, with its members checked before any is read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        members = archive.infolist()
        if len(members) > _MAX_MEMBERS or sum(member.file_size for member in members) > MAX_BYTES:
            raise NotWeightsError("the file has more members, or larger ones, than a weights file")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise NotWeightsError("the file has compressed members, which PyTorch does not write")
        pickles = [member for member in members if member.filename.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1 or pickles[0].file_size > _MAX_PICKLE_BYTES:
            raise NotWeightsError("the file has no readable list of tensors")
        self._archive = archive
        self._pickle = pickles[0]
        self._folder = pickles[0].filename.removesuffix("data.pkl")
        self._numbers: dict[_Storage, NDArray[Any]] = {}

    def tensors(self) -> dict[str, NDArray[Any]]:
        found = _Unpickler(io.BytesIO(self._archive.read(self._pickle)), self).load()
        if not isinstance(found, dict) or not found:
            raise NotWeightsError("the file does not contain a dictionary of tensors")
        for name, value in found.items():
            if not isinstance(name, str) or not isinstance(value, np.ndarray):
                raise NotWeightsError("the file contains something other than named tensors")
        return dict(found)

    def numbers(self, storage: _Storage) -> NDArray[Any]:
        """Return the numbers of a storage, once read for all tensors that share it."""
        if storage not in self._numbers:
            data = self._archive.read(f"{self._folder}data/{storage.member}")
            if len(data) != storage.size * storage.kind.itemsize:
                raise NotWeightsError("the file has a tensor whose size differs from its declared size")
            self._numbers[storage] = np.frombuffer(data, storage.kind)
        return self._numbers[storage]


class _Unpickler(pickle.Unpickler):
    """An unpickler that accepts only the contents of a state dictionary."""

    def __init__(self, file: io.BytesIO, archive: _Archive) -> None:
        super().__init__(file)
        self._archive = archive

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in _KINDS:
            return _KINDS[name]
        raise _refusal(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", np.dtype() as kind, str(member), str(), int(size)) if size >= 0:
                return _Storage(member, kind, size)
        raise _refusal("a reference")

    def _tensor(
        self,
        storage: _Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        requires_grad: bool,
        hooks: object,
        *_: object,
    ) -> NDArray[Any]:
        numbers = self._archive.numbers(storage)
        size = math.prod(shape)
        contiguous = [
            length <= 1 or stride == math.prod(shape[place + 1 :])
            for place, (length, stride) in enumerate(zip(shape, strides, strict=True))
        ]
        if not all(contiguous) or offset < 0 or min(shape, default=0) < 0 or offset + size > len(numbers):
            raise NotWeightsError("the file has a tensor that reaches beyond its data")
        return numbers[offset : offset + size].reshape(shape)


def _refusal(what: str) -> NotWeightsError:
    return NotWeightsError(f"the file refers to {what}, but a weights file contains only tensors")
