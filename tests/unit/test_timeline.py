"""How busy the workers were: what an engineer reads off last night's page to size the cluster."""

import numpy as np
import pytest

from jobs.engine.timeline import TimelineRecorder


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def recorder() -> tuple[Clock, TimelineRecorder]:
    clock = Clock()
    return clock, TimelineRecorder(clock)


def busy_s(values: tuple[float, ...], step_s: float, total_s: float) -> float:
    lengths = np.minimum(step_s, total_s - np.arange(len(values)) * step_s)
    return float((np.array(values) * lengths).sum())


def test_work_is_counted_for_the_seconds_it_took() -> None:
    """A worker that was busy for two steps would show in one of them, or not at all."""
    clock, timeline = recorder()
    clock.now += 3.5
    timeline.record_work("featurizing", 2.0)
    clock.now += 0.5
    got = timeline.timeline()
    assert got.step_s == 1.0
    assert got.featurizing[:4] == (0.0, 0.5, 1.0, 0.5)
    assert sum(got.labeling) == 0


@pytest.mark.parametrize("total_s", [7.0, 119.0, 121.0, 10_000.0])
def test_no_work_is_lost_however_long_the_run(total_s: float) -> None:
    """When steps are joined, seconds would vanish or double: the utilization of long runs would be wrong."""
    clock, timeline = recorder()
    rng = np.random.default_rng(0)
    worked = 0.0
    while clock.now - 100.0 < total_s - 1:
        clock.now += 1.0
        seconds = float(rng.uniform(0, min(30.0, clock.now - 100.0)))
        timeline.record_work("labeling", seconds)
        worked += seconds
    clock.now = 100.0 + total_s
    got = timeline.timeline()
    assert len(got.labeling) <= 120
    assert busy_s(got.labeling, got.step_s, total_s) == pytest.approx(worked, rel=1e-3)


def test_what_is_left_keeps_its_peak() -> None:
    """A pile of parts that waited for actors would be averaged away in a long run."""
    clock, timeline = recorder()
    for second in range(500):
        clock.now = 100.0 + second
        timeline.observe(cpus=4, actors=1, shards_left=500 - second, parts_left=40 if second == 77 else 0)
    got = timeline.timeline()
    assert max(got.parts_left) == 40
    assert got.parts_left[int(77 / got.step_s)] == 40
    assert got.shards_left[0] == 500
    assert set(got.cpus) == {4}


def test_no_step_has_more_work_than_workers() -> None:
    """An actor that labels two parts in one call sends both results at once: 1.2 of 1 actors were busy."""
    clock, timeline = recorder()
    for _ in range(4):
        timeline.observe(cpus=2, actors=1, shards_left=0, parts_left=2)
        clock.now += 1.0
    timeline.record_work("labeling", 0.8)
    timeline.record_work("labeling", 0.7)
    timeline.observe(cpus=2, actors=1, shards_left=0, parts_left=0)
    clock.now += 0.5
    got = timeline.timeline()
    assert got.labeling[:4] == (0.0, 0.0, 0.5, 1.0)
    assert busy_s(got.labeling, 1.0, 4.5) == pytest.approx(1.5)


def test_work_that_began_before_the_run_counts_from_its_start() -> None:
    """A clock that differs between machines would make negative steps."""
    clock, timeline = recorder()
    clock.now += 2.0
    timeline.record_work("featurizing", 50.0)
    assert busy_s(timeline.timeline().featurizing, 1.0, 2.0) == pytest.approx(2.0, rel=1e-3)
