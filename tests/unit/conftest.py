"""Unit tests need neither Ray nor a store: what starts one fails here, and belongs into tests/integration."""

import signal
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_cluster() -> Iterator[None]:
    """Whoever looks for Ray, in this process or a child, is sent to where none listens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        yield


@pytest.fixture(autouse=True)
def _no_ray() -> Iterator[None]:
    """A test that has started Ray fails, and leaves none to the others."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        pytest.fail("this test starts Ray: move it to tests/integration")


@pytest.fixture(scope="session")
def s3_environment() -> dict[str, str]:
    """No store either."""
    pytest.fail("this test asks for a store: move it to tests/integration")


@pytest.fixture
def heard_hangup() -> Iterator[None]:
    """SIGHUP as at a terminal: under nohup, these tests and their children would ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
