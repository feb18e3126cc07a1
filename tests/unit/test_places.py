"""Places for results: a wrong one is said before minutes of work."""

from pathlib import Path

import pytest

from jobs.plot import kind_of
from pipeline.storage.outputs import check_writable
from schemas.errors import MisuseError


def test_a_place_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    """Pictures were computed for ten seconds, and then the folder was none."""
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "a.png", tmp_path / "file" / "deep" / "a.png"):
        with pytest.raises(MisuseError, match=r"cannot write the picture .*a\.png: .*/file is no folder"):
            kind_of(str(out), (".png",))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(MisuseError, match=r"cannot write the picture .*b\.png: it is a folder"):
        kind_of(str(tmp_path / "b.png"), (".png",))


def test_folders_that_are_yet_to_be_made_and_buckets_are_fine(tmp_path: Path) -> None:
    """What can be written must not be refused."""
    check_writable(tmp_path / "new" / "deep" / "model", "the model folder")
    check_writable("s3://bucket/a.png", "the picture")
    assert kind_of(str(tmp_path / "new" / "A.PNG"), (".html", ".png")) == ".png"
