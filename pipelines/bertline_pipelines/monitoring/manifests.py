"""Generated manifests: the dashboard from the panels, two kinds of rules from plain/rules.yaml.

python -m bertline_pipelines.monitoring.manifests      writes them (`make dashboards`)
"""

from pathlib import Path
from typing import Any

import yaml

from bertline_pipelines.monitoring import grafana

FOLDER = Path(__file__).parents[3] / "manifests" / "components" / "monitoring"
RULES = "plain/rules.yaml"
"""The source of the rules."""
NOTE = f"# From ../{RULES}, which has the comments. Written by `make dashboards`.\n"
PART_OF = {"app.kubernetes.io/part-of": "bertline"}
RELEASE = {"release": "kube-prometheus-stack"}
"""The label by which that chart's Prometheus selects rules."""


def texts() -> dict[str, str]:
    """Path in `manifests/components/monitoring` → content of the file."""
    groups = yaml.safe_load((FOLDER / RULES).read_text(encoding="utf-8"))["groups"]
    return {
        "dashboard/bertline.json": grafana.text(),
        "operator/rules.yaml": _rules("monitoring.coreos.com/v1", "PrometheusRule", PART_OF | RELEASE, groups),
        "gke/rules.yaml": _rules("monitoring.googleapis.com/v1", "Rules", PART_OF, groups),
    }


def write() -> None:
    """Write all generated manifests."""
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
