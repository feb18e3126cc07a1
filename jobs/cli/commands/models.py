"""Commands that list and add models: models, models add."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.console.messages import say


def models(context: typer.Context) -> None:
    """List the shipped models, the added ones, and those that can be added."""
    if context.invoked_subcommand is not None:
        return
    from jobs.cli.summaries.models import print_models
    from jobs.models import list_models

    print_models(list_models())


def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The model, such as audioset.", show_default=False)
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            help="The file with its weights, if already downloaded; then no network access is needed.",
        ),
    ] = None,
) -> None:
    """Add a published model: download its weights, verify them, and convert them for --model."""
    from jobs.cli.summaries.models import print_added
    from pipeline.models.published import add_model, find_published

    model = find_published(name)
    say(f"adding {name}")
    bundle, folder = add_model(model, file)
    print_added(name, bundle, folder)
