"""Chaos in short: everything that may die dies once. ``make chaos`` is the long form, with figures."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.catalog import write_chaos_catalog
from tests.chaos.damage import ENDLESS, EXPECTED
from tests.chaos.rounds import Chaos
from tests.chaos.strikes import ACTOR, DRIVER, HEAD, NODE, WORKER


def test_whatever_dies_every_track_ends_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A track that is lost, doubled or misnamed after a crash is what nobody notices for months."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    kinds = tuple(kind for kind in EXPECTED if kind != ENDLESS)
    catalog = write_chaos_catalog(tmp_path / "catalog", n_files=72, seed=seed, kinds=kinds)
    chaos = Chaos(catalog, tmp_path, chance, longest_wait_s=3.0, track_timeout_s=60.0, say=print)
    strikes = [WORKER, ACTOR, NODE, DRIVER, HEAD]
    chance.shuffle(strikes)
    struck: Counter[str] = Counter()
    while strikes:
        # Raises BrokenPromiseError where a track is lost, doubled or misnamed.
        struck += chaos.round(strikes, on_cluster=True).strikes
    assert struck == Counter((WORKER, ACTOR, NODE, DRIVER, HEAD))
