"""The dashboard shows what the engine counts."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_panel_asks_for_metrics_that_the_engine_exports() -> None:
    """A renamed metric would leave an operator before empty panels. (Ray adds ``ray_`` and ``_total``.)"""
    dashboard = json.loads((ROOT / "infra" / "grafana" / "earmark.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    counted = set(re.findall(r'"(earmark_\w+)"', (ROOT / "jobs" / "engine" / "metrics.py").read_text()))
    found = {name for expression in asked for name in re.findall(r"\bray_(earmark_\w+)_total\b", expression)}
    assert found == counted
    stages = set(re.findall(r'stage="(\w+)"', " ".join(asked)))
    sources = "".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py"))
    assert stages <= set(re.findall(r'watch\.stage\("(\w+)"\)', sources))
