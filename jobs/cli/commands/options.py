"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.console.formats import Format

Catalog = Annotated[
    str,
    typer.Argument(
        metavar="CATALOG",
        help="A folder, a prefix such as s3://bucket/music, a manifest (CSV, TSV or Parquet with a column "
        "uri, or an S3 Inventory), or an audio file.",
        show_default=False,
    ),
]
TablesRoot = Annotated[
    str,
    typer.Argument(
        metavar="TABLES",
        help="Folder of the tables, or a prefix such as s3://bucket/tables.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file with the settings below; options override it.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Name or folder of the model. Default: the one that labeled last."),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column", help="Where the genres are: a column of the manifest, genre_tag, or folder."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")]
Only = Annotated[
    Literal["log-mel", "descriptors"] | None,
    typer.Option("--only", help="Compute only the log-mels or only the descriptors."),
]
Moved = Annotated[
    bool, typer.Option("--catalog-moved", help="The catalog of these tables has moved to CATALOG.")
]
OutputFormat = Annotated[Format, typer.Option("--format", help="Output format.")]
Out = Annotated[str | None, typer.Option("--out", help="Write to this file or URI instead of stdout.")]
