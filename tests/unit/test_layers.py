"""The layer rules: what keeps workers light, the command line quick and the pipeline usable without Ray."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LAYERS = ("schemas", "pipeline", "jobs", "earmark")
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
IMPORT_ORDER = (
    "schemas",
    "pipeline",
    "pipeline.storage",
    "pipeline.audio",
    "pipeline.audio.decode",
    "pipeline.audio.tags",
    "pipeline.audio.features",
    "pipeline.demo",
    "pipeline.models",
    "pipeline.pretrained",
    "pipeline.tables",
    "pipeline.tables.maintenance.compact",
    "pipeline.tables.maintenance.purge",
    "pipeline.tables.maintenance.verify",
    "pipeline.tables.maintenance",
    "pipeline.catalogs",
    "pipeline.shards",
    "pipeline.estimate",
    "pipeline.training",
    "pipeline.training.data",
    "pipeline.evaluation",
    "pipeline.publish",
    "pipeline.trends",
    "pipeline.plots",
    "pipeline.pages",
    "jobs.console",
    "jobs.engine",
    "jobs.run",
    "jobs.training",
    "jobs.evaluation",
    "jobs",
    "jobs.cli.summaries",
    "jobs.cli.commands",
    "jobs.cli",
    "earmark",
)
"""All folders, each of which imports only from those above it."""
NAMED = {"sklearn": "scikit-learn"}
"""Packages whose modules have another name."""
BROUGHT = {
    "annotated_types": "pydantic",
    "keras": "tensorflow",
    "botocore": "s3fs",
    "markupsafe": "jinja2",
}
"""What a package that is installed always brings, as a part of its own interface."""
OPTIONAL = {"deltalake"}
"""Packages of an extra, imported only by functions, after a check that says how to install them."""
HEAVY = ("ray", "tensorflow", "keras", "librosa", "sklearn", "matplotlib", "plotly", "numba")


def _imports(tree: ast.AST) -> Iterator[str]:
    """Names of all modules imported anywhere in a tree, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def _imports_on_load(tree: ast.AST) -> Iterator[str]:
    """Names of the modules imported when the module itself is, type checking left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)
        else:
            yield from _imports_on_load(node)


def _tops(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    """A notebook that uses the pipeline would need Ray; a change of a job would move the tables' meaning."""
    layer = path.relative_to(ROOT).parts[0]
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    tops = _tops(_imports(_parse(path)))
    assert not tops & above
    assert not tops & {"tests", "infra"}
    if layer != "jobs":
        assert "ray" not in tops


def _folder_of(name: str) -> str:
    """Return the folder of a module; the folder of a package is the package itself."""
    folder = name if (ROOT / name.replace(".", "/")).is_dir() else name.rpartition(".")[0]
    assert folder in IMPORT_ORDER, f"{folder} is not in IMPORT_ORDER"
    return folder


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_folder_imports_from_one_that_is_built_on_it(path: Path) -> None:
    """Two folders in a circle are one: neither can be read, tested or replaced by itself."""
    own = ".".join(path.relative_to(ROOT).parts[:-1])
    names = (name for name in _imports(_parse(path)) if name.partition(".")[0] in LAYERS)
    above = {name for name in names if IMPORT_ORDER.index(_folder_of(name)) > IMPORT_ORDER.index(own)}
    assert not above, f"{own} stands above {above} in IMPORT_ORDER"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tensorflow_waits_until_it_is_needed(path: Path) -> None:
    """Each featurize worker would pay 4 s and 800 MB for a network that it never runs."""
    assert not _tops(_imports_on_load(_parse(path))) & {"tensorflow", "keras"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_installed_with_earmark(path: Path) -> None:
    """What only the extra for tests installs, as librosa, is missing where the wheel is used."""
    assert not _tops(_imports_on_load(_parse(path))) & OPTIONAL
    foreign = _tops(_imports(_parse(path))) - {*LAYERS, *sys.stdlib_module_names} - OPTIONAL
    assert {NAMED.get(top, top) for top in foreign} <= _declared() | set(BROUGHT)


@cache
def _declared() -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["dependencies"]
    return {named[0] for each in declared if (named := re.match(r"[\w-]+", each))}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrow_reads_no_memory_of_pythons(path: Path) -> None:
    """A damaged file ends the command with a sentence, and then, one time in some, with exit 134: where
    a thread of Arrow's lets go of a Python object while the interpreter ends."""
    calls = [node for node in ast.walk(_parse(path)) if isinstance(node, ast.Call)]
    source = "arrow_buffer"
    readers = ("BufferReader", "py_buffer") if path.stem != "arrow_buffers" else ()
    for call in calls:
        called = ast.unparse(call.func).rpartition(".")[2]
        assert called not in readers, f"use {source}: {ast.unparse(call)}"
        if called in ("read_csv", "read_table", "ParquetFile") and call.args:
            assert "BytesIO" not in ast.unparse(call.args[0]), f"use {source}: {ast.unparse(call)}"


def test_the_rules_see_imports_wherever_they_stand() -> None:
    """The tests above would pass on anything."""
    tree = ast.parse(
        "try:\n  import keras.ops\nexcept E: pass\nclass A:\n  def f(self):\n    from ray import get\n"
    )
    assert _tops(_imports(tree)) == {"keras", "ray"}
    assert _tops(_imports_on_load(tree)) == {"keras"}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("jobs.cli.main", (*HEAVY, "pandas", "pyarrow")),
        ("earmark", (*HEAVY, "numpy", "pandas", "pyarrow", "pydantic", "jobs", "importlib.metadata")),
        # What a featurize worker loads before it has seen a track.
        (
            "pipeline.audio.features.featurize",
            ("ray", "tensorflow", "keras", "librosa", "sklearn", "matplotlib", "plotly"),
        ),
        (
            "pipeline.shards.featurize_shard",
            ("ray", "tensorflow", "keras", "librosa", "sklearn", "matplotlib", "plotly", "scipy.signal"),
        ),
    ],
)
def test_a_fresh_process_loads_nothing_heavy(module: str, unwanted: tuple[str, ...]) -> None:
    """`earmark --help` and a night with nothing to do would take many seconds."""
    code = f"import sys, {module}; print(*sorted(set({unwanted!r}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []
