"""Commands that say of an option with a bad value what the settings of a file say."""

from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from schemas.config import first_fault


class _InOurWords:
    """Replaces the words of pydantic, which do not say which value is bad."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments; of a group, those before the name of a command."""
        try:
            return super().make_context(*arguments, **options)  # type: ignore[misc]
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = first_fault(error.__cause__)[1]
            raise


class Command(_InOurWords, TyperCommand):
    """A command."""


class Group(_InOurWords, TyperGroup):
    """A command with commands of its own."""
