"""Halting: what the next run may believe of the workers of one that was stopped at once."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from jobs.engine.attempts import Attempt, Submission
from jobs.engine.halting import halt
from jobs.engine.lease import HeldLease
from tests.unit.test_engine import SHARDS


class Held(HeldLease):
    """The lease of a run, on a disk or in a store."""

    def __init__(self, *, local: bool, refuses: bool = False) -> None:
        self.is_settled = True
        self.is_shut = False
        self._is_local = local
        self._refuses = refuses

    @property
    def is_local(self) -> bool:
        return self._is_local

    def stop_writes(self) -> None:
        if self._refuses:
            raise OSError("the store does not answer")
        self.is_shut = True


class Workers:
    """Tasks and an actor in the place of Ray's: they end when asked, when killed, or never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        self.asked: list[str] = []
        self.killed: list[str] = []
        self._end = end
        for name, part in {"cancel": self._cancel, "kill": self._kill, "wait": self._wait}.items():
            monkeypatch.setattr(f"jobs.engine.halting.ray.{name}", part)

    def _cancel(self, reference: str, force: bool = False) -> None:
        if self._end == "the head is gone":
            threading.Event().wait()  # for ever: who asks is a thread that ends with the process
        (self.killed if force else self.asked).append(reference)

    def _kill(self, actor: str) -> None:
        self.killed.append(actor)

    def _wait(
        self, references: Sequence[str], num_returns: int, timeout: float, fetch_local: bool
    ) -> tuple[list[str], list[str]]:
        """An actor's call ends with the actor only."""
        ended = {
            reference
            for reference in references
            if (self._end == "when asked" and reference in self.asked)
            or (self._end != "never" and (reference in self.killed or "actor" in self.killed))
        }
        return [each for each in references if each in ended], [
            each for each in references if each not in ended
        ]


def in_flight(*, on_actor: bool = False) -> dict[Any, Submission]:
    submissions: dict[Any, Submission] = {f"task {n}": Submission(Attempt(SHARDS[n]), n) for n in range(2)}
    return submissions | ({"call": Submission(Attempt(SHARDS[0]), 2, actor="actor")} if on_actor else {})


@pytest.mark.parametrize(
    ("end", "local", "settled"),
    [
        # Who ends when asked was not writing; who had to be killed may have been.
        ("when asked", False, True),
        ("when asked", True, True),
        ("when killed", True, True),
        ("when killed", False, False),
        ("never", True, False),
        ("never", False, False),
        ("the head is gone", True, False),
    ],
)
def test_the_lease_says_whether_a_write_may_be_under_way(
    monkeypatch: pytest.MonkeyPatch, end: str, local: bool, settled: bool
) -> None:
    """Fails: the next run lists the tables, and a part of this one arrives after it: labeled twice."""
    held = Held(local=local)
    workers = Workers(monkeypatch, end)
    halt(held, in_flight())
    assert held.is_shut, "no worker begins to write after this"
    assert held.is_settled == settled
    if end == "when asked":
        assert workers.killed == []


def test_actors_are_killed_and_tasks_are_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that was asked to end leaves nothing half sent; an actor cannot be asked."""
    workers = Workers(monkeypatch, "when asked")
    held = Held(local=True)
    halt(held, in_flight(on_actor=True))
    assert workers.asked == ["task 0", "task 1"]
    assert workers.killed == ["actor"]
    assert held.is_settled


def test_a_lease_that_cannot_be_shut_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a worker on a machine that no message reaches may begin to write yet."""
    held = Held(local=False, refuses=True)
    workers = Workers(monkeypatch, "when asked")
    halt(held, in_flight())
    assert not held.is_settled
    assert len(workers.asked) == 2, "the others are ended all the same"


def test_with_nothing_in_flight_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run would wait for 20 s after every run that ended well."""
    held = Held(local=False)
    held.is_settled = False
    workers = Workers(monkeypatch, "never")
    halt(held, {})
    assert held.is_settled
    assert (workers.asked, workers.killed) == ([], [])
