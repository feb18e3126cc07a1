"""The pace of a run: what shards and parts take, and so how much of the remaining work is labeling."""

from pipeline.shards.featurize_shard import ShardResult
from pipeline.shards.label_part import LabelResult


class Pace:
    """Seconds that workers and actors took for the shards and parts finished so far."""

    def __init__(self) -> None:
        self._n_shards = self._n_parts = 0
        self._shards_s = self._parts_s = 0.0

    def record(self, result: ShardResult | LabelResult) -> None:
        """Count a finished shard or part."""
        if isinstance(result, ShardResult):
            self._n_shards += 1
            self._shards_s += result.busy_s
        else:
            self._n_parts += 1
            self._parts_s += result.busy_s

    def labeling_share(self, shards_left: int, parts_left: int) -> float | None:
        """Return the share of labeling in the work that is left; None if it is not known yet.

        Parameters
        ----------
        shards_left, parts_left : int
            Shards that are not featurized, each of which becomes a part, and parts that are not labeled.
        """
        if not shards_left:
            return 1.0 if parts_left else None
        if not self._n_shards or not self._n_parts:
            return None
        labeling_s = (shards_left + parts_left) * self._parts_s / self._n_parts
        return labeling_s / (labeling_s + shards_left * self._shards_s / self._n_shards)
