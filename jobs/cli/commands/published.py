"""Commands for models that ship or that others published: models, models add."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.console.messages import say


def models(context: typer.Context) -> None:
    """List the models that ship, and those that were or can be added."""
    if context.invoked_subcommand is not None:
        return
    from jobs.console.output import console, print_table
    from jobs.models import facts_in_words, list_models
    from pipeline.wording import size_text

    found = list_models()
    print_table(
        ("model", "", "license", "size"),
        [(each.name, each.state, each.license, size_text(each.size)) for each in found],
    )
    for each in found:
        console.print()
        if each.info is None:
            console.print(f"{each.name}: earmark models add {each.name}")
            continue
        console.print(f"{each.name}:")
        for line in facts_in_words(each.info):
            console.print(f"  {line}")


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
    from jobs.console.output import console
    from jobs.models import add as add_model
    from jobs.models import facts_in_words

    say(f"adding {name}")
    bundle, folder = add_model(name, file)
    console.print(f"{bundle.model} ({bundle.info.license}) in {folder}")
    for line in facts_in_words(bundle.info):
        console.print(f"  {line}")
    console.print(f"use it with: earmark run MUSIC TABLES --model {name}")
