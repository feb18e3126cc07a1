"""Attempts at work: their history, and the task or actor that runs them."""

from dataclasses import dataclass, replace
from typing import Any

from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask


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
