"""Work in flight: what is tried, how often it was tried before, and by whom."""

from dataclasses import dataclass, replace
from typing import Any

from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask


@dataclass(frozen=True, slots=True)
class Try:
    """A try at a shard or a label task.

    Attributes
    ----------
    errors, deaths : int
        Tries that ended with an error, and in isolation with the death of the worker.
    isolated : bool
        Whether what may kill a process is done in one of its own.
    confirming : bool
        Whether another process has failed on these very tracks: if this one does too, they are to blame.
    avoided : frozenset of str
        Nodes that have had their say: others are asked, where there are any.
    """

    work: Shard | LabelTask
    errors: int = 0
    deaths: int = 0
    isolated: bool = False
    confirming: bool = False
    avoided: frozenset[str] = frozenset()

    def avoiding(self, node: str) -> "Try":
        """Return the same try, which another node is to make."""
        return replace(self, avoided=self.avoided | {node})

    def logged(self) -> dict[str, object]:
        """Return the fields of a log record about it: the track where it stands alone."""
        tracks = self.work.tracks
        track = {"track": tracks["uri"][0].as_py()} if tracks.num_rows == 1 else {}
        doing = "featurize" if isinstance(self.work, Shard) else "label"
        return {"shard": self.work.name, "doing": doing, "tracks": tracks.num_rows, **track}


@dataclass(frozen=True)
class Flight:
    """A try in flight, with its actor, or the node that was chosen for it; flights are numbered in order."""

    tried: Try
    number: int
    actor: Any = None
    node: str | None = None
