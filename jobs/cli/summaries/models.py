"""What the commands about models print: models, models add and train."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jobs.console.output import console, print_table
from jobs.models import ListedModel
from jobs.train_head import HeadResult
from jobs.training.trials import Trial, summarize
from pipeline.formatting import size_text
from pipeline.models.bundle import ModelBundle
from pipeline.models.metrics import wilson_interval
from schemas.model import Measurement, ModelInfo


def print_models(models: Sequence[ListedModel]) -> None:
    """Print a table of the models, and a description of each."""
    print_table(
        ("model", "", "license", "size"),
        [(each.name, each.state, each.license, size_text(each.size)) for each in models],
    )
    for each in models:
        console.print()
        if each.fault is not None:
            console.print(f"{each.name}: {each.fault}")
        elif each.info is None:
            console.print(f"{each.name}: earmark models add {each.name}")
        else:
            console.print(f"{each.name}:")
            _print_description(each.info)
    console.print()
    console.print("models whose names are joined by + label together: --model default+audioset")


def print_added(name: str, bundle: ModelBundle, folder: Path) -> None:
    """Print a model that was added, and how to use it."""
    console.print(f"{bundle.model} ({bundle.info.license}) in {folder}")
    _print_description(bundle.info)
    console.print(f"use it with: earmark run MUSIC TABLES --model {name}")


def _print_description(info: ModelInfo) -> None:
    for line in _describe_model(info):
        console.print(f"  {line}")


def _describe_measurement(measured: Measurement) -> str:
    """Return a measured accuracy with its interval, number of tracks, protocol and data."""
    low, high = wilson_interval(np.array(measured.accuracy), np.array(measured.n))
    calibration = "" if measured.ece is None else f", ECE {measured.ece:.3f}"
    accuracy = f"{measured.accuracy:.2f} ({low:.2f} – {high:.2f}) of {measured.n}"
    return f"{accuracy}, protocol {measured.protocol}{calibration}: {measured.dataset}"


def _describe_model(info: ModelInfo) -> list[str]:
    """Return a description of a model, one fact per line."""
    lines: list[str] = []
    by_genre: dict[str, tuple[int, int]] = {}
    for measured in info.figures:
        lines.append(_describe_measurement(measured))
        if measured.by_genre and measured.by_genre != by_genre:
            by_genre = measured.by_genre
            counts = ", ".join(f"{genre} {right} of {n}" for genre, (right, n) in by_genre.items())
            lines.append(f"  by genre: {counts}")
    lines += [f"{count.count} of {count.n} {count.what}" for count in info.counts]
    styles = 0 if info.taxonomy is None else sum(each.style is not None for each in info.taxonomy.classes)
    lines.append(f"genres: {', '.join(info.genres)}" + (f", and {styles} styles of them" if styles else ""))
    return lines + ([f"weights: {info.source}"] if info.source else [])


def print_trials(trials: Sequence[Trial]) -> None:
    """Print the accuracy of each trial, and the mean and standard deviation by setting, best first."""
    if not trials:
        return
    rows = [
        (
            summary.varied or "default",
            f"{summary.mean:.3f}" + ("" if summary.std is None else f" ± {summary.std:.3f}"),
            summary.by_seed(digits=3),
        )
        for summary in summarize(trials)
    ]
    print_table(("setting", "validation accuracy", "by seed"), rows)
    kept = "the best seed of the first setting; its own accuracy is optimistic, report the mean"
    if len(trials) == len(rows):
        kept = "the first setting; the best of several is optimistic, and one seed does not show by how much"
    console.print(f"kept: {kept}")
    console.print()


def print_model(bundle: ModelBundle, folder: Path) -> None:
    """Print a trained model and its measured accuracy."""
    console.print(f"{bundle.model}: {size_text(len(bundle.weights))} in {folder}")
    for figure in bundle.info.figures:
        console.print(
            f"accuracy {figure.accuracy:.3f} of {figure.n} ({figure.dataset}; protocol {figure.protocol})",
        )


def print_head(result: HeadResult, folder: Path) -> None:
    """Print a head with its figures, overall and by genre, and how they were measured."""
    bundle = result.bundle
    console.print(f"{bundle.model}: {size_text(len(bundle.weights))} in {folder}")
    (figure,) = bundle.info.figures
    accuracy = _with_interval(round(figure.accuracy * figure.n), figure.n)
    mean = sum(right / n for right, n in figure.by_genre.values()) / len(figure.by_genre)
    console.print(
        f"accuracy {accuracy} of {figure.n} tracks, mean over genres {mean:.3f}, ECE {figure.ece:.3f} "
        f"({result.protocol})"
    )
    print_table(
        ("genre", "accuracy", "tracks"),
        ((genre, _with_interval(right, n), f"{n:,}") for genre, (right, n) in figure.by_genre.items()),
    )


def _with_interval(right: int, n: int) -> str:
    """Return a share with its 95 % interval (Wilson)."""
    low, high = wilson_interval(np.array([right / n]), np.array([float(n)]))
    return f"{right / n:.3f} ({low[0]:.2f} – {high[0]:.2f})"
