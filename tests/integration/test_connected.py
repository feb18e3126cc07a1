"""Several jobs in a row on one local Ray."""

from jobs.engine.cluster import connected
from schemas.config import RunConfig


def test_a_job_inside_another_connection_uses_it_and_leaves_it_open() -> None:
    """The demo, or a notebook with a Ray of its own, would fail or lose its cluster after the first job."""
    import ray

    config = RunConfig(address="local", cpus=1)
    with connected(config):
        before = ray.get_runtime_context().get_node_id()
        with connected(config):
            assert ray.get_runtime_context().get_node_id() == before
        assert ray.is_initialized()
    assert not ray.is_initialized()
