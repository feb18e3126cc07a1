"""MkDocs hook: add pages of the repository to the site, under ``repository/``."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "repository/"
PAGES = (
    *("README.md", "CONTRIBUTING.md", "infra/README.md", "infra/distill/README.md"),
    *("pipeline/pretrained/default/README.md", "pipeline/pretrained/gtzan/README.md"),
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and their pictures."""
    for name in (*PAGES, *(str(path.relative_to(ROOT)) for path in (ROOT / "infra/pictures").glob("*.png"))):
        files.append(File.generated(config, PREFIX + name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Lead links, which are right in the repository, to where their pages are on the site.

    Those to files that are not on the site (folders, code) become plain text.
    """
    source = page.file.src_uri
    is_added = source.startswith(PREFIX)
    folder = (ROOT / source.removeprefix(PREFIX)).parent if is_added else ROOT / "docs"

    def resolve(link: re.Match[str]) -> str:
        target, _, anchor = link[2].partition("#")
        if not target or "://" in target or not (is_added or target.startswith("../")):
            return link[0]
        path = (folder / target).resolve()
        path = path / "README.md" if path.is_dir() else path
        if path.is_relative_to(ROOT / "docs"):
            on_site = path.relative_to(ROOT / "docs")
        else:
            on_site = PREFIX / path.relative_to(ROOT)
        is_on_site = files.get_file_from_path(str(on_site))
        place = f"{'../' * source.count('/')}{on_site}{anchor and f'#{anchor}'}"
        return f"[{link[1]}]({place})" if is_on_site else link[1]

    return re.sub(r"\[([^\]\[]*)\]\(([^)\s]+)\)", resolve, markdown)
