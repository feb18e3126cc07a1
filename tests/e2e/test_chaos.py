"""A short chaos test: everything that can die is killed once. ``make chaos`` is the full test."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.catalog import write_chaos_catalog
from tests.chaos.damage import ENDLESS, EXPECTED
from tests.chaos.kills import ACTOR, DRIVER, HEAD, NODE, WORKER
from tests.chaos.rounds import Chaos


@pytest.mark.thorough
def test_every_track_ends_once_whatever_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash loses or duplicates a track, or names a wrong error, and nobody notices for months."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kinds = tuple(kind for kind in EXPECTED if kind != ENDLESS)
    catalog = write_chaos_catalog(tmp_path / "catalog", n_files=72, seed=seed, kinds=kinds)
    chaos = Chaos(catalog, str(tmp_path), rng, max_wait_s=3.0, track_timeout_s=60.0, say=print)
    pending = [WORKER, ACTOR, NODE, DRIVER, HEAD]
    rng.shuffle(pending)
    killed: Counter[str] = Counter()
    while pending:
        # Raises BrokenPromiseError if a track is lost, duplicated or failed with a wrong error.
        killed += chaos.run_round(pending, on_cluster=True).kills
    assert killed == Counter((WORKER, ACTOR, NODE, DRIVER, HEAD))
