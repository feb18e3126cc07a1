"""Reports about trials of several seeds and settings."""

from dataclasses import replace

import pytest

from jobs.cli.summaries.models import print_trials
from jobs.trials import Trial, plan_trials
from pipeline.models.bundle import ModelBundle
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import MisuseError


def test_one_seed_has_no_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that was tried once shows "± 0.000" and looks the most stable."""
    bundle = ModelBundle.load("gtzan")
    settings = TrainingSettings.for_arch("cnn")
    once = [Trial(replace(settings, seed=seed), f"lr {seed}", bundle) for seed in (0, 1)]
    twice = [Trial(replace(settings, seed=seed), "", bundle) for seed in (0, 1)]
    print_trials(once)
    assert "±" not in capsys.readouterr().out
    print_trials(twice)
    assert "± 0.000" in capsys.readouterr().out


@pytest.mark.parametrize("grid", [("crop=64", "crop=96"), ("crop=64,64",), ("learning_rate=1e-3,0.001",)])
def test_a_setting_is_varied_in_one_place(grid: tuple[str, ...]) -> None:
    """Of ``--grid crop=64 --grid crop=96``, only 96 is tried, without a word."""
    with pytest.raises(MisuseError, match=r"--grid contains '\w+' or a value of it twice"):
        plan_trials(TrainingSettings(), [0], grid)
    assert len(plan_trials(TrainingSettings(), [0, 1], ["crop=64,96", "dropout=0.1,0.2,0.3"])) == 12
