"""The Kubernetes manifests, rendered by `kubectl kustomize` and checked against schemas."""

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from jobs.console.messages import UNCHECKED
from schemas.errors import LeaseHeldError
from tests.commands import COMMANDS
from tests.manifests import (
    EXAMPLE,
    KUBERAY,
    Object,
    copy_of_example,
    find,
    needs_kubectl,
    pod_templates,
    render,
    walk,
)
from tests.unit.custom_resources import SCHEMAS

pytestmark = needs_kubectl

OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.31", "1.37"
MAINTENANCE = ("earmark-compact", "earmark-vacuum", "earmark-verify")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """Everything that can be installed, with the values of the example."""
    return render(copy_of_example(tmp_path_factory.mktemp("all"), resources=("../../cluster",)))


def _cluster(objects: list[Object]) -> Object:
    return dict(find(objects, "RayJob")["spec"]["rayClusterSpec"])


def _pod(objects: list[Object], cron_job: str) -> Object:
    return dict(find(objects, "CronJob", cron_job)["spec"]["jobTemplate"]["spec"]["template"]["spec"])


def test_the_example_renders_as_it_is() -> None:
    """The first command of the guide fails."""
    kinds = {each["kind"] for each in render(EXAMPLE)}
    assert kinds == {
        *("ConfigMap", "CronJob", "NetworkPolicy", "RayJob", "Role", "RoleBinding", "ServiceAccount")
    }


def test_what_the_example_offers_in_comments_works(tmp_path: Path) -> None:
    """Somebody takes the comment signs away, and kustomize refuses the file."""
    file = copy_of_example(tmp_path) / "kustomization.yaml"
    text = (EXAMPLE / "kustomization.yaml").read_text("utf-8")
    file.write_text(re.sub(r"^( *)# (?=- |labels:|patches:|  )", r"\1", text, flags=re.MULTILINE))
    rendered = render(file.parent)
    assert {"RayCluster", "PodMonitor", "PrometheusRule"} <= {each["kind"] for each in rendered}
    assert {each["metadata"]["labels"]["release"] for each in rendered} == {"kube-prometheus-stack"}
    assert find(rendered, "NetworkPolicy")["spec"]["egress"][-1]["ports"] == [
        {"protocol": "TCP", "port": 9000}
    ]


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
def test_kubernetes_knows_every_field(objects: list[Object], version: str) -> None:
    """The API server refuses an object, or drops a mistyped field and what it was to do."""
    templates = [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        for _, template in pod_templates(objects)
    ]
    for each in [*(each for each in objects if each["kind"] not in SCHEMAS), *templates]:
        kubernetes_validate.validate(each, version, strict=True)


def test_kuberay_knows_every_field(objects: list[Object]) -> None:
    """KubeRay drops or refuses a mistyped field, and the cluster does not scale or is never taken down."""
    custom = [each for each in objects if each["kind"] in SCHEMAS]
    assert {each["kind"] for each in custom} >= {"RayCluster", "RayJob"}
    for each in custom:
        jsonschema.validate(each, SCHEMAS[each["kind"]])


def test_rays_autoscaler_reads_the_cluster(objects: list[Object]) -> None:
    """The autoscaler on the head ends with an error, or takes a worker for another size than it has."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    types = _derive_autoscaling_config_from_ray_cr(find(objects, "RayCluster"))["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert (types["cpu"]["resources"]["CPU"], types["cpu"]["resources"]["memory"]) == (7, 21 << 30)
    assert (types["cpu"]["min_workers"], types["cpu"]["max_workers"]) == (1, 20)
    assert (types["gpu"]["resources"]["GPU"], types["gpu"]["max_workers"]) == (1, 0)


def test_the_permanent_cluster_is_that_of_the_nightly_run(objects: list[Object]) -> None:
    """A size or a fix that reached only one of them is missing in the other."""
    assert find(objects, "RayCluster")["spec"] == _cluster(objects)


def test_every_value_reaches_the_manifests(tmp_path: Path) -> None:
    """Somebody edits values.yaml, and the cluster runs on with what stood in the base."""
    numbers = iter(range(1001, 2000))

    def changed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: changed(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner) for inner in value]
        if key in ("operator", "effect"):
            return value
        return next(numbers) if isinstance(value, int) else f"value-{next(numbers)}"

    values = changed(yaml.safe_load((EXAMPLE / "values.yaml").read_text("utf-8"))["spec"])
    rendered = render(copy_of_example(tmp_path, resources=("../../cluster",), values=values))
    found = {str(value) for each in rendered for _, value in walk(each)}
    found.update(shlex.split(find(rendered, "RayJob")["spec"]["entrypoint"]))
    wanted = {str(value) for _, value in walk(values) if not isinstance(value, dict | list)}
    assert len(wanted) > 30
    assert wanted <= found
    assert not [text for text in found if re.search(r"\b(CATALOG|TABLES|OPTIONS|IMAGE)\b", text)]
    assert find(rendered, "RayCluster")["spec"] == _cluster(rendered)


def test_a_catalog_may_have_spaces_in_its_name(tmp_path: Path) -> None:
    """The second word of the catalog is replaced by the tables, and each night exits with 2."""
    values = yaml.safe_load((EXAMPLE / "values.yaml").read_text("utf-8"))["spec"]
    values |= {
        "catalog": "s3://bucket/my music",
        "tables": "s3://bucket/my tables",
        "options": "--model 'a b'",
    }
    rendered = render(copy_of_example(tmp_path, values=values))
    run, *maintenance = _commands(rendered)
    assert run == ["earmark", "run", "--model", "a b", "s3://bucket/my music", "s3://bucket/my tables"]
    assert {words[2] for words in maintenance} == {"s3://bucket/my tables"}


def test_workers_exist_before_a_run_counts_them(objects: list[Object]) -> None:
    """A run that starts on a head without CPUs has no node to decode or label on."""
    cpu, gpu = _cluster(objects)["workerGroupSpecs"]
    assert cpu["minReplicas"] >= 1
    for group in (cpu, gpu):
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert _cluster(objects)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_template_starts_nothing_by_itself(objects: list[Object]) -> None:
    """`kubectl apply` starts a run by day, or the cluster of a night is never taken down."""
    spec = find(objects, "RayJob")["spec"]
    assert spec["suspend"] is True
    assert spec["shutdownAfterJobFinishes"] is True


def test_a_failed_run_is_not_repeated(objects: list[Object]) -> None:
    """KubeRay builds two more clusters for a wrong option, or decodes for hours what has just failed."""
    assert find(objects, "RayJob")["spec"]["backoffLimit"] == 0


def test_the_nightly_run_is_alone_and_finds_its_files(objects: list[Object]) -> None:
    """Two runs start at once, or a pod starts without its script or its template."""
    spec = find(objects, "CronJob", "earmark-nightly")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] > find(objects, "RayJob")["spec"]["activeDeadlineSeconds"]
    pod = _pod(objects, "earmark-nightly")
    (container,) = pod["containers"]
    script = find(objects, "ConfigMap", pod["volumes"][0]["configMap"]["name"])["data"]
    mount = container["volumeMounts"][0]["mountPath"]
    python, file, template = container["command"]
    assert (python, file) == ("python", f"{mount}/run_rayjob.py")
    assert script["run_rayjob.py"] == (KUBERAY / "base" / "run_rayjob.py").read_text("utf-8")
    assert template == find(objects, "RayJob")["metadata"]["name"]
    drained, failed = job["podFailurePolicy"]["rules"]
    assert (drained["action"], failed["onExitCodes"]["containerName"]) == ("Ignore", container["name"])


def test_service_accounts_and_their_rights(objects: list[Object]) -> None:
    """Pods are not admitted, or the nightly pod may do more than create and read RayJobs."""
    accounts = {each["metadata"]["name"] for each in objects if each["kind"] == "ServiceAccount"}
    used = {name: template["spec"]["serviceAccountName"] for name, template in pod_templates(objects)}
    assert used.pop("CronJob earmark-nightly") == "earmark-nightly"
    assert set(used.values()) == {"earmark"}
    assert accounts == {"earmark", "earmark-nightly"}
    role, binding = find(objects, "Role"), find(objects, "RoleBinding")
    assert role["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["earmark-nightly"]


def test_what_decodes_cannot_speak_to_kubernetes(objects: list[Object]) -> None:
    """A hijacked decoder changes the RayCluster, and has a privileged pod started."""
    with_token = {
        name
        for name, template in pod_templates(objects)
        if template["spec"].get("automountServiceAccountToken", True)
    }
    # Ray's autoscaler, and the pod that creates RayJobs.
    assert with_token == {
        "RayJob earmark-template head",
        "RayCluster earmark head",
        "CronJob earmark-nightly",
    }


def test_nobody_tidies_up_the_driver(objects: list[Object]) -> None:
    """Karpenter consolidates nodes at night, and with one of them the run is gone."""
    templates = dict(pod_templates(objects))
    for name in (
        "RayJob earmark-template head",
        "RayJob earmark-template submitter",
        "CronJob earmark-nightly",
    ):
        assert templates[name]["metadata"]["annotations"] == {
            "karpenter.sh/do-not-disrupt": "true",
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        }


def test_the_pod_that_submits_goes_where_the_head_may_go(objects: list[Object]) -> None:
    """Every node is tainted, or the registry is private: the cluster waits all night for its run."""
    spec = find(objects, "RayJob")["spec"]
    submitter, head = (
        spec["submitterPodTemplate"]["spec"],
        spec["rayClusterSpec"]["headGroupSpec"]["template"],
    )
    for key in ("nodeSelector", "tolerations", "serviceAccountName"):
        assert submitter[key] == head["spec"][key]
    assert submitter["containers"][0]["image"] == head["spec"]["containers"][0]["image"]
    assert "command" not in submitter["containers"][0], "KubeRay would not add its own"
    accounts = [each for each in objects if each["kind"] == "ServiceAccount"]
    assert [each["imagePullSecrets"] for each in accounts] == 2 * [[{"name": "earmark-registry"}]]


def test_a_run_ends_itself_before_it_is_killed(objects: list[Object]) -> None:
    """The report of a long night stays "running" for ever, and nobody is told."""
    spec = find(objects, "RayJob")["spec"]
    program, foreground, status, hours = shlex.split(spec["entrypoint"])[:4]
    assert (program, foreground, status) == ("timeout", "--foreground", "--preserve-status")
    assert int(hours.removesuffix("h")) * 3600 < spec["activeDeadlineSeconds"]


def test_the_network_policy_covers_every_pod(objects: list[Object]) -> None:
    """A hijacked decoder reaches the rest of the cluster, or Ray's nodes do not reach each other."""
    policy = find(objects, "NetworkPolicy")["spec"]
    chosen = policy["podSelector"]["matchLabels"].items()
    for name, template in pod_templates(objects):
        assert chosen <= template["metadata"]["labels"].items(), name
    assert policy["ingress"][0] == {"from": [{"podSelector": {}}]}
    assert policy["egress"][0] == {"to": [{"podSelector": {}}]}
    ports = {port["port"] for rule in policy["ingress"][1:] for port in rule["ports"]}
    head = _cluster(objects)["headGroupSpec"]["template"]["spec"]["containers"][0]
    named = {port["name"]: port["containerPort"] for port in head["ports"]}
    assert ports == {named["dashboard"], named["metrics"]}


def test_nothing_runs_as_root_and_no_secret_is_written_down(objects: list[Object]) -> None:
    """A key in a manifest ends up in a repository; a flaw in a decoder gives an attacker root."""
    for name, template in pod_templates(objects):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True, name
    for each in objects:
        assert each["kind"] != "Secret"
        for key, value in walk(each):
            assert not re.search(r"(?i)secret_access_key|password|auth_token", key), key
            assert not (isinstance(value, str) and re.search(r"\bAKIA[0-9A-Z]{16}\b", value)), key


def test_nothing_can_gain_rights(objects: list[Object]) -> None:
    """A hijacked decoder becomes root by a flaw of a setuid program in the image, or attacks the kernel."""
    contained = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for name, template in pod_templates(objects):
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in template["spec"]["containers"]:
            assert container["securityContext"] == contained, name
    # KubeRay adds this container to the head.
    assert _cluster(objects)["autoscalerOptions"]["securityContext"] == contained


def _commands(objects: list[Object]) -> list[list[str]]:
    words = shlex.split(find(objects, "RayJob")["spec"]["entrypoint"])
    found = [words[words.index("earmark") :]]
    for name in MAINTENANCE:
        (container,) = _pod(objects, name)["containers"]
        found.append(["earmark", *container["args"]])
    return found


def test_the_command_line_accepts_the_commands(objects: list[Object]) -> None:
    """The nightly job, or the weekly one, exits with 2 each time."""
    assert [words[1] for words in _commands(objects)] == ["run", "compact", "vacuum", "verify"]
    for _, name, *arguments in _commands(objects):
        context = COMMANDS[name].make_context(name, list(arguments))
        assert context.params["tables"] == "s3://bucket/tables"
        if name == "verify":
            assert context.params["catalog"] is None, "music that arrived since the night would be a finding"
        with pytest.raises(Exception, match="no-such-option"):
            COMMANDS[name].make_context(name, [*arguments, "--no-such-option"])


@pytest.mark.parametrize(
    ("name", "retried"), [("earmark-compact", [5]), ("earmark-vacuum", [5]), ("earmark-verify", [4, 5])]
)
def test_maintenance_is_repeated_only_where_that_helps(
    objects: list[Object], name: str, retried: list[int]
) -> None:
    """compact is refused while the run of a long night holds the lease, and then left out for a week; or a
    wrong option is tried for eight hours before anybody hears of it."""
    assert set(retried) <= {LeaseHeldError.exit_code, UNCHECKED}
    job = find(objects, "CronJob", name)["spec"]["jobTemplate"]["spec"]
    disruption, failure = job["podFailurePolicy"]["rules"]
    assert disruption == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert failure["action"] == "FailJob"
    (container,) = job["template"]["spec"]["containers"]
    assert failure["onExitCodes"] == {
        "containerName": container["name"], "operator": "NotIn", "values": retried,
    }  # fmt: skip
    # The pauses between pods grow to 6 minutes or more: the deadline ends the wait.
    assert job["backoffLimit"] * 360 > job["activeDeadlineSeconds"]
