"""The Kubernetes manifests as `kubectl kustomize` renders them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERAY = Path(__file__).resolve().parent.parent / "infra" / "kuberay"
EXAMPLE = KUBERAY / "overlays" / "example"

Object = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is missing, which renders the manifests"
)


def render(overlay: Path) -> list[Object]:
    """The objects that `kubectl apply -k` would send."""
    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def copy_of_example(folder: Path, *, resources: tuple[str, ...] = (), values: Object | None = None) -> Path:
    """An overlay as a user makes it: the example, with more resources and other values."""
    shutil.copytree(KUBERAY, folder / "kuberay")
    overlay = folder / "kuberay" / "overlays" / "mine"
    shutil.copytree(EXAMPLE, overlay)
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text("utf-8"))
    kustomization["resources"] += resources
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    if values is not None:
        document = yaml.safe_load((overlay / "values.yaml").read_text("utf-8")) | {"spec": values}
        (overlay / "values.yaml").write_text(yaml.safe_dump(document), "utf-8")
    return overlay


def find(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind, and of a name if there are several."""
    (found,) = (each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod template, with a name for it."""
    for each in objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "CronJob":
            yield name, each["spec"]["jobTemplate"]["spec"]["template"]
        elif each["kind"] in ("RayJob", "RayCluster"):
            if "submitterPodTemplate" in each["spec"]:
                yield f"{name} submitter", each["spec"]["submitterPodTemplate"]
            cluster = each["spec"].get("rayClusterSpec", each["spec"])
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                yield f"{name} {group.get('groupName', 'head')}", group["template"]


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a document with its value, however deep; "" for the items of a list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield "", inner
            yield from walk(inner)
