"""Fixtures that several test folders share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GTZAN = ROOT.parent / "shared" / "data" / "gtzan"


@pytest.fixture(scope="session")
def gtzan() -> Path:
    """The folder of real GTZAN data, which is never part of the project; without it the test skips."""
    if not GTZAN.is_dir():
        pytest.skip("no real GTZAN data beside the checkout (shared/data/gtzan)")
    return GTZAN
