"""What a local Ray needs: a folder for its sockets, and open files."""

import errno
import resource

import pytest

from jobs.engine import cluster
from jobs.engine.cluster import connected
from jobs.engine.ray_folder import ray_folder
from schemas.config import RunConfig
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


def test_a_tmpdir_that_cannot_be_written_is_got_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits half a minute in a full folder, and the advice was to wait until the machine is less busy."""
    monkeypatch.setenv("TMPDIR", "/proc/nothing")
    assert ray_folder() == "/tmp/ray"  # noqa: S108
    monkeypatch.setattr("jobs.engine.ray_folder._SHORT", ("/proc", "/proc/self"))
    for variable in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv(variable, "/proc/nothing")
        with pytest.raises(EarmarkError) as refused:
            ray_folder()
        assert str(refused.value) == (
            "cannot write to the temporary folder /proc/nothing (No such file or directory); free space "
            f"there, or set {variable} to another folder"
        )


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free space in the temporary folder"),
        (RuntimeError("it took too long"), "when the machine is less busy"),
    ],
)
def test_the_advice_suits_what_happened(
    monkeypatch: pytest.MonkeyPatch, error: Exception, advice: str
) -> None:
    """Who waits for a less busy machine, while its disk is full, waits for ever."""
    import ray

    def init(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(EarmarkError, match=advice), connected(RunConfig(address="local")):
        pass


def test_a_low_limit_of_open_files_is_named() -> None:
    """Ray says that it timed out, and no freer machine helps somebody who may open 256 files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
    try:
        said = cluster._not_connected("local", TimeoutError("The current node timed out during startup."))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert said.endswith("it may have only 1000 files open; allow more, such as with 'ulimit -n 65536'")
    assert "less busy" in cluster._not_connected("local", TimeoutError())
