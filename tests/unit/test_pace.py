"""How much of the work that is left is labeling: it decides how many actors a cluster of CPUs gets."""

import pytest

from jobs.engine.pace import Pace
from pipeline.shards.featurize_shard import ShardResult
from pipeline.shards.label_part import LabelResult


def shard(seconds: float) -> ShardResult:
    return ShardResult(8, 0, 24, 1.0, {"decode": seconds, "wait": 100.0})


def part(seconds: float) -> LabelResult:
    return LabelResult(8, 0, 0, 24, {}, {"read": 50.0, "predict": seconds})


def test_the_share_of_labeling_is_measured() -> None:
    """Fails: a slow model gets as few actors as a fast one, and most CPUs idle at the end of the run."""
    pace = Pace()
    assert pace.labeling_share(10, 0) is None
    pace.record(shard(8.0))
    pace.record(shard(10.0))
    assert pace.labeling_share(8, 1) is None
    pace.record(part(3.0))
    # Eight shards of 9 s, and eight parts of these and four others of 3 s.
    assert pace.labeling_share(8, 4) == pytest.approx(36 / (36 + 72))


def test_without_shards_all_that_is_left_is_labeling() -> None:
    """Fails: `earmark label` on a large cluster of CPUs uses an eighth of it."""
    assert Pace().labeling_share(0, 5) == 1.0
    assert Pace().labeling_share(0, 0) is None
