"""Actors follow the cluster: to GPUs when these join, and back to CPUs when they leave."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray

from jobs.engine.actor_pool import ActorPool
from jobs.engine.cluster import connected, cpus_and_gpus
from schemas.config import RunConfig


@pytest.fixture
def nodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of a head with two CPUs and no GPU, or of as many CPUs as the test asks for."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr("jobs.engine.actor_pool._SIZE_EVERY_S", 0.0)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": getattr(request, "param", 2), "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def until(pool: ActorPool, condition: Callable[[], bool]) -> None:
    """Do what the engine does until a condition holds."""
    while not condition():
        pool.resize()
        if pool.starting:
            ready, _ = ray.wait(list(pool.starting), num_returns=1, timeout=0.5)
            for ref in ready:
                pool.add_started(ref)


def gpus_of(actor: Any) -> float:
    """What GPUs Ray gave an actor."""
    ids = ray.get(actor.__ray_call__.remote(lambda self: ray.get_gpu_ids()))
    return float(len(ids))


def is_dead(actor: Any) -> bool:
    try:
        ray.get(actor.__ray_ready__.remote())
    except ray.exceptions.RayActorError:
        return True
    return False


@pytest.mark.thorough
def test_actors_move_to_gpus_that_join_and_back_when_they_leave(nodes: Any) -> None:
    """Fails: a GPU that joins idles all night, or labeling stops when it is preempted."""
    with connected(RunConfig(address=nodes.address)):
        pool = ActorPool("gtzan", RunConfig())
        until(pool, lambda: pool.is_up)
        on_cpu = pool.take()
        assert gpus_of(on_cpu) == 0
        gpu_node = nodes.add_node(num_cpus=1, num_gpus=1)
        until(pool, lambda: cpus_and_gpus()[1] == 1)
        until(pool, lambda: pool.n_actors == 2 and not pool.starting)
        on_gpu = pool.take()
        assert gpus_of(on_gpu) == 1
        assert not is_dead(on_cpu), "it has a part to finish"
        pool.finish_part(on_cpu)
        until(pool, lambda: is_dead(on_cpu))  # Ray kills in its own time
        assert pool.n_actors == 1
        nodes.remove_node(gpu_node, allow_graceful=False)
        until(pool, lambda: cpus_and_gpus()[1] == 0)
        pool.replace_lost(on_gpu)
        until(pool, lambda: pool.is_up)
        assert gpus_of(pool.take()) == 0


@pytest.mark.thorough
def test_a_gpu_that_is_promised_and_does_not_come_starves_nobody(nodes: Any) -> None:
    """Actors that wait for a GPU which others hold must not take the place of those that can work."""

    class Holder:
        def ready(self) -> bool:
            return True

    with connected(RunConfig(address=nodes.address)):
        pool = ActorPool("gtzan", RunConfig())
        until(pool, lambda: pool.is_up)
        gpu_node = nodes.add_node(num_cpus=1, num_gpus=1)
        holder = ray.remote(num_gpus=1, num_cpus=0)(Holder).remote()
        assert ray.get(holder.ready.remote())
        until(pool, lambda: pool.n_actors == 2)
        on_cpu = pool.take()
        assert gpus_of(on_cpu) == 0
        pool.finish_part(on_cpu)
        assert pool.take() == on_cpu
        nodes.remove_node(gpu_node, allow_graceful=False)
        until(pool, lambda: cpus_and_gpus()[1] == 0)
        until(pool, lambda: pool.n_actors == 1)
        pool.finish_part(on_cpu)
        assert not is_dead(on_cpu)


@pytest.mark.thorough
@pytest.mark.parametrize("nodes", [0], indirect=True)
def test_no_actor_is_placed_on_a_head_that_takes_no_work(nodes: Any) -> None:
    """Fails: the model fills the memory of a small head, which then takes the whole cluster along."""
    worker = nodes.add_node(num_cpus=1)
    with connected(RunConfig(address=nodes.address)):
        pool = ActorPool("gtzan", RunConfig(actors=2))
        while cpus_and_gpus()[0] == 0:
            time.sleep(0.1)
        until(pool, lambda: pool.n_actors == 2 and not pool.starting)
        actors = [pool.take() for _ in range(2)]
        assert len(set(actors)) == 2
        for actor in actors:
            assert actor is not None
            node = actor.__ray_call__.remote(lambda self: ray.get_runtime_context().get_node_id())
            assert ray.get(node) == worker.node_id
