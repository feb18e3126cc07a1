"""Files of weights as PyTorch writes them, made without PyTorch."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mobilenet import BLOCKS, LAST_EXPANDED, STEM, channels

Arrays = dict[str, NDArray[Any]]


@contextmanager
def _fake_torch() -> Iterator[tuple[Callable[..., None], Mapping[str, type]]]:
    """The names that a pickle of tensors refers to, as long as it is written."""
    torch, parts = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_: object) -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    vars(parts)["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    storages = {name: type(name, (), {"__module__": "torch"}) for name in ("FloatStorage", "LongStorage")}
    for name, storage in storages.items():
        setattr(torch, name, storage)
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": parts}
    try:
        yield _rebuild_tensor_v2, storages
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Tensor:
    def __init__(self, key: str, array: NDArray[Any], rebuild: Any, storage: Any) -> None:
        self.key, self.array, self.rebuild, self.storage = key, array, rebuild, storage

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        shape = self.array.shape
        strides = tuple(int(np.prod(shape[place + 1 :])) for place in range(len(shape)))
        return self.rebuild, (_Storage(self), 0, shape, strides, False, OrderedDict())


class _Storage:
    def __init__(self, tensor: _Tensor) -> None:
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> Any:
        if isinstance(obj, _Storage):
            tensor = obj.tensor
            return ("storage", tensor.storage, tensor.key, "cpu", tensor.array.size)
        return None


def torch_file(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A state dictionary as ``torch.save`` writes it."""
    with _fake_torch() as (rebuild, storages):
        kinds = {"f": storages["FloatStorage"], "i": storages["LongStorage"]}
        tensors = OrderedDict(
            (name, _Tensor(str(number), array, rebuild, kinds[array.dtype.kind]))
            for number, (name, array) in enumerate(arrays.items())
        )
        buffer = io.BytesIO()
        _Pickler(buffer, protocol=2).dump(tensors)
    return zipped(buffer.getvalue(), {str(number): array for number, array in enumerate(arrays.values())})


def zipped(
    pickled: bytes, arrays: Mapping[str, NDArray[Any]], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The zip of a pickle and raw numbers."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, array in arrays.items():
            archive.writestr(f"archive/data/{name}", np.ascontiguousarray(array).tobytes())
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


def random_weights(seed: int = 0, width: float = 0.4) -> Arrays:
    """Weights of the network of `pipeline.models.mobilenet` that were never trained."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}

    def convolution(name: str, shape: tuple[int, ...]) -> None:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        arrays[f"{name}.0.weight"] = (rng.normal(size=shape) * scale).astype(np.float32)
        for part, low, high in (("weight", 0.8, 1.2), ("bias", -0.1, 0.1), ("running_mean", -0.1, 0.1),
                                ("running_var", 0.8, 1.2)):  # fmt: skip
            arrays[f"{name}.1.{part}"] = rng.uniform(low, high, shape[0]).astype(np.float32)
        arrays[f"{name}.1.num_batches_tracked"] = np.array(1, np.int64)

    def dense(name: str, n_out: int, n_in: int) -> None:
        arrays[f"{name}.weight"] = (rng.normal(size=(n_out, n_in)) / np.sqrt(n_in)).astype(np.float32)
        arrays[f"{name}.bias"] = rng.uniform(-0.1, 0.1, n_out).astype(np.float32)

    n_in = channels(STEM, width)
    convolution("features.0", (n_in, 1, 3, 3))
    for number, block in enumerate(BLOCKS, start=1):
        inside, out = channels(block.expanded, width), channels(block.out, width)
        part, name = 0, f"features.{number}.block"
        if inside != n_in:
            convolution(f"{name}.{part}", (inside, n_in, 1, 1))
            part += 1
        convolution(f"{name}.{part}", (inside, 1, block.kernel, block.kernel))
        part += 1
        if block.excited:
            squeezed = channels(inside // 4, 1.0)
            dense(f"{name}.{part}.conc_se_layers.0.fc1", squeezed, inside)
            dense(f"{name}.{part}.conc_se_layers.0.fc2", inside, squeezed)
            part += 1
        convolution(f"{name}.{part}", (out, inside, 1, 1))
        n_in = out
    last = channels(LAST_EXPANDED, width)
    convolution(f"features.{len(BLOCKS) + 1}", (last, n_in, 1, 1))
    dense("classifier.2", 512, last)
    dense("classifier.5", 527, 512)
    return arrays
