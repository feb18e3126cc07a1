"""Commands that say of an option with a bad value what the settings of a file say."""

import contextlib
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from schemas.config import first_fault


class Command(TyperCommand):
    """A command."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments."""
        with _described():
            return super().make_context(*arguments, **options)


class Group(TyperGroup):
    """A command with commands of its own."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments before the name of a command."""
        with _described():
            return super().make_context(*arguments, **options)


@contextlib.contextmanager
def _described() -> Iterator[None]:
    """Replace the words of pydantic, which do not say which value is bad."""
    try:
        yield
    except typer.BadParameter as error:
        if isinstance(error.__cause__, ValidationError):
            error.message = first_fault(error.__cause__)[1]
        raise
