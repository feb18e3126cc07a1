"""Output paths: one that cannot be written is refused before minutes of work."""

from pathlib import Path

import pytest

from jobs.plot import check_output
from pipeline.storage.output_checks import check_writable
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
