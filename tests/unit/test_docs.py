"""The documentation: that nothing in it is invented."""

import ast
import inspect
import pydoc
import re
import shlex
from pathlib import Path

import pytest

from infra.docs_tables import PARTS, rendered
from schemas import errors
from tests.commands import COMMANDS, EARMARK
from tests.docs import PAGES, ROOT, blocks, examples

FLAGS = {
    flag
    for command in (EARMARK, *COMMANDS.values())
    for each in command.params
    for flag in [*each.opts, *each.secondary_opts]
}


def _written_commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    lines += [example.command for page in PAGES for example in examples(page)]
    return sorted({line[line.index("earmark ") :] for line in lines if re.search(r"(^|-- )earmark ", line)})


@pytest.mark.parametrize("line", _written_commands())
def test_the_command_line_accepts_every_command(line: str) -> None:
    """A reader copies a command that exits with 2."""
    _, name, *arguments = shlex.split(line)
    COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_in_the_text_exists(page: Path) -> None:
    """A page advises an option that was renamed, or never was."""
    for code in re.findall(r"`([^`\n]+)`", page.read_text("utf-8")):
        if named := re.match(r"earmark ([a-z][a-z-]*)", code):
            assert named[1] in COMMANDS, code
        for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", code):
            assert flag in FLAGS, code


@pytest.mark.parametrize("page", PARTS, ids=lambda page: page.name)
def test_the_generated_parts_of_a_page_are_as_the_program_has_them(page: Path) -> None:
    """Somebody reads of a column or a setting that is not there; `python -m infra.docs_tables` mends it."""
    assert rendered(page) == page.read_text("utf-8")


def test_every_error_type_is_explained_with_its_stage_and_whether_it_is_retried() -> None:
    """Somebody finds a word in the failures that no page explains."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    rows = {
        name: (stage, retried)
        for name, stage, retried in re.findall(
            r"^\| `(\w+Error)` \| (\w+) \| (yes|no) \|", page, re.MULTILINE
        )
    }
    kinds = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.TrackError) and kind is not errors.TrackError
    }
    assert rows == {name: (kind.stage, "yes" if kind.retryable else "no") for name, kind in kinds.items()}


def test_the_exit_codes_are_those_of_the_program() -> None:
    """A scheduler takes a failure for success."""
    from jobs.console.messages import INTERRUPTED, NOT_PUBLISHED, TOO_MANY_FAILURES, UNCHECKED, UNREAD

    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    errors_codes = {
        each.exit_code for each in (errors.EarmarkError, errors.MisuseError, errors.LeaseHeldError)
    }
    assert codes == {0, INTERRUPTED, NOT_PUBLISHED, TOO_MANY_FAILURES, UNCHECKED, UNREAD} | errors_codes


def test_the_figure_of_the_shipped_model_is_the_measured_one() -> None:
    """A page promises more than was measured."""
    from pipeline.models.bundle import ModelBundle

    figure, _ = ModelBundle.load("default").info.figures
    for name in ("models.md", "faq.md"):
        assert f"{figure.accuracy:.2f}" in (ROOT / "docs" / name).read_text("utf-8")


def test_python_examples_are_python() -> None:
    """A notebook example would not even parse."""
    for page in PAGES:
        for block in blocks(page, "python"):
            ast.parse(block)


def test_the_picture_is_readable_in_the_dark_and_asks_for_no_font() -> None:
    """Half of the readers see black on black, or a page waits for a font."""
    svg = (ROOT / "docs" / "architecture.svg").read_text("utf-8")
    assert "prefers-color-scheme: dark" in svg
    assert "<title" in svg
    assert not re.search(r"@import|@font-face|href=.http|url\(.?http", svg)


@pytest.mark.parametrize("layer", ["schemas", "pipeline", "jobs", "earmark"])
def test_what_a_docstring_refers_to_is_there(layer: str) -> None:
    """Somebody is sent for the rest of an explanation to a function that has been renamed."""
    text = "".join(path.read_text("utf-8") for path in sorted((ROOT / layer).rglob("*.py")))
    named = set(re.findall(r"(?<!`)`((?:schemas|pipeline|jobs|earmark)\.[\w.]+)`(?!`)", text))
    assert {name for name in named if pydoc.locate(name) is None} == set()
