"""The command line as Typer has it."""

from typer.core import TyperGroup
from typer.main import get_command

from jobs.cli.main import app

EARMARK = get_command(app)
assert isinstance(EARMARK, TyperGroup)
COMMANDS = EARMARK.commands
"""By name."""
