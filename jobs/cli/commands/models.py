"""Commands for models that ship or that others published: models, models add."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.console.messages import say


def models(context: typer.Context) -> None:
    """List the models that ship, and those that were or can be added."""
    if context.invoked_subcommand is not None:
        return
    from jobs.cli.summaries.models import print_models
    from jobs.models import list_models

    print_models(list_models())


def add(
    name: Annotated[str, typer.Argument(help="The model, such as audioset.", show_default=False)],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="The file of its weights, if you have it already: then no network is needed."
        ),
    ] = None,
) -> None:
    """Add a model that others trained: fetch its weights, check them, and make them ready for --model."""
    from jobs.cli.summaries.models import print_added
    from jobs.models import add as add_model

    say(f"adding {name}")
    bundle, folder = add_model(name, file)
    print_added(name, bundle, folder)
