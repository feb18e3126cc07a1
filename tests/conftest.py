"""Fixtures that several test folders share."""

import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import browser as browsers
from tests.s3 import missing_programs, shared_s3_server

ROOT = Path(__file__).resolve().parent.parent

CACHE = ROOT / ".cache"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(CACHE / "numba")
# Beside three other test files, Ray's workers would wait minutes for their share at Ray's own 15.
os.environ.setdefault("RAY_worker_niceness", "0")
# No test fails for being slow: Hypothesis has limits of its own, which a busy machine exceeds.
settings.register_profile("earmark", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("earmark")
GTZAN = ROOT.parent / "shared" / "data" / "gtzan"


@pytest.fixture(scope="session")
def gtzan() -> Path:
    """The folder of real GTZAN data, which is never part of the project; without it the test skips."""
    if not GTZAN.is_dir():
        pytest.skip("no real GTZAN data beside the checkout (shared/data/gtzan)")
    return GTZAN


@pytest.fixture(scope="module")
def librosa_alone() -> Iterator[None]:
    """Let one process at a time use librosa: its ufuncs, which take a minute to compile, are kept in a cache,
    and two processes that fill it at the same time crash."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "librosa.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the variables of the clients of a real S3 server; skip where it is missing."""
    if missing := missing_programs():
        pytest.skip(f"no S3 server here ({', '.join(missing)}): run 'infra/test-s3.sh install' as root")
    everyone = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        everyone = everyone.parent
    with shared_s3_server(everyone / "s3-server") as variables:
        yield variables


@pytest.fixture
def bucket(s3_environment: dict[str, str]) -> str:
    """A new bucket of the S3 server."""
    from pipeline.storage import storage

    name = f"test-{uuid.uuid4().hex[:12]}"
    storage.filesystem.cache_clear()
    storage.filesystem("s3").mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Browser]:
    """A headless Chromium for the session; skips where it is missing."""
    if missing := browsers.missing_programs():
        pytest.skip(f"no browser here ({', '.join(missing)}): apt-get install chromium chromium-driver")
    with browsers.chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened
