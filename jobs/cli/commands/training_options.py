"""Arguments and options of the command train, but for the settings of the training."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.training.training_settings import LARGEST_SEED

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder with a folder of audio for each genre, a manifest with a label column, tables, "
        "a CSV of the 57 descriptors, or an .npz of log-mels.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write the model to.", show_default=False)]
On = Annotated[
    Literal["features", "embeddings"],
    typer.Option(
        "--on",
        help="What to train on: features, or embeddings, on which a linear head is trained in seconds "
        "from as few as 4 tracks of each genre.",
    ),
]
Arch = Annotated[
    str | None,
    typer.Option("--arch", help="cnn (log-mels), dense (the 57 descriptors) or both. Default: cnn."),
]
Split = Annotated[
    str,
    typer.Option(
        "--split", help="How to split the data: segment (leaks), track, or file:TRAIN.txt,VALID.txt."
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        "--split-seed",
        min=0,
        max=LARGEST_SEED,
        help="Seed of a random split. Default: the seed of the training.",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        help="Train once with each of these seeds, such as 0,1,2, with Ray, and keep the model with the best "
        "validation accuracy.",
    ),
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid", help="Values of a setting to try, such as learning_rate=1e-3,3e-4; may be repeated."
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Start from this model (such as gtzan) instead of random weights; with --on embeddings, the "
        "model of the embeddings. Default there: for tables, that of their latest embeddings; for audio, "
        "the default model.",
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like", help="Use the settings that this model was trained with; other options override them."
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the model. Default: the name of the folder.")
]
KeptTables = Annotated[
    str | None,
    typer.Option("--tables", help="Keep the features of audio in these tables for the next training."),
]
CheckpointFolder = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="Folder for checkpoints, from which the same command resumes after an interruption.",
    ),
]
TensorBoard = Annotated[
    str | None, typer.Option("--tensorboard", help="Folder for TensorBoard's event files.")
]
