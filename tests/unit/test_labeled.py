"""Where labeled data for training is looked for."""

import os
from pathlib import Path

import pytest

from jobs.training.training_data import read_labeled_data
from schemas.errors import MisuseError


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet", "log-mels.npz", "shelves"])
def test_a_pipe_is_no_training_data(tmp_path: Path, name: str) -> None:
    """`earmark train` waited for ever for somebody to write to it."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(MisuseError, match=rf"{name} is a pipe, a socket or a device, not a file"):
        read_labeled_data(str(tmp_path / name), "cnn")
