"""Reports about trials of several seeds and settings."""

from dataclasses import replace

import pytest

from jobs.cli.summaries.models import print_trials
from jobs.engine.cluster import Node
from jobs.training.trial_tasks import _fitting_cpus
from jobs.training.trials import Trial, pick_best, plan_trials, summarize
from pipeline.models.bundle import ModelBundle
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import DivergedError, MisuseError
from schemas.model import Measurement

MEASURED = Measurement(protocol="track", dataset="by luck", accuracy=1.0, n=9)


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


def test_a_setting_that_diverges_loses(capsys: pytest.CaptureFixture[str]) -> None:
    """One cell of a grid that diverges ends a search of hours, or wins by the seeds that did not."""
    settings = TrainingSettings.for_arch("cnn")
    good, lucky = (ModelBundle.load("gtzan") for _ in range(2))
    lucky = replace(lucky, info=lucky.info.model_copy(update={"figures": (MEASURED,)}))
    trials = [
        Trial(replace(settings, seed=seed), varied, bundle)
        for varied, bundles in {"high": (lucky, None), "low": (good, good)}.items()
        for seed, bundle in enumerate(bundles)
    ]
    best, summary = pick_best(trials)
    assert (best, summary.varied) == (good, "low")
    assert summarize(trials)[1].by_seed(digits=2) == "0: 1.00, 1: diverged"
    print_trials(trials)
    assert "diverged" in capsys.readouterr().out
    with pytest.raises(DivergedError, match=r"all 1 trainings diverged; .* below 0.002"):
        pick_best(trials[1:2])


@pytest.mark.parametrize("grid", [("crop=64", "crop=96"), ("crop=64,64",), ("learning_rate=1e-3,0.001",)])
def test_a_setting_is_varied_in_one_place(grid: tuple[str, ...]) -> None:
    """Of ``--grid crop=64 --grid crop=96``, only 96 is tried, without a word."""
    with pytest.raises(MisuseError, match=r"--grid contains '\w+' or a value of it twice"):
        plan_trials(TrainingSettings(), [0], grid)
    near = plan_trials(TrainingSettings(), [0], ["learning_rate=0.00123456,0.001234561"])
    assert len({each.varied for each in near}) == 2, "one would take the place of the other"
    assert len(plan_trials(TrainingSettings(), [0, 1], ["crop=64,96", "dropout=0.1,0.2,0.3"])) == 12


@pytest.mark.parametrize(
    ("arch", "text", "reason"),
    [
        ("cnn", "crop=64,8", "setting 'crop': must be greater than or equal to 16"),
        ("cnn", "batch_size=1e2", "setting 'batch_size': must be a valid integer, not '1e2'"),
        ("cnn", "learning_rate=nan", "setting 'learning_rate': must be a finite number"),
        ("cnn", "dropout=", "setting 'dropout': must be a valid number, not ''"),
        ("dense", "crop=64", "--arch dense reads descriptors, which have no frames"),
    ],
)
def test_a_value_that_cannot_be_tried_is_named(arch: str, text: str, reason: str) -> None:
    """The segments are blamed for a crop, after hours of decoding, or equal trials look like a result."""
    with pytest.raises(MisuseError, match=f"cannot vary '{text}': {reason}"):
        plan_trials(TrainingSettings.for_arch(arch), [0], [text])


@pytest.mark.parametrize(
    ("sizes", "use_gpu", "cpus"),
    [
        ([(1, 0), (1, 0)], False, 1),
        ([(1, 0), (4, 0)], False, 2),
        ([(8, 0), (1, 1)], True, 1),
        ([(0, 0)], False, 1),  # until the autoscaler has added nodes
        ([], False, 1),
    ],
)
def test_a_trial_fits_on_one_node(sizes: list[tuple[int, int]], use_gpu: bool, cpus: int) -> None:
    """On nodes of one CPU, a training with two threads waits for ever, without a word."""
    nodes = [Node("10.0.0.1", float(each), float(gpus)) for each, gpus in sizes]
    assert _fitting_cpus(2, nodes, use_gpu=use_gpu) == cpus
