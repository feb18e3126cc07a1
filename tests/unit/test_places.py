"""Output paths: one that cannot be written is refused before minutes of work."""

import os
from pathlib import Path

import pytest

from jobs.plot import check_output
from pipeline.storage.output_checks import check_writable, check_writable_file
from schemas.errors import MisuseError


def test_an_unwritable_path_is_refused_at_once(tmp_path: Path) -> None:
    """Plots were computed for ten seconds before the user read that the directory does not exist."""
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "a.png", tmp_path / "file" / "deep" / "a.png"):
        with pytest.raises(
            MisuseError, match=r"cannot write the picture .*a\.png: .*/file is not a writable directory"
        ):
            check_output(str(out), (".png",))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(MisuseError, match=r"cannot write the picture .*b\.png: it is a directory"):
        check_output(str(tmp_path / "b.png"), (".png",))


def test_new_folders_and_buckets_are_accepted(tmp_path: Path) -> None:
    """A path that can be written must not be refused."""
    check_writable(tmp_path / "new" / "deep" / "model", "the model folder")
    check_writable("s3://bucket/a.png", "the picture")
    assert check_output(str(tmp_path / "new" / "A.PNG"), (".html", ".png")) == ".png"


def test_a_mounted_folder_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, ``--out /model`` is a volume that the user may write to, and ``/`` is not."""
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    check_writable(tmp_path / "model", "the model folder")
    with pytest.raises(MisuseError, match=f"{tmp_path} is not a writable directory"):
        check_writable(tmp_path / "other", "the model folder")


def test_the_root_folder_is_a_directory() -> None:
    """``--out /`` ended in an internal error without a word: it has no parent."""
    with pytest.raises(MisuseError, match="cannot write the picture /: it is a directory"):
        check_writable_file("/", "the picture")
