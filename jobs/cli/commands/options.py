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
    typer.Option("--model", help="The model, by its name or its folder; else the one that labeled last."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
Only = Annotated[
    Literal["log-mel", "descriptors"] | None,
    typer.Option("--only", help="Compute the log-mels or the descriptors alone."),
]
Moved = Annotated[
    bool, typer.Option("--catalog-moved", help="The catalog is the one the tables know, in a new place.")
]
OutputFormat = Annotated[Format, typer.Option("--format", help="How to print.")]
Out = Annotated[str | None, typer.Option("--out", help="Write to this file or URI instead of stdout.")]
