"""Reports about trials of several seeds and settings."""

from dataclasses import replace

import pytest

from jobs.cli.summaries.models import print_trials
from jobs.trials import Trial
from pipeline.models.bundle import ModelBundle
from pipeline.training.training_settings import TrainingSettings


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
