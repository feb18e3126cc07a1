"""The deployment files, as far as they can be checked without Docker, Kubernetes or AWS."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.commands import COMMANDS

ROOT = Path(__file__).resolve().parent.parent.parent
INFRA = ROOT / "infra"


def _load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((INFRA / name).read_text("utf-8")))


def _pinned(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(version)


def test_images_and_versions_agree() -> None:
    """Ray refuses to join nodes of different versions; an old image runs last month's code."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = f"example/earmark:{version}"
    assert _load("kuberay/base/rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == _pinned("ray")
    values = _load("kuberay/overlays/example/values.yaml")["spec"]
    assert (values["image"], values["gpuImage"]) == (image, f"{image}-gpu")
    launcher = _load("cluster.yaml")
    assert launcher["docker"]["image"] == image
    assert launcher["available_node_types"]["gpu"]["docker"]["worker_image"] == f"{image}-gpu"
    guide = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert f"ray[default]=={_pinned('ray')}" in guide
    readme = (INFRA / "README.md").read_text("utf-8")
    assert f"-t {image} ." in readme
    assert f"-t {image}-gpu --build-arg EXTRA=gpu" in readme


def test_every_pin_installs_on_the_oldest_python() -> None:
    """`make demo`, which a newcomer runs first, fails on Debian 12: its Python is 3.11.2."""
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    installed = {each.name.lower().replace("_", "-"): each for each in metadata.distributions()}
    oldest = f"{tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['requires-python'][2:]}.0"
    found = [(installed.get(name.lower().replace("_", "-")), version) for name, version in pins]
    tested = [each for each, version in found if each is not None and each.version == version]
    assert len(tested) > 100
    needed = {
        each.name: SpecifierSet(",".join(each.metadata.get_all("Requires-Python") or ())) for each in tested
    }
    assert not {name: str(versions) for name, versions in needed.items() if oldest not in versions}


def test_a_command_beside_the_runs_has_their_role_and_their_keys() -> None:
    """Elsewhere than on EKS, `earmark status` in a pod of its own finds no credentials."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    (command,) = re.findall(r"^kubectl -n earmark run [^`]*", page, re.MULTILINE)
    words = shlex.split(command)
    options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
    assert options["--override-type"] == "strategic", "another one replaces the container"
    spec = json.loads(options["--overrides"])["spec"]
    pod = yaml.safe_load_all((INFRA / "kuberay/base/cronjobs.yaml").read_text("utf-8"))
    compact = next(each for each in pod if each["metadata"]["name"] == "earmark-compact")
    its = compact["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["serviceAccountName"] == its["serviceAccountName"]
    assert container == {"name": words[words.index("run") + 1], "envFrom": its["containers"][0]["envFrom"]}


def _earmark_commands() -> list[str]:
    return re.findall(r"earmark run s3://[^'\n]*", (INFRA / "README.md").read_text("utf-8"))


@pytest.mark.parametrize("command", sorted(set(_earmark_commands())))
def test_the_command_line_accepts_the_commands(command: str) -> None:
    """Somebody copies a command that exits with 2."""
    _, name, *arguments = shlex.split(command)
    context = COMMANDS[name].make_context(name, arguments)
    assert context.params["catalog"] == "s3://bucket/music"
    with pytest.raises(Exception, match="no-such-option"):
        COMMANDS[name].make_context(name, [*arguments, "--no-such-option"])


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


def test_the_image_has_the_programs_that_ray_and_kubernetes_call() -> None:
    """`ray up` fails for want of rsync in the container, or the head starts no worker for want of ssh."""
    dockerfile = (INFRA / "Dockerfile").read_text().replace("\\\n", "")
    (packages,) = re.findall(r"apt-get install -y --no-install-recommends ([^&]*)", dockerfile)
    assert {"rsync", "openssh-client", "tmux", "wget"} <= set(packages.split())


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
    assert types["cpu"]["min_workers"] >= 1
    assert {node["node_config"]["ImageId"] for node in types.values()} == {"ami-0123456789abcdef0"}
    profiles = [types[name]["node_config"]["IamInstanceProfile"] for name in ("cpu", "gpu")]
    assert profiles[0] == profiles[1]
    assert not re.search(r"(?i)secret_access_key|password|AKIA", (INFRA / "cluster.yaml").read_text())


def test_a_run_on_the_head_uses_the_cluster() -> None:
    """`ray exec` names no cluster, so the run starts a Ray of its own on the head, and the workers idle."""
    config = _load("cluster.yaml")
    for node in config["available_node_types"].values():
        # As the autoscaler merges them.
        assert "--env RAY_ADDRESS=auto" in (config["docker"] | node.get("docker", {}))["run_options"]


def test_nodes_of_the_launcher_ask_for_a_token() -> None:
    """Whoever reaches a port of a node runs code on it, or the nodes look for the token where it is not."""
    config = _load("cluster.yaml")
    (folder,) = config["file_mounts"]
    home = re.search(r"^WORKDIR (/home/.*)$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
    assert home is not None
    assert folder.startswith(f"{home[1]}/")
    for node in config["available_node_types"].values():
        options = (config["docker"] | node.get("docker", {}))["run_options"]
        assert "--env RAY_AUTH_MODE=token" in options
        assert f"--env RAY_AUTH_TOKEN_PATH={folder}/auth_token" in options


def test_the_role_may_do_no_more_than_a_run_needs() -> None:
    """Somebody gives away the right to delete their music. (A test on S3 runs with just these rights.)"""
    statements = json.loads((INFRA / "aws" / "iam-policy.json").read_text())["Statement"]
    allowed = {(action, each["Resource"]) for each in statements for action in _as_list(each["Action"])}
    assert {each["Effect"] for each in statements} == {"Allow"}
    assert {action for action, resource in allowed if "/music/" in resource} == {"s3:GetObject"}
    assert not [pair for pair in allowed if pair[0].endswith("*") or pair[1] == "*"]
    written = {resource.rpartition(":")[2] for action, resource in allowed if action == "s3:PutObject"}
    assert written == {"bucket/tables/*", "bucket/labels/*"}, "tables, and what --publish writes"
    (listing,) = (each for each in statements if each["Action"] == "s3:ListBucket")
    assert listing["Condition"]["StringLikeIfExists"]["s3:prefix"] == [
        "music",
        "music/*",
        "tables",
        "tables/*",
        "labels",
        "labels/*",
    ]


def test_only_the_service_account_of_the_manifests_gets_the_role() -> None:
    """No pod gets credentials, or every pod of the cluster does."""
    (statement,) = json.loads((INFRA / "aws" / "trust-policy.json").read_text())["Statement"]
    namespace = _load("kuberay/overlays/example/kustomization.yaml")["namespace"]
    account = _load("kuberay/overlays/example/values.yaml")["spec"]["serviceAccount"]["name"]
    subject = statement["Condition"]["StringEquals"]["OIDC_PROVIDER:sub"]
    assert subject == f"system:serviceaccount:{namespace}:{account}"


def test_machines_may_take_the_role() -> None:
    """No worker of `ray up` gets the role, or somebody else does."""
    (statement,) = json.loads((INFRA / "aws" / "ec2-trust-policy.json").read_text())["Statement"]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert statement["Action"] == "sts:AssumeRole"


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
