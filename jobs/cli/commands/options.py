"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.console.output import Format

Catalog = Annotated[
    str,
    typer.Argument(
        metavar="CATALOG",
        help="A folder, a prefix such as s3://bucket/music, a manifest (CSV or Parquet with a column uri), "
        "or an audio file.",
        show_default=False,
    ),
]
TablesRoot = Annotated[
    str, typer.Argument(metavar="TABLES", help="Folder or prefix of the tables.", show_default=False)
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file with the settings below; flags win over it.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Name of a model (see earmark models), or the folder of a trained one."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="Ray cluster to use; without it RAY_ADDRESS, else a local Ray for the run."
    ),
]
TrackTimeout = Annotated[
    float | None,
    typer.Option("--track-timeout", help="Seconds after which a track that still decodes has failed (120)."),
]
TrackMemory = Annotated[
    int | None,
    typer.Option(
        "--track-memory", min=64, help="MB of memory above which a track that decodes has failed (320)."
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N tracks of the listing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
RetryFailed = Annotated[
    bool | None,
    typer.Option(
        "--retry-failed/--no-retry-failed", help="Try failed tracks again although they have not changed."
    ),
]
Descriptors = Annotated[
    bool | None, typer.Option("--descriptors/--no-descriptors", help="Compute the 57 descriptors too.")
]
Only = Annotated[
    Literal["log-mel", "descriptors"] | None,
    typer.Option("--only", help="Compute the log-mels or the descriptors alone."),
]
Actors = Annotated[
    int | None,
    typer.Option("--actors", help="Actors that run the model; else one a GPU, or one for eight CPUs."),
]
GpusPerActor = Annotated[
    float | None, typer.Option("--gpus-per-actor", help="GPUs of an actor, such as 0.5; 0: none.")
]
Cpus = Annotated[int | None, typer.Option("--cpus", help="CPUs of the local Ray; else all.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Segments the model takes at once.")]
SegmentLabels = Annotated[
    bool | None,
    typer.Option("--segment-labels/--no-segment-labels", help="Write a label for each segment too."),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence",
        help="Leave the genre null where the model is less sure than this, 0 to 1 (0); labels that are there "
        "stay.",
    ),
]
MaxFailureRate = Annotated[
    float | None,
    typer.Option(
        "--max-failure-rate", help="Exit with 3 when more of the catalog than this has failed (0.5)."
    ),
]
Moved = Annotated[
    bool, typer.Option("--catalog-moved", help="The catalog is the one the tables know, in a new place.")
]
OutputFormat = Annotated[Format, typer.Option("--format", help="How to print.")]
Out = Annotated[str | None, typer.Option("--out", help="Write to this file or URI instead of stdout.")]
