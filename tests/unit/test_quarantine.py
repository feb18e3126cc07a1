"""What is held in quarantine becomes a failure only when work of the same kind succeeds."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.engine import lease as leases
from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from jobs.engine.cluster import Node
from jobs.engine.environment import Origin
from jobs.engine.node_faults import NodeFaults
from jobs.engine.quarantine import Quarantine
from jobs.engine.work_queues import WorkQueues
from pipeline.catalogs.track_refs import to_batch
from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError, EnvironmentFaultError
from schemas.features import FeatureSpec
from schemas.tables import LISTING
from schemas.tracks import TrackRef
from tests.e2e.earmark import read_table

RUN = "20260101-000000-test"
TRACKS = pa.Table.from_batches(
    [to_batch([TrackRef(f"id-{n}", f"/music/{n}.wav", 1, "etag", 0.0) for n in range(5)])], LISTING
).append_column("attempts", pa.array([0] * 5, pa.int32()))
SHARD = Shard("000000", RUN, FeatureSpec().feature_set, TRACKS.slice(0, 1), datetime.now(UTC))
LABELING = LabelTask(
    "000000", RUN, "2026-01-01", "model-1", "part", SHARD.feature_set,
    TRACKS.slice(0, 1).select(["track_id", "uri", "etag", "attempts"]),
)  # fmt: skip
DEATH = RuntimeError("The worker died.")


@pytest.fixture
def assignment(tmp_path: Path) -> Iterator[Assignment]:
    tables = Tables(str(tmp_path / "tables"))
    with leases.hold(tables.root, RUN, say=print) as lease:
        yield Assignment("2026-01-01", tables, lease, FeatureSpec(), "model-1", "model", RunConfig())


def test_only_the_same_kind_of_work_confirms(assignment: Assignment) -> None:
    """A part that is labeled says nothing of whether a machine can decode."""
    quarantine = Quarantine(assignment)
    quarantine.hold(SHARD, DEATH, killed=True)
    assert quarantine.record_success(LABELING) == {}
    assert read_table(assignment.tables.root, "failures").empty
    assert quarantine.record_success(SHARD) == {"DecoderCrashedError": 1}
    (failure,) = read_table(assignment.tables.root, "failures").to_dict("records")
    assert failure["error_type"] == "DecoderCrashedError"
    assert quarantine.end() == {}


def test_while_nothing_succeeds_nothing_is_written(assignment: Assignment) -> None:
    """A night on broken machines must leave the next one everything to do."""
    quarantine = Quarantine(assignment)
    quarantine.hold(SHARD, DEATH, killed=True)
    quarantine.record_success(LABELING)
    with pytest.raises(EarmarkError, match="no track could be featurized"):
        quarantine.end()
    assert read_table(assignment.tables.root, "failures").empty


def test_workers_that_all_die_end_the_run(assignment: Assignment) -> None:
    """Fails: workers that the kernel kills, whatever they do, are started for ever."""
    quarantine = Quarantine(assignment)
    for _ in range(74):
        quarantine.record_death(SHARD, DEATH)
    quarantine.record_success(SHARD)
    for _ in range(74):
        quarantine.record_death(SHARD, DEATH)
    quarantine.record_success(LABELING)
    with pytest.raises(EarmarkError, match=r"75 in a row.*The worker died"):
        quarantine.record_death(SHARD, DEATH)


def test_a_label_failure_that_is_confirmed_is_written(assignment: Assignment) -> None:
    """Fails: features that no process can label are tried every night."""
    quarantine = Quarantine(assignment)
    quarantine.hold(LABELING, ValueError("odd"), killed=False)
    assert quarantine.record_success(LABELING) == {"LabelError": 1}
    (failure,) = read_table(assignment.tables.root, "failures").to_dict("records")
    assert (failure["error_type"], failure["stage"]) == ("LabelError", "label")


def test_halves_hold_each_track_once(assignment: Assignment) -> None:
    """A track that is in no half, or in both, is lost or labeled twice."""
    queues = WorkQueues(assignment)
    whole = Attempt(replace(SHARD, tracks=TRACKS), errors=2, deaths=9, isolated=True, confirming=True)
    alone = []
    queues.put_back(whole)
    while queues:
        tried = queues.for_tasks.popleft()
        assert (tried.isolated, tried.confirming) == (True, True)
        if not queues.halve(tried):
            alone.append(tried.work)
    assert sorted(work.tracks["track_id"][0].as_py() for work in alone) == [f"id-{n}" for n in range(5)]
    assert len({work.name for work in alone}) == 5


def test_what_a_try_has_written_goes_before_the_next_one(assignment: Assignment) -> None:
    """The first try wrote failures, the second finds none to write: a track would be labeled and failed."""
    queues = WorkQueues(assignment)
    whole = Attempt(replace(SHARD, tracks=TRACKS))
    for put_back in (queues.retry, queues.halve):
        parts = [Path(part) for part in whole.work.parts(assignment.tables).values()]
        for part in parts:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(b"of the first try")
        put_back(whole)
        assert not any(part.exists() for part in parts)
    *halves, again = queues.for_tasks
    assert again.retried, "a worker that was thought lost may still write what this one must remove"
    assert not any(half.retried for half in halves), "nobody has written under their names"


def test_what_is_tried_again_goes_first_and_to_whom_can_do_it(assignment: Assignment) -> None:
    """A suspect that waits behind a million tracks is decided in the morning; no actor isolates anything."""
    queues = WorkQueues(assignment)
    queues.for_tasks.append(Attempt(SHARD))
    queues.for_actors.append(Attempt(LABELING))
    suspect, part, alone = (
        Attempt(SHARD, isolated=True),
        Attempt(LABELING, errors=1),
        Attempt(LABELING, isolated=True),
    )
    for tried in (suspect, part, alone):
        queues.put_back(tried)
    assert list(queues.for_tasks) == [alone, suspect, Attempt(SHARD)]
    assert list(queues.for_actors) == [part, Attempt(LABELING)]


def test_what_was_due_waits_with_the_one_that_the_store_has_refused_again(assignment: Assignment) -> None:
    """Fails: a store that is away is asked for each attempt of a lost node before other work is given out."""
    queues = WorkQueues(assignment)
    tried, others = Attempt(SHARD), [Attempt(LABELING), Attempt(SHARD, stalls=1)]
    queues.later = [(0.0, tried), *((0.0, other) for other in others)]
    assert queues.take_due() == [tried, *others]
    queues.later = [(time.monotonic() + 600, tried)]
    queues.wait_longer(others)
    assert queues.take_due() == []
    assert len(queues) == 3


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Node]:
    nodes = {"a": Node("10.0.0.1", 8.0), "b": Node("10.0.0.2", 8.0)}
    monkeypatch.setattr("jobs.engine.node_faults.worker_nodes", lambda: nodes)
    return nodes


FAULT = EnvironmentFaultError("a known-good sound crashes its decoder (SIGILL)")


def test_a_faulty_node_is_kept_out_and_then_ends_the_run(nodes: dict[str, Node]) -> None:
    """A node of a wrong build costs two tries; where all are, the run says which node, and why."""
    faults = NodeFaults()
    origins = {name: Origin(name, node.address, None) for name, node in nodes.items()}
    assert faults.place(Shard, frozenset(), chosen=False) is None
    faults.record(Shard, origins["a"], FAULT)
    faults.record(Shard, origins["a"], FAULT)
    assert {faults.place(Shard, frozenset({"b"}), chosen=False) for _ in range(20)} == {"b"}
    assert faults.place(LabelTask, frozenset(), chosen=False) is None, "it may label all the same"
    faults.record(Shard, origins["b"], FAULT)
    with pytest.raises(EarmarkError, match=r"node 10\.0\.0\.2 cannot .*no track is to blame: .*SIGILL"):
        faults.record(Shard, origins["b"], FAULT)


def test_a_node_that_works_again_is_trusted_again(nodes: dict[str, Node]) -> None:
    """A disk that was full for a moment, twice a night, is no reason to stop."""
    faults = NodeFaults()
    del nodes["b"]
    for _ in range(5):
        faults.record(Shard, Origin("a", "10.0.0.1", None), FAULT)
        faults.record_success(Attempt(SHARD), "a")
    assert faults.place(Shard, frozenset({"a"}), chosen=False) is None


def test_a_node_whose_verdicts_are_refuted_is_kept_out(nodes: dict[str, Node]) -> None:
    """A node without the mount of a catalog fails faster than others work, and would draw all tracks."""
    faults = NodeFaults()
    suspect = Attempt(SHARD, isolated=True, confirming=True, avoided=frozenset({"a"}), judge="a")
    faults.record_success(suspect, "b")
    assert faults.place(Shard, frozenset(), chosen=False) is None, "it may have been a moment"
    faults.record_success(suspect, "b")
    assert {faults.place(Shard, frozenset(), chosen=False) for _ in range(20)} == {"b"}
    faults.record_success(suspect, "a")
    assert faults.place(Shard, frozenset(), chosen=False) is None


def test_a_node_that_gave_no_verdict_is_not_blamed(nodes: dict[str, Node]) -> None:
    """Fails: a node that was only avoided for a store that did not answer is kept out for the night."""
    faults = NodeFaults()
    suspect = Attempt(SHARD, confirming=True, avoided=frozenset({"a", "b"}), judge="c")
    for _ in range(2):
        faults.record_success(suspect, "c")
    assert faults.place(Shard, frozenset(), chosen=False) is None


def test_a_second_opinion_is_asked_for_elsewhere(nodes: dict[str, Node]) -> None:
    """Fails: the node that called a track bad is its second judge too, though there is another one."""
    faults = NodeFaults()
    assert {faults.place(Shard, frozenset({"a"}), chosen=False) for _ in range(20)} == {"b"}
    assert {faults.place(Shard, frozenset(), chosen=True) for _ in range(50)} == {"a", "b"}
    assert {faults.place(Shard, frozenset({"a", "b"}), chosen=True) for _ in range(50)} == {"a", "b"}
