"""Several jobs in a row on one local Ray."""

import subprocess
import sys

import pytest

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


DIES = """
import os, time
from jobs.engine.cluster import connected
from schemas.config import RunConfig
with connected(RunConfig(address="local", cpus=1)):
    import ray
    try:
        ray.get(ray.remote(max_retries=0)(lambda: os._exit(1)).remote())
    except ray.exceptions.WorkerCrashedError:
        print("died")
    time.sleep(3)  # Ray says it later, in a thread
"""


@pytest.mark.thorough
def test_ray_prints_no_word_of_a_worker_that_died_among_the_results() -> None:
    """What reads the report of a run from a pipe would get a paragraph of Ray's among its lines."""
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, timeout=300)
    assert done.stdout == "died\n", done.stderr
