"""The command that judges models: evaluate."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import MisuseError


def evaluate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] DATA",
            help="A shipped model's name or a model's folder (none with --arch), and labelled data: audio in "
            "folders by genre, tables of a run, a CSV of descriptors, or an .npz of log-mels.",
            show_default=False,
        ),
    ],
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="Train this architecture for it: cnn, dense or both."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="What is tested: segment (random pieces: leaks), track (random tracks), or "
            "file:TRAIN.txt,VALID.txt. Without it a model is tested on all of the data.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", help="Cross-validation in so many folds.")] = 1,
    pieces: Annotated[
        int | None, typer.Option("--pieces", help="Cut each segment into so many (segment: 10).")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="SVM, k-NN, k-means on the same split.")
    ] = True,
    outside: Annotated[
        str | None,
        typer.Option("--outside", help="A catalog of music of none of the genres: how much is accepted?"),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", help="Where the genres of tables are, such as genre_tag.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Of a training.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    threads: Annotated[int, typer.Option("--threads", help="CPU threads of TensorFlow.")] = 2,
) -> None:
    """Measure a model, or an architecture, on labelled data, with plain classifiers beside it."""
    from jobs.evaluate import Request, evaluate_job
    from jobs.show_evaluation import print_evaluation, write_evaluation
    from pipeline.training import TrainingSettings

    if len(names) > 2 or (len(names) == 2) == (arch is not None):
        raise MisuseError("give a model and its data (earmark evaluate MODEL DATA), or --arch and the data")
    for file in (json, html):
        # Before a training of many minutes, not after it.
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise MisuseError(f"cannot write {file}: there is no such folder, or it is one")
    defaults = TrainingSettings(seed=seed, threads=threads)
    request = Request(
        data=names[-1], model=names[0] if len(names) == 2 else None, arch=arch, split=split, n_folds=folds,
        n_pieces=pieces, baselines=baselines, outside=outside, label_column=label_column,
        settings=defaults if epochs is None else replace(defaults, epochs=epochs),
    )  # fmt: skip
    evaluation = evaluate_job(request, on_epoch=_show_epoch, on_failure=_show_failure)
    print_evaluation(evaluation)
    write_evaluation(evaluation, json, html)


def _show_epoch(fold: int, epoch: Any) -> None:
    print(f"fold {fold}: {epoch}" if fold > 1 else epoch, file=sys.stderr, flush=True)


def _show_failure(error: Exception) -> None:
    from jobs.messages import say

    say(f"left out: {error}")
