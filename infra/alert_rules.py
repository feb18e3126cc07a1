"""Write the alerts for a Prometheus without the operator: `python -m infra.alert_rules`."""

from pathlib import Path

_INFRA = Path(__file__).resolve().parent
SOURCE = _INFRA / "kuberay" / "monitoring" / "prometheusrule.yaml"
TARGET = _INFRA / "prometheus" / "earmark.rules.yaml"
_HEADER = "# Made from ../kuberay/monitoring/prometheusrule.yaml by `python -m infra.alert_rules`.\n"


def plain_rules() -> str:
    """Return the ``spec`` of the PrometheusRule, which is a file of rules, with its comments."""
    _, spec = SOURCE.read_text("utf-8").split("\nspec:\n")
    return _HEADER + "".join(f"{line.removeprefix('  ')}\n" for line in spec.splitlines())


if __name__ == "__main__":
    TARGET.write_text(plain_rules(), "utf-8")
