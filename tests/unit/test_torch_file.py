"""Files of weights from strangers: they are read without running anything in them."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.models import torch_file as module
from pipeline.models.torch_file import NotWeightsError, read_weights
from tests.published_weights import random_weights, torch_file, zipped


class _Call:
    """What a pickle calls when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def test_tensors_come_back_as_they_were_saved() -> None:
    """Labels of an added model would be of other weights than the published ones."""
    weights = random_weights()
    read = read_weights(torch_file(weights))
    assert list(read) == list(weights)
    for name, array in weights.items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: _Call(os.system, f"touch {folder}/ran"),
        lambda folder: _Call(eval, f"open('{folder}/ran', 'w')"),
        lambda folder: _Call(os.mkdir, f"{folder}/ran"),
        lambda folder: _Call(Path, "x"),
        lambda folder: _Call(getattr, "x", "upper"),
    ],
    ids=["system", "eval", "mkdir", "class", "getattr"],
)
def test_what_would_run_is_refused(call: Callable[[Path], _Call], tmp_path: Path) -> None:
    """Whoever adds a file that somebody sent would run that somebody's program."""
    for wrapped in (call(tmp_path), {"a": call(tmp_path)}, OrderedDict(x=[call(tmp_path)])):
        with pytest.raises(NotWeightsError, match="refers to"):
            read_weights(zipped(pickle.dumps(wrapped, protocol=2), {}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", b"\x80\x02}.", zipped(b"", {}), zipped(b"\x80\x02", {}), zipped(b"garbage", {})],
)
def test_other_files_are_refused(data: bytes) -> None:
    """`earmark models add --file` would end in a traceback."""
    with pytest.raises(NotWeightsError):
        read_weights(data)


def test_every_cut_and_many_flips_are_refused_or_read() -> None:
    """A damaged download would end in a traceback, or in a crash."""
    data = torch_file({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, np.int64)})
    rng = np.random.default_rng(0)
    damaged = [data[:length] for length in range(0, len(data), 7)]
    for _ in range(400):
        flipped = bytearray(data)
        flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    for each in damaged:
        try:
            read = read_weights(each)
        except NotWeightsError:
            continue
        assert all(isinstance(array, np.ndarray) for array in read.values())


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of some kB would fill the memory of whoever adds it."""
    zeros = {"0": np.zeros(1 << 20, np.float32)}
    with pytest.raises(NotWeightsError, match="compressed"):
        read_weights(zipped(b"\x80\x02}.", zeros, zipfile.ZIP_DEFLATED))
    with pytest.raises(NotWeightsError, match="no readable list of tensors"):
        read_weights(zipped(b"\x80\x02}." + bytes(5 << 20), {}))
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    with pytest.raises(NotWeightsError, match="larger"):
        read_weights(zipped(b"\x80\x02}.", zeros))


@pytest.mark.parametrize("shape", [(7,), (2, 4), (1 << 62, 4), (-2, -3)])
def test_tensors_that_lie_outside_of_their_numbers_are_refused(shape: tuple[int, ...]) -> None:
    """They would be read from whatever lies behind them in memory, or ask for all of it."""
    data = torch_file({"a": np.arange(6, dtype=np.float32)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickled = archive.read("archive/data.pkl")
    strides = tuple(int(np.prod(shape[place + 1 :], dtype=object)) for place in range(len(shape)))
    assert pickled.count(b"K\x06\x85") == 1
    # The shape and the strides, both tuples of one number, in the pickle's own words.
    place = pickled.index(b"K\x06\x85")
    end = pickled.index(b"K\x01\x85", place) + 3
    changed = pickled[:place] + pickle.dumps(shape, 2)[2:-1] + pickle.dumps(strides, 2)[2:-1] + pickled[end:]
    with pytest.raises(NotWeightsError):
        read_weights(zipped(changed, {"0": np.arange(6, dtype=np.float32)}))
