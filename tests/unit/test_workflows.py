"""The workflows for GitHub, as far as they can be checked without it."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = {
    "actions/checkout@v4",
    "actions/setup-python@v5",
    "actions/upload-artifact@v4",
    "actions/download-artifact@v4",
    "docker/setup-buildx-action@v3",
    "docker/login-action@v3",
    "docker/metadata-action@v5",
    "docker/build-push-action@v6",
    "pypa/gh-action-pypi-publish@release/v1",
}
"""Everybody's code that runs with our rights."""


def _load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text("utf-8"))
    loaded["on"] = loaded.pop(True)  # YAML 1.1 reads the word so
    return dict(loaded)


def _steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_a_known_form_and_no_more_rights_than_it_needs(path: Path) -> None:
    """A pull request from a stranger publishes a release, or a job that hangs takes six hours each time."""
    workflow = _load(path)
    assert workflow.keys() <= {"name", "on", "permissions", "concurrency", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow["on"]
    for name, job in workflow["jobs"].items():
        if "uses" in job:
            assert job.keys() == {"uses"}
            assert job["uses"] == "./.github/workflows/ci.yml"
            continue
        assert 0 < job["timeout-minutes"] <= 60, name
        assert set(job.get("needs", "").split()) <= workflow["jobs"].keys()
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if "uses" in step:
                assert step["uses"] in PINNED
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
    text = path.read_text("utf-8")
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
    # What somebody else may choose, such as the name of a branch, must not become part of a script.
    assert not [step for step in _steps(workflow) if "${{" in step.get("run", "")]


def test_only_the_release_may_publish_and_each_job_only_in_one_place() -> None:
    """The job that builds the package, with whatever it downloads, could also push images."""
    rights = {
        (path.stem, name): job["permissions"]
        for path in WORKFLOWS
        for name, job in _load(path)["jobs"].items()
        if "permissions" in job
    }
    assert rights == {
        ("release", "pypi"): {"id-token": "write"},
        ("release", "image"): {"contents": "read", "packages": "write"},
    }
    release = _load(ROOT / ".github/workflows/release.yml")
    assert release["on"] == {"push": {"tags": ["v*"]}}
    # Nothing is released of which the tests fail.
    needs = {name: job.get("needs") for name, job in release["jobs"].items()}
    assert needs == {"test": None, "package": "test", "pypi": "package", "image": "package"}


def test_what_is_run_exists() -> None:
    """Every change is red, or a version of Python that we promise is never tested."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    workflow = _load(ROOT / ".github/workflows/ci.yml")
    made = [re.findall(r"^make (\w+)", step["run"]) for step in _steps(workflow) if "run" in step]
    called = {name for names in made for name in names}
    assert {"lint", "test", "docs"} <= called <= targets
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
    image = _load(ROOT / ".github/workflows/release.yml")["jobs"]["image"]
    extras = {extra for each in image["strategy"]["matrix"]["include"] for extra in each["extra"].split(",")}
    assert extras <= project["optional-dependencies"].keys()
    (build,) = (step for step in image["steps"] if "build-push" in step.get("uses", ""))
    assert (ROOT / build["with"]["file"]).exists()
