"""Paths that cannot be looked at: of folders of other users, and of too long names."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.training.training_data import check_regular, is_audio
from jobs.write_tags import plan_copies
from pipeline.catalogs.catalog import list_catalog
from pipeline.models.bundle import find_model
from pipeline.models.model_cache import added_models
from pipeline.storage import storage
from pipeline.storage.cache_folder import CACHE_VARIABLE
from pipeline.storage.local_kind import local_kind
from pipeline.storage.output_checks import check_writable, check_writable_file
from schemas.errors import MisuseError, StoreError

LONG = "x" * 300


def test_what_is_at_a_path_is_known(tmp_path: Path) -> None:
    """A pipe would be read for ever, and a link that leads nowhere would count as a file."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    assert local_kind(tmp_path) == "folder"
    assert local_kind(tmp_path / "file") == "file"
    assert local_kind(tmp_path / "pipe") == "other"
    for missing in ("nothing", "file/below", "loop", "\0"):
        assert local_kind(f"{tmp_path}/{missing}") is None


ROWS = pa.table({name: ["/music/a.mp3"] for name in ("track_id", "uri", "etag", "genre", "genre_tag")})


@pytest.mark.parametrize(
    "look",
    [
        list_catalog,
        check_regular,
        is_audio,
        storage.exists,
        find_model,
        lambda path: check_writable(f"{path}/x", "the page"),
        lambda path: check_writable_file(path, "the page"),
        lambda path: plan_copies(ROWS, "/music", Path(path)),
    ],
)
def test_a_name_that_is_too_long_is_said_to_be(look: Callable[[str], object]) -> None:
    """A name that was pasted twice is an internal error, to be reported to us."""
    with pytest.raises(StoreError, match=f"cannot look at (.*/)?{LONG}.*: File name too long"):
        look(LONG)


@pytest.mark.parametrize("name", ["shelvs", "shelvs/", "logmels.npz", "~/shelvs"])
def test_training_data_that_does_not_exist_is_said_to_be_missing(name: str) -> None:
    """A mistyped folder is said to be no labeled data, with a list of all that could be given."""
    with pytest.raises(MisuseError, match=f"^{name} does not exist; check its name"):
        check_regular(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_said_to_be(tmp_path: Path) -> None:
    """A catalog in somebody's home is an internal error, to be reported to us."""
    code = (
        "import os, sys; from pipeline.storage.local_kind import local_kind; os.setuid(12345)\n"
        "local_kind(sys.argv[1])"
    )
    tmp_path.chmod(0o700)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x"], capture_output=True, text=True)
    assert f"StoreError: cannot look at {tmp_path / 'x'}: access is denied (Permission den" in done.stderr


def test_a_cache_that_cannot_be_read_has_no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service with the home of another user cannot even list the shipped models."""
    monkeypatch.setenv(CACHE_VARIABLE, f"/{LONG}")
    assert added_models() == {}
