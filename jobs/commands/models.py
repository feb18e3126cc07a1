"""Commands that make and judge models: train."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    data: Annotated[str, typer.Argument(help="Labelled log-mels (.npz).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model to make.", show_default=False)],
    arch: Annotated[str, typer.Option("--arch", help="Architecture: cnn.")] = "cnn",
    split: Annotated[
        str, typer.Option("--split", help="segment (leaks), track, or file:TRAIN.txt,VALID.txt.")
    ] = "track",
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training tracks.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model; else the folder's.")] = None,
    threads: Annotated[int, typer.Option("--threads", help="CPU threads of TensorFlow.")] = 2,
) -> None:
    """Train a model on labelled data."""
    from jobs.summaries import print_model
    from jobs.train import train_job

    options = {} if epochs is None else {"epochs": epochs}
    bundle = train_job(
        data,
        str(out),
        arch=arch,
        split=split,
        seed=seed,
        name=name,
        threads=threads,
        on_epoch=_show_epoch,
        **options,
    )
    print_model(bundle, out)


def _show_epoch(epoch: Any) -> None:
    print(epoch, file=sys.stderr, flush=True)
