"""The deployment files, as far as they can be checked without Docker, Kubernetes or AWS."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from jobs.cli.main import app

ROOT = Path(__file__).resolve().parent.parent.parent
INFRA = ROOT / "infra"
MANIFESTS = sorted((INFRA / "kuberay").glob("*.yaml"))

# The fields of KubeRay's ray.io/v1 types that such manifests can use.
RAY_JOB = {
    "entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds",
    "backoffLimit", "rayClusterSpec", "submissionMode", "submitterPodTemplate", "submitterConfig",
}  # fmt: skip
RAY_CLUSTER = {
    "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "authOptions", "headGroupSpec",
    "workerGroupSpecs", "headServiceAnnotations", "gcsFaultToleranceOptions",
}  # fmt: skip
HEAD_GROUP = {"rayStartParams", "template", "serviceType", "headService", "enableIngress", "resources"}
WORKER_GROUP = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts",
    "idleTimeoutSeconds", "scaleStrategy", "suspend",
}  # fmt: skip


def _documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def _load(name: str) -> dict[str, Any]:
    (document,) = _documents(INFRA / name)
    return document


CLUSTER: dict[str, Any] = _load("kuberay/raycluster.yaml")["spec"]
RAYJOB: dict[str, Any] = _load("kuberay/rayjob.yaml")


def _groups() -> list[dict[str, Any]]:
    return [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]


def _pinned(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(version)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_document_says_what_it_is(path: Path) -> None:
    """`kubectl apply` refuses the file."""
    for document in _documents(path):
        assert document["apiVersion"]
        assert document["kind"]
        if document["kind"] != "Kustomization":
            assert document["metadata"].get("name") or document["metadata"].get("generateName")


def test_ray_manifests_have_only_fields_that_kuberay_knows() -> None:
    """KubeRay drops or refuses a mistyped field, and the cluster does not scale or is never taken down."""
    spec = RAYJOB["spec"]
    assert (RAYJOB["apiVersion"], RAYJOB["kind"]) == ("ray.io/v1", "RayJob")
    assert set(spec) <= RAY_JOB
    assert set(CLUSTER) <= RAY_CLUSTER
    assert set(CLUSTER["headGroupSpec"]) <= HEAD_GROUP
    assert spec["shutdownAfterJobFinishes"] is True
    assert CLUSTER["enableInTreeAutoscaling"] is True
    for group in CLUSTER["workerGroupSpecs"]:
        assert set(group) <= WORKER_GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_rayjob_runs_on_the_cluster_of_raycluster_yaml() -> None:
    """A size or a fix that was put into only one file is missing in the nightly run."""
    assert RAYJOB["spec"]["rayClusterSpec"] == CLUSTER


def test_workers_exist_before_a_run_counts_them() -> None:
    """A run that starts on a head without CPUs has no node to decode or label on."""
    cpu, gpu = CLUSTER["workerGroupSpecs"]
    assert cpu["minReplicas"] >= 1
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    limits = gpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert _load("cluster.yaml")["available_node_types"]["cpu"]["min_workers"] >= 1


def test_images_and_versions_agree() -> None:
    """Ray refuses to join nodes of different versions; an old image runs last month's code."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = f"example/earmark:{version}"
    assert CLUSTER["rayVersion"] == _pinned("ray")
    images = [group["template"]["spec"]["containers"][0]["image"] for group in _groups()]
    assert images == [image, image, f"{image}-gpu"]
    (nightly,) = _documents(INFRA / "kuberay/nightly.yaml")
    pod = nightly["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == image
    launcher = _load("cluster.yaml")
    assert launcher["docker"]["image"] == image
    assert launcher["available_node_types"]["gpu"]["docker"]["worker_image"] == f"{image}-gpu"
    readme = (INFRA / "README.md").read_text("utf-8")
    assert f"-t {image} ." in readme
    assert f"-t {image}-gpu --build-arg EXTRA=gpu" in readme


def test_service_accounts_and_their_rights() -> None:
    """Pods are not admitted, or the nightly pod may do more than create and read RayJobs."""
    documents = _documents(INFRA / "kuberay/service-accounts.yaml")
    accounts = {d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"}
    assert {group["template"]["spec"]["serviceAccountName"] for group in _groups()} == {"earmark"}
    (nightly,) = _documents(INFRA / "kuberay/nightly.yaml")
    pod = nightly["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert accounts == {"earmark", pod["serviceAccountName"]}
    (role,) = [d for d in documents if d["kind"] == "Role"]
    (binding,) = [d for d in documents if d["kind"] == "RoleBinding"]
    assert role["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [pod["serviceAccountName"]]


def test_nothing_runs_as_root_and_no_secret_is_written_down() -> None:
    """A key in a manifest ends up in a repository; a flaw in a decoder gives an attacker root."""
    for path in [*MANIFESTS, INFRA / "cluster.yaml"]:
        for document in _documents(path):
            assert document.get("kind") != "Secret"
            for key, value in _walk(document):
                assert not re.search(r"(?i)secret_access_key|password|auth_token", key), (path.name, key)
                assert not (isinstance(value, str) and re.search(r"\bAKIA[0-9A-Z]{16}\b", value)), path.name
    for group in _groups():
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert re.search(r"^USER 1000$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)


def test_the_nightly_run_is_alone_and_finds_its_files() -> None:
    """Two runs start at once, or a pod starts without its script."""
    (nightly,) = _documents(INFRA / "kuberay/nightly.yaml")
    spec = nightly["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] > RAYJOB["spec"]["activeDeadlineSeconds"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    (generator,) = _load("kuberay/kustomization.yaml")["configMapGenerator"]
    assert pod["volumes"][0]["configMap"]["name"] == generator["name"]
    mount = container["volumeMounts"][0]["mountPath"]
    assert container["command"] == ["python", f"{mount}/run_rayjob.py", f"{mount}/rayjob.yaml"]
    assert all((INFRA / "kuberay" / name).is_file() for name in generator["files"])
    assert [rule["onExitCodes"]["containerName"] for rule in job["podFailurePolicy"]["rules"]] == [
        container["name"]
    ]


def _earmark_commands() -> list[str]:
    texts = [RAYJOB["spec"]["entrypoint"], (INFRA / "README.md").read_text("utf-8")]
    return [command for text in texts for command in re.findall(r"earmark run s3://[^'\n]*", text)]


@pytest.mark.parametrize("command", sorted(set(_earmark_commands())))
def test_the_command_line_accepts_the_commands(command: str) -> None:
    """The nightly job exits with 2 every night."""
    assert len(_earmark_commands()) >= 4
    commands = get_command(app).commands
    _, name, *arguments = shlex.split(command)
    context = commands[name].make_context(name, arguments)
    assert context.params["catalog"] == "s3://bucket/music"
    with pytest.raises(Exception, match="no-such-option"):
        commands[name].make_context(name, [*arguments, "--no-such-option"])


def test_the_image_takes_what_the_package_needs() -> None:
    """`docker build` fails, or installs other versions than the tests ran with."""
    dockerfile = (INFRA / "Dockerfile").read_text()
    copied = {
        word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    allowed = set(re.findall(r"^!(\S+)$", (INFRA / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    needed = packages | {"pyproject.toml", "constraints.txt", project["project"]["readme"], "LICENSE"}
    assert copied == allowed == needed
    assert "--constraint constraints.txt" in dockerfile
    assert "gpu" in project["project"]["optional-dependencies"]


@pytest.mark.slow
def test_the_image_can_compile_the_kernels() -> None:
    """`docker build` fails on a module that has moved."""
    dockerfile = (INFRA / "Dockerfile").read_text().replace("\\\n", "")
    (code,) = re.findall(r'^RUN python -c "([^"]*)"$', dockerfile, re.MULTILINE)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_rays_launcher_accepts_cluster_yaml() -> None:
    """`ray up` refuses the file, or fills in defaults that install another Ray over the image's."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(_load("cluster.yaml"))
    validate_config(config)
    for commands in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert config[commands] == []
    types = config["available_node_types"]
    assert sum(node["max_workers"] for name, node in types.items() if name != "head") <= config["max_workers"]
    assert types["cpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
