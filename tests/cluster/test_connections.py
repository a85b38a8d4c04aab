"""How the cluster is reached, as its users find it: the real client over HTTP."""

import base64
import time

import pytest

from bertline.errors import TransientError, UserError
from bertline_pipelines.cluster import connections, reader
from bertline_pipelines.cluster import nodes as machines
from bertline_pipelines.cluster.connections import ForbiddenError, MissingError, Permission
from support import kubernetes_api
from support.kubernetes_api import node, pod

NS = "kubeflow"
POD = "bertline-nano-x7k2p-system-container-impl-1"
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
GPU_TAINT = ("nvidia.com/gpu", "present", "NoSchedule")


def test_it_answers(connected, server):
    assert (connected.version, connected.host) == ("v1.34.1", server.url)


def test_without_kubeconfig_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UserError, match=r"none doesn't exist, and this isn't a pod; .*get-credentials"):
        reader.connect()


def test_an_unknown_context_names_those_that_there_are(kubeconfig):
    with pytest.raises(UserError, match="has no context 'gke'; it has kind-bertline"):
        reader.connect("gke")


def test_a_kubeconfig_that_is_none(kubeconfig):
    kubeconfig.write_text("contexts: 3\n")
    with pytest.raises(UserError, match="kubeconfig"):
        reader.connect()


def test_a_refused_token_says_to_log_in_again(server, kubeconfig):
    kubernetes_api.kubeconfig(kubeconfig, server.url, token="expired")
    with pytest.raises(UserError, match=r"doesn't accept your login.*kubectl --context kind-bertline get pods"):
        reader.connect("kind-bertline")
    assert len(server.api.requests) == 1


def test_nobody_there_is_transient(tmp_path, monkeypatch, kubeconfig):
    kubernetes_api.kubeconfig(kubeconfig, "http://127.0.0.1:1")
    with pytest.raises(TransientError, match=r"doesn't answer \(.*refused.*cluster-info"):
        reader.connect(attempts=2)


def test_a_server_that_hangs_is_given_up(api, kubeconfig):
    api.failures = ["hang", "hang"]
    begun = time.monotonic()
    with pytest.raises(TransientError, match="doesn't answer"):
        reader.connect(attempts=2, timeout_s=(1, 0.3))
    assert time.monotonic() - begun < 5


def test_what_answers_must_be_kubernetes(server, kubeconfig, monkeypatch):
    monkeypatch.setattr(kubernetes_api.Handler, "_json", _html)
    with pytest.raises(UserError, match="not as Kubernetes does"):
        reader.connect()


def _html(self, document, code=200):
    self.send_response(200)
    self.send_header("Content-Length", "6")
    self.end_headers()
    self.wfile.write(b"<html>")


@pytest.mark.parametrize("failures", [[500, 503], [429, "drop"], ["drop", 504, 502]])
def test_failures_that_pass_are_sat_out(api, connected, failures):
    api.pods(pod())
    api.failures = list(failures)
    assert [each.name for each in connected.pods(NS, run_id="run-1")] == [POD]
    assert not api.failures


def test_failures_that_stay_are_transient(api, connected):
    api.failures = [500] * 99
    with pytest.raises(TransientError, match=r"answers 500: etcdserver: request timed out; try again later"):
        connected.pods(NS, run_id="run-1")
    assert len(api.failures) == 99 - connections.ATTEMPTS


def test_a_refusal_names_what_is_missing_and_isnt_repeated(api, connected):
    api.forbidden = {("list", "pods")}
    before = len(api.requests)
    with pytest.raises(ForbiddenError, match=r"may not list pods in namespace kubeflow: .*can-i list pods -n kubeflow"):
        connected.pods(NS, run_id="run-1")
    assert len(api.requests) == before + 1


def test_listings_come_in_pages(api, connected):
    api.page = 2
    api.pods(*(pod(f"p{n}", task=f"t{n}", created=n) for n in range(5)))
    assert [each.name for each in connected.pods(NS, run_id="run-1")] == ["p0", "p1", "p2", "p3", "p4"]


def test_permissions_that_are_missing(api, connected):
    api.forbidden = {("get", "pods/log"), ("list", "nodes*")}
    assert connected.permissions(NS, reader.NEEDED) == (Permission("get", "pods/log"),)
    missing = connected.permissions(NS, reader.USEFUL)
    assert [(str(each), each.check(NS)) for each in missing] == [("list nodes", "kubectl auth can-i list nodes")]


def test_a_secret_is_read_and_doesnt_show(api, connected):
    data = {"accesskey": base64.b64encode(b"minio").decode()}
    api.add(f"/api/v1/namespaces/{NS}/secrets", {"metadata": {"name": "s"}, "data": data})
    secret = connected.secret(NS, "s")
    assert secret["accesskey"] == "minio"
    assert "minio" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(MissingError, match="namespace kubeflow has no secret t: kubectl create secret generic t"):
        connected.secret(NS, "t")


def test_what_exists(api, connected):
    api.add(f"/api/v1/namespaces/{NS}/serviceaccounts", {"metadata": {"name": "bertline"}})
    api.add("/api/v1/namespaces", {"metadata": {"name": NS}})
    assert connected.service_account_exists(NS, "bertline")
    assert not connected.service_account_exists(NS, "pipeline-runner")
    assert connected.namespace_exists(NS)
    assert not connected.namespace_exists("other")


def test_nodes_and_quota(api, connected):
    api.add("/api/v1/nodes", node("gpu-a", gpus=2, labels=L4, taints=[GPU_TAINT], cordoned=True, ready=False))
    (found,) = connected.nodes()
    assert (found.allocatable["nvidia.com/gpu"], found.unschedulable, found.ready) == (2, True, False)
    assert str(found.taints[0]) == "nvidia.com/gpu=present:NoSchedule"
    status = {"hard": {"requests.nvidia.com/gpu": "2", "limits.memory": "8Gi"}, "used": {"limits.memory": "512Mi"}}
    api.add(f"/api/v1/namespaces/{NS}/resourcequotas", {"metadata": {"name": "team"}, "status": status})
    assert {each.resource: (each.used, each.hard) for each in connected.quota(NS)} == {
        "limits.memory": (2**29, 2**33),
        "requests.nvidia.com/gpu": (0, 2),
    }


@pytest.mark.parametrize(("text", "amount"), [("500m", 0.5), ("8Gi", 2**33), ("129e6", 129e6), ("1k", 1000), ("7", 7)])
def test_quantities(text, amount):
    assert machines.quantity(text) == amount
