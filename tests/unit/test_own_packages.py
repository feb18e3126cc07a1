"""The command says what is in its way, where Python finds a user's own packages in place of Earmark's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.encoders import encode, sweep

COMMAND = Path(sys.executable).with_name("earmark")
CHECKOUT = Path(__file__).resolve().parent.parent.parent


def version(*python_path: Path) -> subprocess.CompletedProcess[str]:
    """Ask for the version with folders first on the path, as a job's working_dir is."""
    return subprocess.run(
        [COMMAND, "--version"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, python_path))},
    )


@pytest.mark.parametrize(
    ("name", "package"),
    [("jobs.py", "jobs"), ("pipeline/__init__.py", "pipeline"), ("schemas/notes.txt", "schemas")],
)
def test_what_hides_a_package_is_named(tmp_path: Path, name: str, package: str) -> None:
    """Fails: `ray job submit --working-dir .` beside a jobs.py ends in a traceback."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    done = version(tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("earmark: error: the fi" if name == "jobs.py" else "earmark: error: the fo")
    assert f"{tmp_path / name.partition('/')[0]} hides Earmark's own package '{package}'" in done.stderr


def test_a_checkout_that_is_not_installed_has_an_unknown_version(tmp_path: Path) -> None:
    """An evaluation or a publication ends in an internal error after all of its work."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as metadata\n\nknown = metadata.version\n\n\n"
        "def version(name):\n    if name == 'earmark':\n        raise metadata.PackageNotFoundError(name)\n"
        "    return known(name)\n\n\nmetadata.version = version\n"
    )
    done = version(tmp_path, CHECKOUT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "earmark unknown\n", "")


def test_other_modules_on_the_path_are_nobodys_business(tmp_path: Path) -> None:
    """A folder of scripts on PYTHONPATH is no reason to refuse."""
    (tmp_path / "label.py").write_text("")
    done = version(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random.py", "numpy/__init__.py", "ray.py"])
def test_what_hides_a_module_is_named(tmp_path: Path, name: str) -> None:
    """A random.py of a user's own ends the command in a traceback, or with the advice to report it."""
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("")
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "a.wav").write_bytes(encode(sweep(22050, 2), 22050, "wav"))
    done = subprocess.run(
        [COMMAND, "run", tmp_path / "catalog", tmp_path / "tables"],
        capture_output=True,
        text=True,
        # It comes to no cluster, and is not to look for the one that unit tests are kept from.
        env=os.environ | {"PYTHONPATH": str(tmp_path / "mine"), "RAY_ADDRESS": ""},
    )
    assert done.returncode == 1
    assert (
        f"earmark: error: {mine} hides the module '{Path(name).parts[0].removesuffix('.py')}'" in done.stderr
    )
    assert "Traceback" not in done.stderr
