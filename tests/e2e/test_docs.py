"""The commands of the documentation, run as a reader runs them, in the order of the page."""

import re
import shlex
from pathlib import Path

import pytest

from tests.docs import PAGES, examples
from tests.e2e.earmark import earmark

pytestmark = pytest.mark.usefixtures("on_running_ray")

RUNNABLE = [page for page in PAGES if examples(page)]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_every_command_of_a_page_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thing that a newcomer tries would not work, or print something else."""
    monkeypatch.chdir(tmp_path)
    for example in examples(page):
        program, *arguments = shlex.split(example.command)
        assert program == "earmark"
        done = earmark(*arguments, timeout=1800, COLUMNS="200")
        assert done.returncode == 0, f"{example.command}\n{done.stderr}"
        assert re.fullmatch(example.pattern, done.stdout), f"{example.command}\n{done.stdout}"


def test_the_guide_is_among_them() -> None:
    """A page whose blocks are fenced in another way would not be run at all."""
    assert "guide.md" in [page.name for page in RUNNABLE]
