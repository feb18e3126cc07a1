"""Several jobs in a row on one local Ray."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.engine.cluster import connected
from schemas.config import RunConfig
from schemas.errors import EarmarkError


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


OPEN = """
import os, subprocess, sys
from jobs.engine.cluster import connected
from schemas.config import RunConfig
for number in range(2):
    with connected(RunConfig(address="local", cpus=1)):
        import ray
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        if number:
            stranger = [sys.executable, "-c", "import ray, sys; ray.init(sys.argv[1]); print('in')"]
            address = ray.get_runtime_context().gcs_address
            env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
            done = subprocess.run([*stranger, address], env=env, capture_output=True, text=True)
            print(done.stdout.strip() or "refused")
print(os.listdir(os.environ["HOME"]))
ray.init("local", num_cpus=1, include_dashboard=False)
print(ray.get(ray.remote(lambda: "the notebook's own").remote()))
"""


def test_an_address_that_names_no_host_is_refused_in_a_sentence() -> None:
    """A dot too many in the name of a service would end the night in an internal error."""
    with (
        pytest.raises(EarmarkError, match=r"at ray://head\.\.svc:10001: 'head\.\.svc' names no host"),
        connected(RunConfig(address="ray://head..svc:10001")),
    ):
        pass


def test_strangers_cannot_run_code_on_a_local_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody in the network runs code as whoever labels music on a laptop, for as long as the run takes."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True, timeout=300)
    stranger, home, own = done.stdout.splitlines() or [done.stderr, "", ""]
    assert stranger == "refused"
    assert ".ray" not in home, "later clusters would ask for the token in it"
    assert own == "the notebook's own", "a Ray that follows in the same process is refused"


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
