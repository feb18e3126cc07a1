"""Attempts at work: their history, what follows from their results, and the task or actor that runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.engine.assignment import Assignment
from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.label_part import LabelResult, LabelTask


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a shard or a label task.

    Attributes
    ----------
    errors, deaths : int
        Earlier attempts that ended with an error, and isolated ones that ended with the death of the process.
    stalls : int
        Earlier attempts for which a store was overloaded or out of reach.
    isolated : bool
        Whether to run code that may crash in a process of its own.
    confirming : bool
        Whether another process has failed on these tracks: if this one fails too, they are to blame.
    avoided : frozenset of str
        Nodes that have already failed on this work: others are preferred.
    judge : str or None
        Node on which the tracks failed first, if this attempt is to confirm it.
    retried : bool
        Whether an earlier attempt at this work was begun: it may have left parts, or still be writing them.
    """

    work: Shard | LabelTask
    errors: int = 0
    deaths: int = 0
    isolated: bool = False
    confirming: bool = False
    avoided: frozenset[str] = frozenset()
    judge: str | None = None
    stalls: int = 0
    retried: bool = False

    def avoiding(self, node: str) -> "Attempt":
        """Return the same attempt, to be made on another node."""
        return replace(self, avoided=self.avoided | {node})

    def to_label(self, result: ShardResult | LabelResult, assignment: Assignment) -> "Attempt | None":
        """Return the first attempt to label what this one featurized; None if there is nothing to label."""
        shard = self.work
        if not (isinstance(shard, Shard) and isinstance(result, ShardResult) and result.n_done):
            return None
        if assignment.model is None:
            return None
        return Attempt(
            LabelTask.of(
                shard,
                assignment.tables,
                run_date=assignment.run_date,
                model=assignment.model,
                tracks=shard.as_read(result.changed, without=(*result.failed, *result.suspects)),
            )
        )

    def to_confirm(self, suspects: Sequence[str], node: str) -> "Attempt | None":
        """Return an attempt, elsewhere, at the tracks that failed in this one; None if there are none."""
        if not suspects:
            return None
        # Of its own name: parts of a shard of suspects are labeled, too.
        suffix, judge = ("s", node) if isinstance(self.work, Shard) else ("u", None)
        suspected = self.work.only(suspects, self.work.name + suffix)
        return Attempt(suspected, isolated=True, confirming=True, avoided=frozenset({node}), judge=judge)

    def log_fields(self) -> dict[str, object]:
        """Return fields for a log record: shard, work, number of tracks, and the track if it is one."""
        tracks = self.work.tracks
        track = {"track": tracks["uri"][0].as_py()} if tracks.num_rows == 1 else {}
        doing = "featurize" if isinstance(self.work, Shard) else "label"
        return {"shard": self.work.name, "doing": doing, "tracks": tracks.num_rows, **track}


@dataclass(frozen=True)
class Submission:
    """An attempt in flight, numbered in order, with its actor or the node chosen for it."""

    attempt: Attempt
    number: int
    actor: Any = None
    node: str | None = None
