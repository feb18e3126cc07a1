"""How many actors a run starts, which of them gets work, and when it gives up starting them."""

import threading
from typing import Any

import pytest
from ray import exceptions as ray_errors

from jobs.engine.actor_pool import ActorPool, last_line
from jobs.engine.cluster import ActorPlan, Node, cpus_and_gpus, plan_actors
from jobs.engine.environment import Origin
from jobs.engine.workers import Loaded
from pipeline.models.classifier import CPU_BATCH_SIZE, GPU_BATCH_SIZE
from schemas.config import RunConfig
from schemas.errors import EarmarkError

UP = Origin("a", "10.0.0.1", None)
LOADING_FAILED = ray_errors.RayActorError(
    error_msg="The actor died\nValueError: no such model", actor_init_failed=True
)
KILLED = ray_errors.RayActorError(error_msg="The actor died\nit was preempted")


class Actor:
    """An actor that is asked whether it is ready; it has come up, or failed, as `outcome` says."""

    def __init__(self, outcome: Origin | Exception) -> None:
        self.outcome = outcome

    @property
    def ready(self) -> "Actor":
        return self

    def remote(self) -> "Actor":
        """The reference to whether it is ready is the actor itself."""
        return self


class Started:
    """Actors in the place of Ray's: `outcomes` in order, and the last one for all that follow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *outcomes: Origin | Exception) -> None:
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.cpus: list[float] = []
        self.nodes: list[str | None] = []
        self._outcomes = outcomes
        parts: dict[str, Any] = {
            "start_labeler": self._start,
            "cpus_and_gpus": lambda: (16, 0),
            "worker_nodes": lambda: {"a": Node("10.0.0.1", 16.0)},
            "ray.get": self._get,
            "ray.kill": self.killed.append,
        }
        for name, part in parts.items():
            monkeypatch.setattr(f"jobs.engine.actor_pool.{name}", part)

    def _start(self, model: str, *, num_cpus: float, node: str | None, **options: object) -> Actor:
        self.cpus.append(num_cpus)
        self.nodes.append(node)
        self.actors.append(Actor(self._outcomes[min(len(self.actors), len(self._outcomes) - 1)]))
        return self.actors[-1]

    def _get(self, actor: Actor) -> Loaded:
        if isinstance(actor.outcome, Exception):
            raise actor.outcome
        return Loaded(actor.outcome, ())


def settle(pool: ActorPool) -> None:
    """Size the pool and hear of all that starts, as the engine does in a round."""
    pool.resize()
    for reference in list(pool.starting):
        pool.add_started(reference)


def test_a_model_that_cannot_be_loaded_ends_the_run_at_the_third_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails: a damaged model is loaded, four gigabytes at a time, all night."""
    started = Started(monkeypatch, LOADING_FAILED)
    pool = ActorPool("model", RunConfig(actors=1))
    settle(pool)
    settle(pool)
    with pytest.raises(EarmarkError, match=r"cannot be loaded on the cluster: ValueError: no such model"):
        settle(pool)
    assert len(started.actors) == 3


def test_an_error_of_our_own_in_an_actor_is_quoted_without_its_class() -> None:
    """The user reads "schemas.errors.EarmarkError: cannot read …", which is no sentence."""
    quoted = (
        "Traceback\n    raise explained\nschemas.errors.StoreError: cannot read s3://b/m: access denied\n"
    )
    assert last_line(ray_errors.RayActorError(error_msg=quoted)) == "cannot read s3://b/m: access denied"


def test_actors_that_are_killed_while_they_start_are_given_more_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Preemption comes in waves: three in a row say nothing about the model; ten say there is no room."""
    started = Started(monkeypatch, KILLED)
    pool = ActorPool("model", RunConfig(actors=1))
    for _ in range(9):
        settle(pool)
    assert not pool.is_up
    with pytest.raises(EarmarkError, match="cannot be loaded on the cluster: it was preempted"):
        settle(pool)
    assert len(started.actors) == 10


def test_a_node_that_cannot_load_the_model_does_not_end_the_work_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One GPU with a broken driver joins the cluster, and the run that others do well is over."""
    started = Started(monkeypatch, LOADING_FAILED, UP, LOADING_FAILED)
    pool = ActorPool("model", RunConfig(actors=2))
    for _ in range(5):
        settle(pool)
        monkeypatch.setattr(pool, "_sized_at", float("-inf"))
    assert len(started.actors) == 6, "it is tried again, once each time that the cluster is looked at"
    assert pool.take() is started.actors[1]
    pool.replace_lost(started.actors[1])
    with pytest.raises(EarmarkError, match="cannot be loaded on the cluster"):
        settle(pool)


def test_parts_that_a_node_could_not_write_go_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that fails at once is always the least busy one, and would be given all attempts."""
    started = Started(monkeypatch, UP, Origin("b", "10.0.0.2", None))
    pool = ActorPool("model", RunConfig(actors=2))
    settle(pool)
    assert [pool.take({"a"}) for _ in range(4)] == [*[started.actors[1]] * 3, None]
    assert pool.take({"a", "b"}) is started.actors[0]


def test_one_that_comes_up_forgives_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bad starts on Monday and one on Tuesday are not three in a row."""
    started = Started(monkeypatch, LOADING_FAILED, LOADING_FAILED, UP, LOADING_FAILED, LOADING_FAILED, UP)
    pool = ActorPool("model", RunConfig(actors=1))
    for _ in range(3):
        settle(pool)
    assert pool.is_up
    pool.replace_lost(started.actors[-1])
    for _ in range(3):
        settle(pool)
    assert pool.is_up
    assert pool.n_actors == 1


def test_the_engine_learns_of_an_actor_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of an old Earmark among those of a new one would have the same model's name."""
    monkeypatch.setattr("jobs.engine.environment.earmark_version", lambda: "2.0")
    Started(monkeypatch, Origin("b", "10.0.0.9", "1.0"))
    with pytest.raises(EarmarkError, match=r"node 10\.0\.0\.9 has Earmark 1\.0, but this run uses 2\.0"):
        settle(ActorPool("model", RunConfig(actors=1)))


def test_an_actor_has_the_parts_it_works_on_and_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """More would be lost with the actor, and less leaves it idle between two parts."""
    started = Started(monkeypatch, UP)
    pool = ActorPool("model", RunConfig(actors=2))
    assert pool.take() is None, "none is up"
    settle(pool)
    taken = [actor for _ in range(6) if (actor := pool.take()) is not None]
    assert sorted(map(started.actors.index, taken)) == [0, 0, 0, 1, 1, 1]
    assert pool.take() is None
    pool.finish_part(started.actors[1])
    assert pool.take() is started.actors[1]


def test_a_lost_actor_is_replaced_and_gets_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are given to the dead wait for ever."""
    started = Started(monkeypatch, UP)
    pool = ActorPool("model", RunConfig(actors=1))
    settle(pool)
    first = pool.take()
    pool.replace_lost(first)
    assert started.killed == [first]
    assert pool.take() is None
    settle(pool)
    assert pool.take() is started.actors[1]
    pool.finish_part(first)
    pool.replace_lost(first)
    assert (pool.n_actors, started.killed) == (1, [first]), "its other parts end later, and change nothing"


@pytest.mark.parametrize(
    ("config", "cpus", "gpus", "plan"),
    [
        # A small machine: the actor takes no CPU from the decoders.
        ({}, 2, 0, ActorPlan(1, 0.0, 0.0, CPU_BATCH_SIZE, 2)),
        ({}, 4, 0, ActorPlan(1, 0.0, 0.0, CPU_BATCH_SIZE, 2)),
        ({}, 5, 0, ActorPlan(1, 1.0, 0.0, CPU_BATCH_SIZE, 2)),
        ({}, 64, 0, ActorPlan(8, 1.0, 0.0, CPU_BATCH_SIZE, 2)),
        # A cluster that has no node yet: an autoscaler must see that one is wanted.
        ({}, 0, 0, ActorPlan(1, 1.0, 0.0, CPU_BATCH_SIZE, 2)),
        ({"gpus_per_actor": 1.0}, 0, 0, ActorPlan(1, 1.0, 1.0, GPU_BATCH_SIZE, 4)),
        ({}, 64, 4, ActorPlan(4, 1.0, 1.0, GPU_BATCH_SIZE, 4)),
        ({"gpus_per_actor": 0.5}, 64, 4, ActorPlan(8, 1.0, 0.5, GPU_BATCH_SIZE, 4)),
        # Of 0.6 GPU each, one fits on a GPU; of two GPUs each, one on three.
        ({"gpus_per_actor": 0.6}, 64, 4, ActorPlan(4, 1.0, 0.6, GPU_BATCH_SIZE, 4)),
        ({"gpus_per_actor": 2.0}, 64, 3, ActorPlan(1, 1.0, 2.0, GPU_BATCH_SIZE, 4)),
        ({"gpus_per_actor": 0.0}, 64, 4, ActorPlan(8, 1.0, 0.0, CPU_BATCH_SIZE, 2)),
        ({"actors": 3, "batch_size": 7}, 64, 4, ActorPlan(3, 1.0, 1.0, 7, 4)),
        # Actors that take all CPUs wait for parts from tasks that wait for a CPU.
        ({"actors": 8}, 8, 0, ActorPlan(8, 0.0, 0.0, CPU_BATCH_SIZE, 2)),
        ({"actors": 7}, 8, 0, ActorPlan(7, 1.0, 0.0, CPU_BATCH_SIZE, 2)),
        ({"gpus_per_actor": 0.25}, 4, 1, ActorPlan(4, 0.0, 0.25, GPU_BATCH_SIZE, 4)),
        ({}, 4, 1, ActorPlan(1, 1.0, 1.0, GPU_BATCH_SIZE, 4)),
    ],
)
def test_the_pool_is_as_large_as_the_cluster(
    config: dict[str, Any], cpus: int, gpus: int, plan: ActorPlan
) -> None:
    """Too many actors wait for each other's GPU; too few leave it idle."""
    assert plan_actors(RunConfig(**config), cpus, gpus) == plan


@pytest.mark.parametrize(
    ("config", "cpus", "gpus", "labeling", "n_actors"),
    [
        ({}, 64, 0, 0.05, 8),
        ({}, 64, 0, 0.25, 16),
        # Tasks that isolate tracks need CPUs, even if everything that is left is to be labeled.
        ({}, 64, 0, 1.0, 32),
        ({}, 5, 0, 1.0, 3),
        ({}, 4, 0, 1.0, 1),
        ({}, 64, 4, 1.0, 4),
        ({"actors": 3}, 64, 0, 1.0, 3),
    ],
)
def test_the_pool_follows_the_share_of_labeling(
    config: dict[str, Any], cpus: int, gpus: int, labeling: float, n_actors: int
) -> None:
    """Fails: a third of a large cluster idles at the end while few actors label what the others decoded."""
    assert plan_actors(RunConfig(**config), cpus, gpus, labeling).n_actors == n_actors


def test_more_actors_start_only_when_parts_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: actors that find nothing to do take CPUs from decoders; or a backlog stays until the end."""
    monkeypatch.setattr("jobs.engine.actor_pool._SIZE_EVERY_S", 0.0)
    started = Started(monkeypatch, UP)
    pool = ActorPool("model", RunConfig())
    pool.resize()
    assert len(started.actors) == 16 // 8
    pool.resize(0.25, n_waiting=2)
    assert len(started.actors) == 16 // 8
    pool.resize(0.25, n_waiting=3)
    assert len(started.actors) == 16 // 4
    pool.resize(0.1, n_waiting=0)
    assert pool.n_actors == 16 // 4, "none is ended that may soon be needed again"


def test_an_actor_gives_up_the_only_cpu_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: a run that began before its cluster had a node, or that lost all but one CPU, waits for ever:
    the actor for parts, and the tasks for its CPU."""
    monkeypatch.setattr("jobs.engine.actor_pool._SIZE_EVERY_S", 0.0)
    started = Started(monkeypatch, UP)
    sizes = iter([(0, 0), (1, 0), (1, 0), (1, 0), (16, 0)])
    monkeypatch.setattr("jobs.engine.actor_pool.cpus_and_gpus", lambda: next(sizes))
    pool = ActorPool("model", RunConfig())
    settle(pool)
    first = pool.take()
    assert pool.count_by_state() == {"busy": 1}
    pool.resize()
    assert pool.count_by_state() == {"busy": 1, "starting": 1}
    settle(pool)
    assert pool.count_by_state() == {"busy": 1, "idle": 1}
    assert (started.cpus, started.killed) == ([1.0, 0.0], []), "it has a part to finish"
    pool.finish_part(first)
    assert started.killed == [first]
    settle(pool)
    assert pool.n_actors == 1
    settle(pool)
    assert pool.n_actors == 16 // 8, "one that takes no CPU is in nobody's way"


def test_actors_beyond_the_plan_end_where_they_hold_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: where the nodes without an actor are lost, the others wait for parts for ever."""
    monkeypatch.setattr("jobs.engine.actor_pool._SIZE_EVERY_S", 0.0)
    started = Started(monkeypatch, UP)
    n_cpus = 12
    monkeypatch.setattr("jobs.engine.actor_pool.cpus_and_gpus", lambda: (n_cpus, 0))
    pool = ActorPool("model", RunConfig())
    for _ in range(2):
        pool.resize(0.5, n_waiting=99)
    settle(pool)
    assert pool.n_actors == 12 // 2
    busy = pool.take()
    n_cpus = 7
    settle(pool)
    assert started.killed == [], "a CPU is left"
    n_cpus = 6
    settle(pool)
    assert pool.n_actors == 6 - 1
    assert busy not in started.killed


def test_actors_on_gpus_that_take_no_cpu_go_where_gpus_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without a GPU is chosen for one, which then never starts."""
    started = Started(monkeypatch, UP)
    monkeypatch.setattr("jobs.engine.actor_pool.cpus_and_gpus", lambda: (4, 1))
    settle(ActorPool("model", RunConfig(gpus_per_actor=0.25)))
    assert started.nodes == [None] * 4


def test_only_the_first_actors_without_a_cpu_are_left_one_to_load_the_model_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On 2 CPUs two workers and the model would start at once, and the first label would take 2 s longer."""
    started = Started(monkeypatch, UP)
    monkeypatch.setattr("jobs.engine.actor_pool.cpus_and_gpus", lambda: (2, 0))
    pool = ActorPool("model", RunConfig(actors=2))
    assert not pool.needs_a_cpu, "none has started"
    pool.resize()
    assert pool.needs_a_cpu
    pool.add_started(next(iter(pool.starting)))
    assert not pool.needs_a_cpu, "one labels, while the other loads the model"
    settle(pool)
    pool.replace_lost(started.actors[0])
    pool.resize()
    assert pool.starting
    assert not pool.needs_a_cpu, "there is another"


def test_a_system_without_threads_still_knows_its_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver asks each second: a container with a limit of processes would lose a night to it."""

    def refuse_to_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    assert cpus_and_gpus() == (4, 1)
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
    assert cpus_and_gpus() == (4, 1)


def test_actors_that_take_a_cpu_need_none_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps it from the tasks."""
    Started(monkeypatch, UP)  # on 16 CPUs
    pool = ActorPool("model", RunConfig())
    pool.resize()
    assert pool.starting
    assert not pool.needs_a_cpu
