"""What the engine does when work fails: how often it tries, whom it blames, and when it gives up."""

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import MagicMock

import pyarrow as pa
import pytest
from ray import exceptions as ray_errors

from jobs.engine import lease as leases
from jobs.engine import retries
from jobs.engine.assignment import Assignment, Totals
from jobs.engine.attempts import Attempt
from jobs.engine.cluster import Node
from jobs.engine.engine import Engine
from jobs.engine.environment import Origin
from jobs.engine.node_faults import NodeFaults
from jobs.engine.quarantine import Quarantine
from jobs.engine.retries import Retries
from jobs.engine.tally import Tally
from jobs.engine.work_queues import WorkQueues
from pipeline.catalogs.track_refs import to_batch
from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.isolation import MAX_KILLS
from pipeline.shards.label_part import LabelResult, LabelTask
from pipeline.storage import storage
from pipeline.storage.errors import StoreFailingError
from pipeline.storage.retry import patient
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError, EnvironmentFaultError, LabelError, StoreError
from schemas.features import FeatureSpec
from schemas.tables import LISTING
from schemas.tracks import TrackRef
from tests.e2e.earmark import read_table
from tests.unit.scripted_ray import NODES, Outcome, Script, ScriptedActors, ScriptedRay

RUN = "20260101-000000-test"
TRACKS = pa.Table.from_batches(
    [to_batch([TrackRef(f"id-{n}", f"/music/{n}.wav", 1, "etag", 0.0) for n in range(8)])], LISTING
).append_column("attempts", pa.array([0] * 8, pa.int32()))
SHARDS = [
    Shard(f"{n:06}", RUN, FeatureSpec().feature_set, TRACKS.slice(4 * n, 4), datetime.now(UTC))
    for n in range(2)
]


@pytest.fixture
def assignment(tmp_path: Path) -> Iterator[Assignment]:
    tables = Tables(str(tmp_path / "tables"))
    with leases.hold(tables.root, RUN, say=print) as lease:
        yield Assignment("2026-01-01", tables, lease, FeatureSpec(), None, "", RunConfig())


def ids(tried: Attempt) -> list[str]:
    return list(tried.work.tracks["track_id"].to_pylist())


def done(tried: Attempt) -> ShardResult:
    return ShardResult(len(ids(tried)), 0, 3 * len(ids(tried)), 1.0, {})


def raised(error: Exception) -> ray_errors.RayTaskError:
    """An error as Ray hands it out."""
    return ray_errors.RayTaskError("featurize", "Traceback …", error)


def run(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch, script: Script
) -> tuple[ScriptedRay, Totals]:
    ray = ScriptedRay(script).patched(monkeypatch)
    return ray, Engine(assignment, Totals(), lambda totals: None).run(SHARDS, [])


def failures(assignment: Assignment) -> dict[str, str]:
    rows = read_table(assignment.tables.root, "failures")
    return dict(zip(rows["track_id"], rows["error_type"], strict=True)) if len(rows) else {}


def test_a_worker_that_dies_once_costs_nothing(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else took the memory for a moment: no track is to be remembered for it."""

    def script(tried: Attempt) -> Outcome:
        return done(tried) if tried.isolated or "id-0" not in ids(tried) else ray_errors.WorkerCrashedError()

    ray, totals = run(assignment, monkeypatch, script)
    assert (totals.featurized, totals.failed) == (8, 0)
    assert [tried.isolated for tried in ray.tried if "id-0" in ids(tried)] == [False, True]
    assert failures(assignment) == {}


def test_the_track_that_kills_each_worker_stands_alone_in_the_end(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file of a zip bomb's kind must cost its own label, and not those of the seven beside it."""

    def script(tried: Attempt) -> Outcome:
        return ray_errors.OutOfMemoryError("killed") if "id-2" in ids(tried) else done(tried)

    ray, totals = run(assignment, monkeypatch, script)
    assert (totals.featurized, totals.failed) == (7, 1)
    assert failures(assignment) == {"id-2": "DecoderCrashedError"}
    alone = [tried for tried in ray.tried if ids(tried) == ["id-2"]]
    assert len(alone) == MAX_KILLS
    assert all(tried.isolated for tried in alone)
    assert [tried.deaths for tried in alone] == list(range(MAX_KILLS))


def test_where_every_worker_dies_the_run_ends_and_blames_no_track(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night on machines without memory would leave every track of the catalog failed for good."""
    with pytest.raises(EarmarkError, match=r"workers keep dying on any input \(75 in a row\)"):
        run(assignment, monkeypatch, lambda tried: ray_errors.WorkerCrashedError())
    assert failures(assignment) == {}


def test_a_store_that_fails_is_asked_three_times(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment without network must not end the night; a bucket that is gone must, and blame no track."""
    outage = raised(OSError(28, "No space left on device"))
    ray, totals = run(
        assignment,
        monkeypatch,
        lambda tried: outage if tried.work.name == "000000" and tried.errors < 2 else done(tried),
    )
    assert totals.featurized == 8
    assert [tried.errors for tried in ray.tried if tried.work.name == "000000"] == [0, 1, 2]
    with pytest.raises(EarmarkError, match=r"cannot be read or written: .*No space left"):
        run(assignment, monkeypatch, lambda tried: outage)
    assert failures(assignment) == {}


def overloaded() -> StoreError:
    """The error of a store that asks to be left alone for a while."""
    with pytest.raises(StoreError) as raised_here, storage.explain_errors("s3://tables/_lease", "look at"):
        raise StoreFailingError("the store answered with SlowDown")
    return raised_here.value


def test_an_overloaded_store_has_two_minutes(assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute of 503 in the middle of a night must not end it."""
    pauses_s = retries._PAUSES_S
    assert sum(pauses_s) >= 120
    monkeypatch.setattr(retries, "_PAUSES_S", [0.01] * len(pauses_s))
    outage = raised(copy(overloaded()))  # as pickle copies it
    ray, totals = run(
        assignment,
        monkeypatch,
        lambda tried: outage if tried.stalls < len(pauses_s) else done(tried),
    )
    assert (totals.featurized, totals.failed) == (8, 0)
    assert len(ray.tried) == 2 * (len(pauses_s) + 1)
    with pytest.raises(EarmarkError, match=r"cannot be read or written: cannot look at .*SlowDown"):
        run(assignment, monkeypatch, lambda tried: outage)


def test_what_a_dead_worker_has_left_is_deleted_when_the_store_allows_it(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies while the store is overloaded must not end the run either."""
    monkeypatch.setattr(retries, "_PAUSES_S", [0.01] * 3)
    failing = iter([overloaded(), overloaded()])

    def delete(location: str, **options: object) -> None:
        if (error := next(failing, None)) is not None:
            raise error

    monkeypatch.setattr("jobs.engine.work_queues.storage.delete", delete)
    deaths = iter([ray_errors.WorkerCrashedError()])
    _, totals = run(assignment, monkeypatch, lambda tried: next(deaths, None) or done(tried))
    assert (totals.featurized, totals.failed) == (8, 0)


def test_a_store_that_refuses_one_node_is_asked_from_another(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node with a wrong key must not end the run; where all have it, the sentence names one."""
    refused = StoreError("cannot write the part: access is denied")
    refused.origin = Origin("a", "10.0.0.1", None)  # type: ignore[attr-defined]
    ray, totals = run(
        assignment, monkeypatch, lambda tried: done(tried) if "a" in tried.avoided else raised(refused)
    )
    assert (totals.featurized, len(ray.tried)) == (8, 4)
    with pytest.raises(EarmarkError, match=r"on node 10\.0\.0\.1: cannot write the part: access is denied"):
        run(assignment, monkeypatch, lambda tried: raised(refused))


def test_an_error_nobody_knows_is_traced_to_its_track(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug that one odd file meets must be a row with its name, and not the end of every run."""

    def script(tried: Attempt) -> Outcome:
        return raised(ZeroDivisionError("division by zero")) if "id-5" in ids(tried) else done(tried)

    ray, totals = run(assignment, monkeypatch, script)
    assert (totals.featurized, totals.failed) == (7, 1)
    assert failures(assignment) == {"id-5": "FeatureError"}
    assert [len(ids(tried)) for tried in ray.tried if "id-5" in ids(tried)] == [4] * 3 + [2] * 3 + [1] * 3


def test_before_a_track_is_blamed_for_an_unknown_error_the_nodes_are_inspected(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older Earmark on one node raises TypeErrors: each track that it was given would be a failure."""
    ray = ScriptedRay(lambda tried: raised(TypeError("unexpected keyword"))).patched(monkeypatch)
    older = EarmarkError("node 10.0.0.1 has Earmark 0.1.0")
    monkeypatch.setattr(retries, "installation_error", lambda: older)
    with pytest.raises(EarmarkError, match=r"has Earmark 0\.1\.0"):
        Engine(assignment, Totals(), lambda totals: None).run(SHARDS[:1], [])
    assert len(ray.tried) == retries._ATTEMPTS


def make_retries(assignment: Assignment) -> Retries:
    queues, tally = WorkQueues(assignment), Tally(Totals())
    return Retries(assignment, queues, Quarantine(assignment), NodeFaults(), tally)


def test_a_damaged_part_is_named_and_no_track_is_blamed(assignment: Assignment) -> None:
    """A part that a disk has spoiled would make all its tracks failures; nothing but its name helps."""
    labeling = Attempt(SHARDS[0]).to_label(done(Attempt(SHARDS[0])), replace(assignment, model="model-1"))
    assert labeling is not None
    damage = pa.ArrowInvalid("Parquet magic bytes not found in footer")
    with pytest.raises(EarmarkError, match=r"the part .*000000\.parquet is damaged \(Parquet magic"):
        make_retries(assignment).handle_error(replace(labeling, errors=2), damage, None)
    assert failures(assignment) == {}


def test_what_the_network_cannot_label_is_a_failure_once_two_nodes_say_so(assignment: Assignment) -> None:
    """One node with a broken GPU would condemn each track that it is given."""
    whole = Attempt(SHARDS[0]).to_label(done(Attempt(SHARDS[0])), replace(assignment, model="model-1"))
    assert whole is not None
    handler = make_retries(assignment)
    error = LabelError("the model's probabilities are not finite numbers")
    handler.handle_label_error(replace(whole, isolated=True), error, "a")
    halves = list(handler._queues.for_tasks)
    assert sorted(len(ids(half)) for half in halves) == [2, 2], "each track is judged by itself"
    alone = replace(halves[0], work=halves[0].work.only(("id-0", "id-2"), "alone"))
    assert len(ids(alone)) == 1
    handler._queues.for_tasks.clear()
    handler.handle_label_error(alone, error, "a")
    (second,) = handler._queues.for_tasks
    assert (second.confirming, second.isolated, second.avoided) == (True, True, frozenset({"a"}))
    assert failures(assignment) == {}
    handler._queues.for_tasks.clear()
    handler.handle_label_error(second, error, "b")
    assert (len(handler._queues), handler._tally.totals.failed) == (0, 1)
    assert list(failures(assignment).values()) == ["LabelError"]


def test_features_that_break_the_network_are_tried_in_a_process_of_their_own(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an actor they would be tried for ever: no error there shows whether track or node is to blame."""
    monkeypatch.setattr(retries, "installation_error", lambda: None)
    wanted = replace(assignment, model="model-1")
    labeling = Attempt(SHARDS[0]).to_label(done(Attempt(SHARDS[0])), wanted)
    assert labeling is not None
    alone = replace(labeling, work=labeling.work.only(("id-1",), "alone"), errors=2)
    handler = make_retries(assignment)
    handler.handle_error(alone, ZeroDivisionError("odd"), None)
    (isolated,) = handler._queues.for_tasks
    assert (isolated.isolated, isolated.errors, ids(isolated)) == (True, 0, ["id-1"])
    assert not handler._queues.for_actors


def test_after_a_fault_of_a_node_its_work_goes_elsewhere(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that an earlier track has spoiled says nothing of its node; a new process does."""
    monkeypatch.setattr("jobs.engine.node_faults.worker_nodes", lambda: NODES)
    fault = EnvironmentFaultError("a known-good sound crashes its decoder (SIGILL)")
    handler, origin = make_retries(assignment), Origin("a", "10.0.0.1", None)
    tried = Attempt(SHARDS[0])
    for avoided in (frozenset(), frozenset("a"), frozenset("a")):
        handler.handle_node_fault(tried, origin, fault)
        tried = handler._queues.for_tasks.popleft()
        assert (tried.isolated, tried.avoided) == (True, avoided)
    assert handler._faults.place(Shard, frozenset(), chosen=False) == "b", "two faults in a row"


def test_a_store_that_does_not_delete_stops_no_other_work(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine would wait for it for two minutes, for each of the attempts that a lost node has left."""
    asked: list[str] = []

    def fail(path: str) -> None:
        asked.append(path)
        raise ConnectionError("the store is away")

    monkeypatch.setattr("pipeline.storage.retry._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(storage.filesystem("memory"), "rm_file", fail)
    away = replace(assignment, tables=Tables("memory://tables"))
    handler = make_retries(away)
    with patient(1.0):
        assert not handler.retry(Attempt(SHARDS[0]))
    assert len(asked) == 5, "as often as where nobody waits for it"
    ((_, waiting),) = handler._queues.later
    assert (waiting.stalls, ids(waiting)) == (1, ids(Attempt(SHARDS[0])))


def test_a_run_that_lost_its_lease_ends_at_once(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run writes now: nothing is to be tried again beside it."""
    ray = ScriptedRay(lambda tried: raised(leases.LeaseLostError("another run has taken over"))).patched(
        monkeypatch
    )
    with pytest.raises(leases.LeaseLostError, match="taken over"):
        Engine(assignment, Totals(), lambda totals: None).run(SHARDS[:1], [])
    assert len(ray.tried) == 1


@pytest.mark.parametrize(
    "error", [ray_errors.LocalRayletDiedError(), ray_errors.ObjectLostError("f" * 56, b"", "the driver")]
)
def test_work_on_a_node_that_was_lost_is_done_elsewhere(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Preemption, ten times a night: neither a death of a worker, nor a fault of a track."""
    lost = iter([error] * 20)
    ray, totals = run(assignment, monkeypatch, lambda tried: next(lost, None) or done(tried))
    assert (totals.featurized, totals.failed) == (8, 0)
    assert not any(tried.isolated or tried.deaths or tried.errors for tried in ray.tried)


def test_work_for_a_node_that_is_gone_goes_to_another(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: a spot node that ends between two tasks ends the run."""
    gone = iter([ray_errors.TaskUnschedulableError("the node doesn't exist any more")] * 3)
    _, totals = run(assignment, monkeypatch, lambda tried: next(gone, None) or done(tried))
    assert (totals.featurized, totals.failed) == (8, 0)


@pytest.mark.parametrize(
    ("root", "error", "settled"),
    [
        ("disk", None, True),
        ("disk", ray_errors.WorkerCrashedError(), True),
        ("disk", ray_errors.LocalRayletDiedError(), False),
        ("memory://store", None, True),
        ("memory://store", ray_errors.WorkerCrashedError(), False),
        ("memory://store", ray_errors.LocalRayletDiedError(), False),
    ],
)
def test_a_worker_that_may_still_write_is_told(
    assignment: Assignment,
    monkeypatch: pytest.MonkeyPatch,
    root: str,
    error: Exception | None,
    settled: bool,
) -> None:
    """A part that appears after it was merged into another would hold its rows a second time."""
    elsewhere = assignment if root == "disk" else replace(assignment, tables=Tables(root))
    ends = iter([error])
    ScriptedRay(lambda tried: next(ends, None) or done(tried)).patched(monkeypatch)
    engine = Engine(elsewhere, Totals(), lambda totals: None)
    engine.run(SHARDS, [])
    held = leases.HeldLease(assignment.lease, {"run": RUN})
    engine.halt(held)
    held.release()
    assert engine.totals.featurized == 8
    assert held.is_settled == settled


def test_what_was_featurized_is_labeled_in_the_version_that_was_read(assignment: Assignment) -> None:
    """A file changed after it was listed would keep the label of its old content, or be labeled every night;
    and what failed, or another process is yet to judge, would end both as a label and as a failure."""
    result = ShardResult(2, 1, 6, 1.0, {}, failed=("id-0",), suspects=("id-2",), changed={"id-1": "new"})
    assert Attempt(SHARDS[0]).to_label(result, assignment) is None, "features were asked for alone"
    wanted = replace(assignment, model="model-1")
    labeling = Attempt(SHARDS[0], errors=2, isolated=True).to_label(result, wanted)
    assert labeling is not None
    assert (labeling.errors, labeling.isolated) == (0, False)
    rows = labeling.work.tracks.select(["track_id", "etag"]).to_pylist()
    assert rows == [{"track_id": "id-1", "etag": "new"}, {"track_id": "id-3", "etag": "etag"}]
    assert labeling.to_label(LabelResult(2, 0, 0, 6, {}, {}), wanted) is None


def test_a_verdict_is_asked_for_in_another_process_and_elsewhere(assignment: Assignment) -> None:
    """The same worker, or node, would confirm what it has broken itself; and parts of the same name would
    replace those of the tracks that passed."""
    first = Attempt(SHARDS[0], errors=1)
    assert first.to_confirm((), "a") is None
    second = first.to_confirm(("id-2",), "a")
    assert second is not None
    assert (ids(second), second.work.name) == (["id-2"], "000000s")
    assert (second.isolated, second.confirming, second.errors) == (True, True, 0)
    assert (second.avoided, second.judge) == (frozenset({"a"}), "a")
    labeling = first.to_label(done(first), replace(assignment, model="model-1"))
    assert labeling is not None
    doubted = labeling.to_confirm(("id-1",), "b")
    assert doubted is not None
    assert (ids(doubted), doubted.work.name, doubted.judge) == (["id-1"], "000000u", None)


def label_parts(assignment: Assignment) -> Totals:
    """Label three parts, as many as an actor has at once."""
    wanted = replace(assignment, model="model-1")
    parts = [
        LabelTask.of(
            replace(SHARDS[0], name=f"{n}"),
            wanted.tables,
            run_date=wanted.run_date,
            model="model-1",
            tracks=SHARDS[0].as_read({}),
        )
        for n in range(3)
    ]
    return Engine(wanted, Totals(), lambda totals: None).run([], parts)


def labeled(task: Shard | LabelTask) -> LabelResult:
    n_tracks = task.tracks.num_rows
    return LabelResult(n_tracks, 0, 0, 3 * n_tracks, {"rock": n_tracks}, {})


@pytest.mark.parametrize(
    ("end", "nodes", "isolated"),
    [
        (ray_errors.ActorDiedError(), NODES, ["0"]),
        (ray_errors.ActorDiedError(), {"b": NODES["b"]}, []),
        (EnvironmentFaultError("the network returns NaN for known-good features"), NODES, ["0"]),
    ],
)
def test_when_an_actor_ends_all_its_parts_are_labeled(
    assignment: Assignment,
    monkeypatch: pytest.MonkeyPatch,
    end: Exception,
    nodes: dict[str, Node],
    isolated: list[str],
) -> None:
    """A part that waited at the actor would be lost; and all that did would be suspected of what one did, or
    of what befell the node."""
    ray = ScriptedRay(lambda tried: labeled(tried.work)).patched(monkeypatch)
    actors = ScriptedActors(ray, lambda number, task: labeled(task) if number else end, monkeypatch)
    monkeypatch.setattr("jobs.engine.actor_pool.live_nodes", lambda: nodes)
    assert label_parts(assignment).labeled == 3 * 4
    assert [task.name for number, task in actors.labeled if number == 0] == ["0", "1", "2"]
    assert [tried.work.name for tried in ray.tried] == isolated
    others = [task.name for number, task in actors.labeled if number == 1]
    assert sorted([*others, *isolated]) == ["0", "1", "2"]


def test_after_stop_nothing_more_is_started(assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: what is in flight is finished and counted, and the rest is left for the next run."""
    many = [replace(SHARDS[0], name=f"{n:06}") for n in range(20)]
    ray = ScriptedRay(done).patched(monkeypatch)
    monkeypatch.setattr("jobs.engine.engine.ray.cancel", lambda reference: None)
    engine = Engine(assignment, Totals(), lambda totals: engine.stop())
    totals = engine.run(many, [])
    assert len(ray.tried) == 4, "twice the CPUs"
    assert totals.featurized == 4 * 4


@pytest.mark.parametrize(
    ("cpus", "gpus", "config", "waiting_for"),
    [
        (0, 0, {}, "CPUs to join the cluster"),
        (2, 0, {"gpus_per_actor": 0.5}, "GPUs to join the cluster"),
        (2, 1, {"gpus_per_actor": 0.5}, "the model to load"),
    ],
)
def test_a_run_says_what_it_waits_for(
    assignment: Assignment,
    monkeypatch: pytest.MonkeyPatch,
    cpus: int,
    gpus: int,
    config: dict[str, float],
    waiting_for: str,
) -> None:
    """Nothing moves for an hour, and nobody knows that the cluster has no GPU."""
    ray = ScriptedRay(done).patched(monkeypatch)
    monkeypatch.setattr("jobs.engine.engine.ray.wait", ray.wait_for_tasks)
    for place in ("actor_pool", "cluster_size"):
        monkeypatch.setattr(f"jobs.engine.{place}.cpus_and_gpus", lambda: (cpus, gpus))
    monkeypatch.setattr("jobs.engine.actor_pool.worker_nodes", lambda: NODES)
    monkeypatch.setattr("jobs.engine.actor_pool.start_labeler", lambda *args, **options: MagicMock())
    monkeypatch.setattr("jobs.engine.actor_pool.ray.kill", lambda actor: None)
    asked = replace(assignment, model="model", config=RunConfig(**config))
    engine = Engine(asked, Totals(), lambda totals: engine.stop())
    assert engine.run(SHARDS, []).waiting_for == waiting_for


def test_while_the_first_actor_loads_the_model_tasks_leave_it_a_cpu(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first label waits for the model, and not for a second worker."""
    ended: list[object] = []
    many = [replace(SHARDS[0], name=f"{n:06}") for n in range(20)]
    ray = ScriptedRay(done).patched(monkeypatch)
    monkeypatch.setattr("jobs.engine.engine.ray.wait", ray.wait_for_tasks)
    monkeypatch.setattr("jobs.engine.actor_pool.cpus_and_gpus", lambda: (2, 0))
    monkeypatch.setattr("jobs.engine.actor_pool.worker_nodes", lambda: NODES)
    monkeypatch.setattr("jobs.engine.actor_pool.start_labeler", lambda *args, **options: MagicMock())
    monkeypatch.setattr("jobs.engine.actor_pool.ray.kill", ended.append)
    engine = Engine(replace(assignment, model="model"), Totals(), lambda totals: engine.stop())
    engine.run(many, [])
    assert len(ray.tried) == 1
    assert len(ended) == 1, "counting and merging hold a GPU"
