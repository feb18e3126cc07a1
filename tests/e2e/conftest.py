"""A Ray that several test files share."""

from collections.abc import Iterator

import pytest

from tests.ray_cluster import Cluster, running_head


@pytest.fixture(scope="package")
def running_ray() -> Iterator[Cluster]:
    """A Ray of one node that has been started before, without what these tests do not use.

    It ends with them: even idle, each takes a twentieth of a core from those that follow.
    """
    with running_head("--include-dashboard=false", "--include-log-monitor=false", "--no-monitor") as running:
        yield running


@pytest.fixture(scope="module")
def on_running_ray(running_ray: Cluster) -> Iterator[None]:
    """Let the commands of a module use one running Ray: each start of a Ray of their own costs seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", running_ray.address)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield
