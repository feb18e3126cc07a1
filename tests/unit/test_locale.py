"""Names of files in a locale whose encoding is not UTF-8."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("earmark")


@pytest.fixture(scope="module")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a process in such a locale."""
    folder = tmp_path_factory.mktemp("locale")
    name = "en_US.ISO-8859-1"
    if not Path("/usr/share/i18n/locales/en_US").exists():
        pytest.skip("no sources of locales here: apt-get install locales")
    subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / name], check=True)
    others = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return others | path | {"LOCPATH": str(folder), "LC_ALL": name}


@pytest.fixture
def music(tmp_path: Path) -> Path:
    (tmp_path / "Café").mkdir()
    (tmp_path / "Café" / "Élan.mp3").write_bytes(b"x")
    return tmp_path / "Café"


def test_the_command_decodes_names_as_utf8(latin1: Mapping[str, str], music: Path) -> None:
    """A run from cron with another locale takes every track with an accent for a new one."""
    done = subprocess.run(
        [COMMAND, "scan", "Élan.mp3"], env=latin1, cwd=music, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_notebook_is_told_to_use_utf8(latin1: Mapping[str, str], music: Path) -> None:
    """The ids of `earmark.label` would not be those of a run."""
    code = "from pipeline.catalogs.catalog import list_catalog; list_catalog('.')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=latin1, cwd=music, capture_output=True, text=True, check=False
    )
    assert "MisuseError: this Python decodes file names as iso8859-1, and '" in done.stderr
    assert "; set PYTHONUTF8=1 before Python starts" in done.stderr
