"""Where a local Ray keeps its sockets."""

import pytest

from jobs.engine.ray_folder import ray_folder
from schemas.errors import EarmarkError


@pytest.fixture(autouse=True)
def no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_long_tmpdir_is_got_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch systems set TMPDIR to long paths, where Ray fails with "AF_UNIX path length"."""
    monkeypatch.setenv("TMPDIR", "/tmp/short")  # noqa: S108
    assert ray_folder() is None
    monkeypatch.setenv("TMPDIR", "/scratch/" + "x" * 90)
    assert ray_folder() == "/tmp/ray"  # noqa: S108


def test_a_long_folder_that_was_chosen_for_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody asked for is not quietly done elsewhere."""
    monkeypatch.setenv("RAY_TMPDIR", "/scratch/" + "x" * 90)
    with pytest.raises(
        EarmarkError, match=r"RAY_TMPDIR \(/scratch/x+\) is too long .* of at most \d+ characters"
    ):
        ray_folder()
