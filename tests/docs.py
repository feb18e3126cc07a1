"""The commands of the documentation: what its fenced blocks say, and what they print."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Example:
    """A command and the lines that the page says it prints; `ELLIPSIS` stands for any text or lines."""

    command: str
    printed: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """What the command must print, as a regular expression."""
        lines = [
            "(?:.*\n)*?" if line == ELLIPSIS else ".*".join(map(re.escape, line.split(ELLIPSIS))) + " *\n"
            for line in self.printed
        ]
        # Columns are as wide as their widest value.
        return re.sub(r"(?:\\ )+", r"\\s+", "".join(lines))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[Example]:
    """The commands of the ``console`` blocks, in their order."""
    found: list[Example] = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = part.splitlines()
            found.append(Example(command, tuple(printed)))
    return found
