"""Trials: one training for each seed and setting, and the choice of the best."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.models.bundle import ModelBundle
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import DivergedError, MisuseError

_GRID = (
    "learning_rate",
    "weight_decay",
    "dropout",
    "label_smoothing",
    "batch_size",
    "epochs",
    "average",
    "crop",
)


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished training: its settings, a text for the varied ones, and its model; None if it diverged."""

    settings: TrainingSettings
    varied: str
    bundle: ModelBundle | None

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the validation tracks; None if the training diverged."""
        return None if self.bundle is None else self.bundle.info.figures[0].accuracy


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """A training to do: its settings, and a text for the varied ones other than the seed."""

    settings: TrainingSettings
    varied: str = ""


def plan_trials(settings: TrainingSettings, seeds: Sequence[int], grid: Sequence[str]) -> list[TrialPlan]:
    """Return the trials of every setting with every seed.

    Parameters
    ----------
    settings : TrainingSettings
        Settings that all trials share.
    seeds : sequence of int
    grid : sequence of str
        Such as ``learning_rate=1e-3,3e-4``; all combinations are tried.

    Raises
    ------
    MisuseError
        If a setting cannot be varied, a value is invalid, or a setting or a value is given twice.
    """
    axes = [_axis(each, settings) for each in grid]
    names = [name for name, _ in axes]
    for name, tried in axes:
        if names.count(name) > 1 or len(set(tried)) < len(tried):
            raise MisuseError(
                f"--grid contains '{name}' or a value of it twice; list its values once, in one --grid"
            )
    planned = []
    for values in itertools.product(*(values for _, values in axes)):
        changes = dict(zip(names, values, strict=True))
        varied = ", ".join(f"{name} {value}" for name, value in changes.items())
        planned += [TrialPlan(settings.changed({**changes, "seed": seed}), varied) for seed in seeds]
    return planned


def _axis(text: str, settings: TrainingSettings) -> tuple[str, list[float]]:
    name, equals, listed = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in _GRID or not equals:
        raise MisuseError(
            f"cannot vary '{text}': --grid takes NAME=VALUE,VALUE with one of {', '.join(_GRID)}"
        )
    if name == "crop" and settings.arch == "dense":
        raise MisuseError(f"cannot vary '{text}': --arch dense reads descriptors, which have no frames")
    try:
        return name, [getattr(settings.changed({name: value}), name) for value in listed.split(",")]
    except MisuseError as error:
        raise MisuseError(f"cannot vary '{text}': {error}") from error


@dataclass(frozen=True, slots=True)
class Summary:
    """Trials of one setting: the varied text, accuracies by seed, their mean and standard deviation.

    The accuracy of a training that diverged is None. It counts as 0: without a model, no track is labeled
    correctly. The standard deviation of a single seed is None.
    """

    varied: str
    accuracies: dict[int, float | None]
    mean: float
    std: float | None

    def by_seed(self, digits: int) -> str:
        """Return the accuracies by seed as text, rounded to a number of digits."""
        return ", ".join(
            f"{seed}: {'diverged' if right is None else f'{right:.{digits}f}'}"
            for seed, right in self.accuracies.items()
        )


def summarize(trials: Sequence[Trial]) -> list[Summary]:
    """Summarize the trials by setting, best mean first."""
    by_setting: dict[str, dict[int, float | None]] = {}
    for trial in trials:
        by_setting.setdefault(trial.varied, {})[trial.settings.seed] = trial.accuracy
    summaries = []
    for varied, found in by_setting.items():
        counted = [right or 0.0 for right in found.values()]
        summaries.append(Summary(varied, found, float(np.mean(counted)), _deviation(counted)))
    return sorted(summaries, key=lambda summary: -summary.mean)


def _deviation(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def pick_best(trials: Sequence[Trial]) -> tuple[ModelBundle, Summary]:
    """Return the best model of the setting with the best mean, the first one on a tie, and that setting.

    Raises
    ------
    DivergedError
        If all trainings diverged.
    """
    for summary in summarize(trials):
        found = [trial.bundle for trial in trials if trial.varied == summary.varied and trial.bundle]
        if found:
            return max(found, key=lambda bundle: bundle.info.figures[0].accuracy), summary
    rate = min(trial.settings.learning_rate for trial in trials)
    raise DivergedError(f"all {len(trials)} trainings diverged; choose a learning rate below {rate:g}")
