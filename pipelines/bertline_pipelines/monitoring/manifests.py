"""The manifests that follow from other files: the dashboard from the panels, two kinds of rules from one.

python -m bertline_pipelines.monitoring.manifests      writes them (`make dashboards`)
"""

from pathlib import Path
from typing import Any

import yaml

from bertline_pipelines.monitoring import grafana

FOLDER = Path(__file__).parents[3] / "manifests" / "components" / "monitoring"
RULES = "plain/rules.yaml"
"""The source of the rules."""
NOTE = f"# From ../{RULES}, which has the reasons: `make dashboards` wrote this.\n"
PART_OF = {"app.kubernetes.io/part-of": "bertline"}
RELEASE = {"release": "kube-prometheus-stack"}
"""What that chart's Prometheus selects rules by."""


def texts() -> dict[str, str]:
    """Path in `manifests/components/monitoring` → what belongs there."""
    groups = yaml.safe_load((FOLDER / RULES).read_text(encoding="utf-8"))["groups"]
    return {
        "dashboard/bertline.json": grafana.text(),
        "operator/rules.yaml": _rules("monitoring.coreos.com/v1", "PrometheusRule", PART_OF | RELEASE, groups),
        "gke/rules.yaml": _rules("monitoring.googleapis.com/v1", "Rules", PART_OF, groups),
    }


def write() -> None:
    """All of them."""
    for path, text in texts().items():
        (FOLDER / path).write_text(text, encoding="utf-8")


def _rules(version: str, kind: str, labels: dict[str, str], groups: list[dict[str, Any]]) -> str:
    document = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "bertline", "labels": labels},
        "spec": {"groups": groups},
    }
    return NOTE + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    write()
