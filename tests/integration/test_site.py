"""The documentation as a site: that it builds, and asks nobody for anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import PAGES, ROOT


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """A broken link is published, or pages stay blank behind a firewall."""
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.html")}
    assert {page.with_suffix(".html").name for page in PAGES} <= set(pages)
    for html in pages.values():
        assert not re.search(
            r"<(?:script|img|iframe)[^>]+src=.?https?:|<link[^>]+stylesheet[^>]+https?:", html
        )
    assert "track_features" in pages["api.html"]
    readme = (tmp_path / "repository" / "index.html").read_text("utf-8")
    assert 'src="infra/pictures/run.png"' in readme
    assert (tmp_path / "repository" / "infra" / "pictures" / "run.png").is_file()
