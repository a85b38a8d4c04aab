"""What the PodMonitor and its like select: a real Prometheus relabels the targets that discovery finds of KFP's pods.

Debian's Prometheus can't ask Kubernetes, so discovery's labels come from a file. The operator's own part, what it makes
of a PodMonitor, is written down in `scrape_config`.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bertline_pipelines.compiling import labels
from bertline_pipelines.monitoring import grafana, manifests
from support import prometheus
from support.prometheus import PROMTOOL

KUBECTL = Path(sys.executable).with_name("kubectl")
OWN = {"experiment", "run", "model", "stage", "round", "task", "kind", "seed", "gpu", "phase"}
"""Labels of bertline's metrics, which those of a scrape must not be."""

# Fields that the kinds have, as far as they are used here; anything else is a mistake in writing.
SELECTOR = {"matchLabels": {"*": str}, "matchExpressions": [{"key": str, "operator": str, "values": [str]}]}
RULE = {"record": str, "alert": str, "expr": str, "for": str, "labels": {"*": str}, "annotations": {"*": str}}
GROUPS = {"groups": [{"name": str, "interval": str, "rules": [RULE]}]}
SCHEMAS = {
    ("monitoring.coreos.com/v1", "PodMonitor"): {
        "selector": SELECTOR,
        "podMetricsEndpoints": [
            {
                **{"path": str, "interval": str, "scrapeTimeout": str, "honorLabels": bool, "filterRunning": bool},
                "relabelings": [
                    {"sourceLabels": [str], "regex": str, "action": str, "targetLabel": str, "replacement": str}
                ],
            }
        ],
    },
    ("monitoring.coreos.com/v1", "PrometheusRule"): GROUPS,
    ("monitoring.googleapis.com/v1", "PodMonitoring"): {
        "selector": SELECTOR,
        "endpoints": [{"port": int, "path": str, "interval": str, "timeout": str}],
        "targetLabels": {"metadata": [str]},
    },
    ("monitoring.googleapis.com/v1", "Rules"): GROUPS,
}
REQUIRED = {"PodMonitor": {"selector", "podMetricsEndpoints"}, "PodMonitoring": {"selector", "endpoints"}}


def read(path):
    return yaml.safe_load((manifests.FOLDER / path).read_text())


def pod(name, *, ip="10.0.0.1", stage="pretrain", part_of="bertline", phase="Running"):
    """The targets that discovery makes of a KFP pod: one a container, since none declares a port."""
    label = {"app.kubernetes.io/part-of": part_of, "bertline.dev/stage": stage, "workflows.argoproj.io/workflow": "w"}
    meta = {
        "__meta_kubernetes_namespace": "kubeflow",
        "__meta_kubernetes_pod_name": name,
        "__meta_kubernetes_pod_ip": ip,
        "__meta_kubernetes_pod_phase": phase,
        "__meta_kubernetes_pod_node_name": "node-7",
        "__meta_kubernetes_pod_ready": "true",
    }
    for key, value in label.items():
        meta[f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}"] = value
        meta[f"__meta_kubernetes_pod_labelpresent_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}"] = "true"
    containers = [("init", "true"), ("kfp-launcher", "true"), ("wait", "false"), ("main", "false")]
    if part_of != "bertline":
        containers.append(("sidecar", "false"))
    return [
        {
            "targets": [f"[{ip}]" if ":" in ip else ip],
            "labels": meta
            | {"__meta_kubernetes_pod_container_name": container, "__meta_kubernetes_pod_container_init": init},
        }
        for container, init in containers
    ]


PODS = [
    *pod("6l-pretrain-20"),
    *pod("6l-evaluate-10", ip="10.0.0.2", stage="evaluate"),
    *pod("on-ipv6", ip="fd00::7"),
    *pod("corpus", ip="10.0.0.3", stage="corpus"),
    *pod("report", ip="10.0.0.4", stage="report"),
    *pod("ml-pipeline", ip="10.0.0.5", stage="", part_of="kubeflow-pipelines"),
    *pod("somebodys", ip="10.0.0.6", part_of="another"),
    *pod("pulls-its-image", ip="10.0.0.7", phase="Pending"),
    *pod("done", ip="10.0.0.8", phase="Succeeded"),
    *pod("failed", ip="10.0.0.9", phase="Failed"),
]
EXPECTED = {
    "http://10.0.0.1:9109/metrics": "6l-pretrain-20",
    "http://10.0.0.2:9109/metrics": "6l-evaluate-10",
    "http://[fd00::7]:9109/metrics": "on-ipv6",
}


def snake(fields):
    return {re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name): value for name, value in fields.items()}


def selected(selector):
    """Relabelling for a pod selector."""
    steps = []
    for key, value in selector.get("matchLabels", {}).items():
        steps.append((key, value))
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In"
        steps.append((each["key"], "|".join(each["values"])))
    return [
        {
            "source_labels": [f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}"],
            "regex": f"({regex})",
            "action": "keep",
        }
        for key, regex in steps
    ]


def scrape_config(monitor):
    """What the operator (0.93) makes of a PodMonitor: selection, running pods, its own labels, then the monitor's."""
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    steps = selected(monitor["spec"]["selector"])
    if endpoint.get("filterRunning", True):
        steps.append(
            {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"}
        )
    if "port" in endpoint:
        steps.append(
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "regex": endpoint["port"],
                "action": "keep",
            }
        )
    if "portNumber" in endpoint:
        steps.append(
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_number"],
                "regex": str(endpoint["portNumber"]),
                "action": "keep",
            }
        )
    for source, target in (("namespace", "namespace"), ("pod_container_name", "container"), ("pod_name", "pod")):
        steps.append({"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target})
    steps.append({"target_label": "job", "replacement": f"kubeflow/{monitor['metadata']['name']}"})
    return {
        "job_name": f"podMonitor/kubeflow/{monitor['metadata']['name']}/0",
        "honor_labels": endpoint["honorLabels"],
        "metrics_path": endpoint["path"],
        "relabel_configs": [*steps, *map(snake, endpoint.get("relabelings", []))],
    }


def plain():
    (config,) = read("plain/scrape-config.yaml")["scrape_configs"]
    discovery = config.pop("kubernetes_sd_configs")
    assert discovery == [{"role": "pod", "namespaces": {"names": ["kubeflow"]}}]
    return config


def discovered(folder, config, pods):
    """The targets that are left."""
    folder.mkdir(exist_ok=True)
    (folder / "pods.json").write_text(json.dumps(pods))
    config = config | {"file_sd_configs": [{"files": [str(folder / "pods.json")]}]}
    # No scrape comes in the time of a test: nobody is at these addresses.
    config = config | {"scrape_interval": "1h", "scrape_timeout": "1s"}
    with prometheus.Prometheus(folder / "server", scrape_configs=[config]) as server:
        for _ in range(100):
            if server.targets() or server.dropped():
                break
            time.sleep(0.1)
        return server.targets()


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    return discovered(tmp_path_factory.mktemp("monitor"), scrape_config(read("operator/pod-monitor.yaml")), PODS)


@prometheus.needs_prometheus
def test_a_pod_monitor_finds_each_training_pod_once_and_no_other(monitored):
    assert sorted(target["scrapeUrl"] for target in monitored) == sorted(EXPECTED)


@prometheus.needs_prometheus
def test_a_scrape_adds_pod_node_and_namespace_and_touches_no_label_of_ours(monitored):
    for target in monitored:
        name = EXPECTED[target["scrapeUrl"]]
        assert target["labels"] == {
            "job": "kubeflow/bertline",
            "instance": name,
            "pod": name,
            "container": "main",
            "node": "node-7",
            "namespace": "kubeflow",
        }
        assert not target["labels"].keys() & OWN


@prometheus.needs_prometheus
def test_the_plain_scrape_config_finds_the_same(tmp_path, monitored):
    def comparable(targets):
        ignored = {"container", "job"}
        return {
            each["scrapeUrl"]: {name: value for name, value in each["labels"].items() if name not in ignored}
            for each in targets
        }

    found = discovered(tmp_path / "plain", plain(), PODS)
    assert len(found) == len(EXPECTED)
    assert comparable(found) == comparable(monitored)


@prometheus.needs_prometheus
@pytest.mark.parametrize(
    ("change", "count"),
    [({"portNumber": 9109}, 0), ({"port": "metrics"}, 0), ({"relabelings": []}, 4)],
    ids=["a port's number", "a port's name", "no relabelling"],
)
def test_what_one_would_write_first_finds_nothing_or_everything(tmp_path, change, count):
    monitor = read("operator/pod-monitor.yaml")
    monitor["spec"]["podMetricsEndpoints"][0] |= change
    found = discovered(tmp_path / "x", scrape_config(monitor), pod("6l-pretrain-20"))
    assert len(found) == count


@prometheus.needs_promtool
def test_promtool_accepts_the_plain_scrape_config(tmp_path):
    config = plain() | {"static_configs": [{"targets": ["localhost:1"]}]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [config]}))
    command = [PROMTOOL, "check", "config", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_selectors_match_what_pods_are_labelled():
    (part_of, bertline), stage = labels.PART_OF, f"{labels.LABEL}stage"
    for path in ("operator/pod-monitor.yaml", "gke/pod-monitoring.yaml"):
        assert read(path)["spec"]["selector"] == {
            "matchLabels": {part_of: bertline},
            "matchExpressions": [{"key": stage, "operator": "In", "values": ["pretrain", "evaluate"]}],
        }


@pytest.fixture(scope="module", params=["operator", "gke", "dashboard"])
def rendered(request, tmp_path_factory):
    """An overlay with the component, as a user would write it."""
    folder = tmp_path_factory.mktemp("overlay")
    root = manifests.FOLDER.parents[1]
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": "kubeflow",
                "resources": [os.path.relpath(root / "base", folder)],
                "components": [os.path.relpath(manifests.FOLDER / request.param, folder)],
            }
        )
    )
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    documents = {document["kind"]: document for document in yaml.safe_load_all(done.stdout) if document}
    return request.param, documents


def test_components_render_and_their_kinds_have_the_right_fields(rendered):
    name, documents = rendered
    kinds = {
        "operator": {"PodMonitor", "PrometheusRule", "ConfigMap"},
        "gke": {"PodMonitoring", "Rules"},
        "dashboard": {"ConfigMap"},
    }[name]
    assert kinds <= documents.keys()
    for kind in kinds:
        document = documents[kind]
        assert document["metadata"]["namespace"] == "kubeflow"
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "bertline"
        if kind != "ConfigMap":
            assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
            conform(document["spec"], SCHEMAS[document["apiVersion"], kind], kind)
            assert REQUIRED.get(kind, {"groups"}) <= document["spec"].keys()


def test_the_check_of_fields_would_see_a_wrong_one():
    document = read("operator/pod-monitor.yaml")
    document["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["sourceLabel"] = ["x"]
    with pytest.raises(AssertionError, match="sourceLabel"):
        conform(document["spec"], SCHEMAS["monitoring.coreos.com/v1", "PodMonitor"], "PodMonitor")


def test_grafanas_sidecar_finds_the_dashboard(rendered):
    name, documents = rendered
    if name == "gke":
        assert "ConfigMap" not in documents
        return
    document = documents["ConfigMap"]
    assert document["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert document["metadata"]["name"] == "bertline-dashboard"
    assert json.loads(document["data"]["bertline.json"])["uid"] == grafana.UID
    assert len(document["data"]["bertline.json"]) < 900_000  # a ConfigMap holds a megabyte


@pytest.mark.parametrize("path", ["operator/rules.yaml", "operator/pod-monitor.yaml"])
def test_kube_prometheus_stack_selects_rules_and_monitor_by_its_release(path):
    assert read(path)["metadata"]["labels"]["release"] == "kube-prometheus-stack"


@pytest.mark.parametrize("path", manifests.texts())
def test_what_is_generated_is_what_is_kept(path):
    kept = (manifests.FOLDER / path).read_text(encoding="utf-8")
    assert manifests.texts()[path] == kept, "run `make dashboards` and look at the difference"


def conform(value, schema, where):
    """A value has no field that its schema lacks, and the right types."""
    if isinstance(schema, dict):
        assert isinstance(value, dict), where
        for name, each in value.items():
            assert name in schema or "*" in schema, f"{where}.{name}"
            conform(each, schema.get(name, schema.get("*")), f"{where}.{name}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        assert value, where
        for index, each in enumerate(value):
            conform(each, schema[0], f"{where}[{index}]")
    else:
        assert type(value) is schema, f"{where}: {value!r}"
