"""The dashboard and the alerts ask for what a run exports."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra import alert_rules
from jobs.engine.metrics import METRICS, STATES, error_types
from tests.manifests import copy_of_example, find, needs_kubectl, pod_templates, render
from tests.unit.custom_resources import SCHEMAS

ROOT = Path(__file__).resolve().parents[2]
EXPORTED = {metric.exported: metric for metric in METRICS}
# Of Ray itself and of kube-state-metrics.
OTHERS = {
    "ray_node_mem_used", "ray_node_mem_total", "kube_cronjob_status_last_successful_time",
    "kube_cronjob_created", "kube_job_failed", "kube_job_status_active",
    "kube_job_status_start_time",
}  # fmt: skip
RULES: list[dict[str, Any]] = yaml.safe_load(alert_rules.SOURCE.read_text("utf-8"))["spec"]["groups"][0][
    "rules"
]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing (Debian's package prometheus)"
)


def _panels() -> list[dict[str, Any]]:
    return list(json.loads((ROOT / "infra" / "grafana" / "earmark.json").read_text())["panels"])


def _expressions() -> list[str]:
    asked = [target["expr"] for panel in _panels() for target in panel["targets"]]
    return asked + [rule["expr"] for rule in RULES]


@pytest.mark.parametrize("expression", _expressions())
def test_only_what_is_exported_is_asked_for(expression: str) -> None:
    """A renamed metric or label would leave an operator before empty panels, and an alert silent for ever."""
    names = set(re.findall(r"\b(?:ray|kube)_\w+", expression))
    assert names
    assert names <= EXPORTED.keys() | OTHERS
    for name, chosen in re.findall(r"\b(ray_earmark_\w+)\{([^}]*)\}", expression):
        for label, values in re.findall(r'(\w+)!?=~?"([^"]*)"', chosen):
            assert label in EXPORTED[name].labels
            known = {"featurized", "labeled", "failed", *STATES, *error_types(), *_stages()}
            assert set(values.split("|")) <= known


def _stages() -> set[str]:
    sources = "".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py"))
    return set(re.findall(r'watch\.stage\("(\w+)"\)', sources))


def test_every_metric_is_on_the_dashboard() -> None:
    """Somebody adds a metric that nobody ever sees."""
    asked = " ".join(target["expr"] for panel in _panels() for target in panel["targets"])
    assert set(re.findall(r"\bray_earmark_\w+", asked)) == EXPORTED.keys()


def test_panels_do_not_cover_each_other() -> None:
    """Half of the dashboard lies below the other half."""
    taken: set[tuple[int, int]] = set()
    for panel in _panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in _panels()}) == len(_panels())


def test_the_plain_rules_are_those_of_the_operator() -> None:
    """A Prometheus without the operator has last year's alerts; `python -m infra.alert_rules` mends it."""
    assert alert_rules.plain_rules() == alert_rules.TARGET.read_text("utf-8")
    assert yaml.safe_load(alert_rules.plain_rules())["groups"][0]["rules"] == RULES


def test_every_alert_is_explained() -> None:
    """Somebody is woken by a word that no page explains."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert re.findall(r"^\| `(Earmark\w+)` \|", page, re.MULTILINE) == [rule["alert"] for rule in RULES]


@needs_kubectl
def test_prometheus_finds_the_pods_and_the_rules(tmp_path: Path) -> None:
    """The operator refuses an object, or no pod has the labels and the port that it looks for."""
    objects = render(copy_of_example(tmp_path, resources=("../../cluster", "../../monitoring")))
    for kind in ("PodMonitor", "PrometheusRule"):
        jsonschema.validate(find(objects, kind), SCHEMAS[kind])
    spec = find(objects, "PodMonitor")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    labels = dict(spec["selector"]["matchLabels"])
    assert labels.pop("ray.io/is-ray-node") == "yes", "KubeRay sets it"
    for name, template in pod_templates(objects):
        if name.startswith("Ray") and not name.endswith(" submitter"):
            assert labels.items() <= template["metadata"]["labels"].items()
            ports = template["spec"]["containers"][0]["ports"]
            assert endpoint["port"] in {port["name"] for port in ports}, name


@pytest.mark.slow
@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [["check", "rules", "infra/prometheus/earmark.rules.yaml"], ["test", "rules", "tests/alerts.yaml"]],
)
def test_the_alerts_come_and_go_as_they_should(arguments: list[str]) -> None:
    """An alert wakes somebody for nothing every night, or sleeps through the night that mattered."""
    done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
