"""`bertline dashboard` on the terminal: from what tasks serve, from the store, and what is wrong said in a sentence."""

import os
import sys

import pytest
import yaml

from bertline.store.backends import connect
from bertline_cli import sparklines, terminal_dashboard
from support import kubernetes_api
from support.experiments_at_work import Work
from support.exporters import Exporter
from support.histories import EXPERIMENT


def show(url):
    live = terminal_dashboard.Live(EXPERIMENT, [url])
    return live, "\n".join(live.look())


@pytest.mark.parametrize("gpu", [True, False])
def test_what_tasks_serve(gpu):
    with Exporter(3600, gpu=gpu) as exporter:
        live, shown = show(f"http://{exporter.address}/metrics")
    assert live.answered
    assert "6L" in shown
    assert "loss" in shown
    assert ("GPU" in shown) == gpu, "no invented GPU"


def test_a_task_that_is_gone_is_said(bertline):
    result = bertline("dashboard", "nano", "--metrics", "http://127.0.0.1:9/metrics", "--once")
    assert result.returncode == 75
    assert "is the task running" in result.stderr
    assert "Traceback" not in result.stderr


def test_from_the_store(bertline, tmp_path):
    work = Work(connect(str(tmp_path / "store")))
    work.attempt("6L-pretrain-1", event="checkpoint", step=4000).alive(step=4321)
    shown = bertline("dashboard", "small", "--store", str(tmp_path / "store"), "--once")
    assert shown.returncode == 0, shown.stderr
    assert "4,321" in shown.stdout
    assert "6L" in shown.stdout
    unknown = bertline("dashboard", "other", "--store", str(tmp_path / "store"), "--once")
    assert unknown.returncode == 2
    assert "small" in unknown.stderr, "names those there are"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prometheus", "http://127.0.0.1:9"), "--out FILE.html"),
        (("--prometheus", "http://127.0.0.1:9", "--out", "x.html", "--since", "soon"), "90m, 6h or 7d"),
    ],
)
def test_bad_options(bertline, arguments, said):
    result = bertline("dashboard", "nano", *arguments)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_line_of_history_rises_and_falls():
    assert sparklines.sparkline([1, 2, 3, 2, 1]) == "▁▅█▅▁"
    assert sparklines.sparkline([1, float("nan"), 2]) == "▁ █"
    assert sparklines.sparkline([1]) == ""


@pytest.fixture
def profile(tmp_path):
    document = {
        "name": "tests",
        "kubeflow": {"endpoint": "http://127.0.0.1:9", "namespace": "kubeflow"},
        "store": {"uri": "gs://bucket/x"},
        "images": {"registry": "registry.example/bertline"},
        "pods": {"default": {"cpu": "2", "memory": "2Gi", "scratch": "1Gi", "retries": 0}},
    }
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_without_a_kubeconfig_it_is_the_users_business_as_for_status(bertline, profile):
    result = bertline("dashboard", "small", "--profile", profile, KUBECONFIG="/nowhere")
    assert result.returncode == 2, result.stderr
    assert "/nowhere doesn't exist" in result.stderr


def test_a_port_forward_that_complains_a_lot_goes_on(bertline, profile, tmp_path):
    """The stand-in says more than a pipe holds before it forwards, and after."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "assert '--context' not in sys.argv and 'service/grafana' in sys.argv\n"
        "sys.stderr.write('E1125 error copying from local connection\\n' * 5000)\n"
        "print('Forwarding from 127.0.0.1:4711 -> 3000', flush=True)\n"
        "sys.stderr.write('E1125 error copying from local connection\\n' * 5000)\n"
        "sys.exit('error: lost connection to pod')\n"
    )
    kubectl.chmod(0o755)
    with kubernetes_api.serve() as server:
        labels = {"app.kubernetes.io/name": "grafana"}
        metadata = {"name": "grafana", "namespace": "monitoring", "labels": labels}
        server.api.add("/api/v1/services", {"metadata": metadata, "spec": {"ports": [{"port": 80}]}})
        config = kubernetes_api.kubeconfig(tmp_path / "config", server.url)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        result = bertline("dashboard", "small", "--profile", profile, KUBECONFIG=str(config), PATH=path, timeout=30)
    assert result.returncode == 75, result.stderr
    assert "http://127.0.0.1:4711/d/bertline" in result.stdout
    assert "lost connection to pod" in result.stderr
