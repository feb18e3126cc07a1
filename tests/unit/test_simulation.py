"""The simulation of large clusters: there, too, the engine keeps its promises, and the accounts add up."""

from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks import simulate_scaling
from tests.benchmarks.simulation.inputs import load_measured
from tests.benchmarks.simulation.simulate import SHARES, Outcome, Scenario, simulate
from tests.benchmarks.simulation.workload import pipelined_s

LOSING = Scenario(cpus=48, n_tracks=3000, losses_per_hour=90.0, seed=4, counts_driver=False)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return simulate(LOSING, load_measured())


def test_clusters_that_are_not_simulated_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On one core, the simulated actor holds the only CPU, and the simulation never ends."""
    monkeypatch.setattr("sys.argv", ["simulate_scaling.py", "--cores", "16", "4"])
    monkeypatch.setattr(simulate_scaling, "load_measured", lambda: pytest.fail("it is simulated"))
    with pytest.raises(SystemExit):
        simulate_scaling.main()
    assert "--cores must be more than 4" in capsys.readouterr().err


def test_every_track_is_labeled_once_though_nodes_are_lost(outcome: Outcome) -> None:
    """Fails: the engine loses or doubles work when several answers of a lost node arrive together."""
    assert outcome.n_lost_nodes > 1
    assert outcome.n_lost_tracks > 0
    assert outcome.n_lost_parts > 0
    assert outcome.labels_per_track == (1, 1)
    assert outcome.totals.featurized == outcome.totals.labeled == LOSING.n_tracks
    assert outcome.totals.failed == 0, "no track is to blame for a lost node"


def test_no_more_is_repeated_than_was_lost(outcome: Outcome) -> None:
    """Fails: a lost node costs more than what was being done on it."""
    assert outcome.n_repeated_tracks == 0, "what was finished on the node is not done again"


def test_a_seed_gives_the_same_run(outcome: Outcome) -> None:
    """Fails: a change of the engine cannot be told from chance."""
    again = simulate(LOSING, load_measured())
    assert (again.wall_s, dict(again.seconds)) == (outcome.wall_s, dict(outcome.seconds))
    other = simulate(replace(LOSING, seed=2), load_measured())
    assert other.wall_s != outcome.wall_s


def test_the_time_of_all_cpus_is_accounted_for(outcome: Outcome) -> None:
    """Fails: a share of the time that the report shows is wrong, and so what it blames."""
    assert sum(outcome.share(what) for what in SHARES) == pytest.approx(1.0)
    measured = load_measured()
    track_s = np.mean([track.cpu_s + track.n_segments * measured.label_cpu_s for track in measured.tracks])
    work_s = (track_s + measured.write_cpu_s) * LOSING.n_tracks
    assert outcome.seconds["work"] == pytest.approx(work_s, rel=0.02)


def test_tracks_are_fetched_ahead() -> None:
    """Fails: a store that is fast enough seems to slow the workers down, or a slow one does not."""
    assert pipelined_s([1.0] * 5, [10.0] * 5) == 1 + 5 * 10
    assert pipelined_s([10.0] * 6, [1.0] * 6) == 3 * 10 + 2
