"""The cluster as `status`, `logs` and `doctor` see it: the real client over HTTP, messages as Kubernetes words them."""

import base64
import datetime
import gzip
import itertools
import json
import subprocess
import sys
import threading
import time

import pytest

from bertline.errors import TransientError, UserError
from bertline_pipelines.cluster import connections as cluster_logins
from bertline_pipelines.cluster import failures, pending, pod_logs, reader
from bertline_pipelines.cluster import nodes as machines
from bertline_pipelines.cluster import pods as records
from bertline_pipelines.cluster import steps as argo
from bertline_pipelines.cluster.connections import ForbiddenError, MissingError, Permission
from support import kubernetes_api
from support.kubernetes_api import NOW, Log, event, node, pod, stamp, unschedulable

NS = "kubeflow"
POD = "bertline-nano-x7k2p-system-container-impl-1"
WORKFLOWS = f"/apis/argoproj.io/v1alpha1/namespaces/{NS}/workflows"
GPU = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
GPU_TAINT = ("nvidia.com/gpu", "present", "NoSchedule")
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "", "NoSchedule")
TOLERATION = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]}
NO_PREEMPTION = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."


@pytest.fixture
def server():
    with kubernetes_api.serve() as running:
        yield running


@pytest.fixture
def api(server):
    return server.api


@pytest.fixture
def kubeconfig(server, tmp_path, monkeypatch):
    path = kubernetes_api.kubeconfig(tmp_path / "config", server.url)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(cluster_logins, "PAUSE_S", 0.01)
    monkeypatch.setattr(pod_logs, "PAUSE_S", 0.01)
    return path


@pytest.fixture
def connected(kubeconfig):
    with reader.connect() as found:
        yield found


def read_pod(*arguments, **keywords):
    return records.pods([pod(*arguments, **keywords)])[0]


# Logging in


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


# Requests


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
    assert len(api.failures) == 99 - cluster_logins.ATTEMPTS


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


# Pods


def test_the_newest_pod_of_a_task_counts_the_others_as_restarts(api, connected):
    api.pods(
        pod("a-2", created=20, phase="Running", main={"running": {"startedAt": stamp(25)}}, node="gpu-a"),
        pod("a-1", created=10, phase="Failed", main={"terminated": {"exitCode": 1, "reason": "Error"}}),
        pod("b-1", created=15, task="corpus", phase="Succeeded"),
        pod("other", created=30, run_id="run-2"),
        pod(
            "driver", created=5, task="", annotations={records.NODE_NAME: "bertline-nano-x7k2p.root.pretrain-2-driver"}
        ),
    )
    driver, corpus, pretrain = connected.pods(NS, run_id="run-1")
    assert (driver.task, driver.kfp_task) == ("", "pretrain-2")
    assert (corpus.task, corpus.state, corpus.restarts) == ("corpus", "succeeded", 0)
    assert (pretrain.name, pretrain.task, pretrain.stage) == ("a-2", "6L-pretrain-10", "pretrain")
    assert (pretrain.state, pretrain.node, pretrain.restarts) == ("running", "gpu-a", 1)
    assert pretrain.main.started == NOW + datetime.timedelta(seconds=25)
    of_experiment = connected.pods(NS, experiment="nano")
    assert [(each.name, each.restarts) for each in of_experiment] == [("b-1", 0), ("a-2", 1), ("other", 0)]


def test_a_node_that_vanished_is_told_from_a_pod_that_was_deleted():
    disrupted = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]
    lost = read_pod(phase="Running", node="spot-1", conditions=disrupted)
    assert (lost.state, failures.why_failed(lost).split(";")[0]) == (
        "lost",
        "its node spot-1 stopped answering or was taken out of service",
    )
    silent = read_pod(
        phase="Running",
        node="spot-1",
        conditions=[{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}],
    )
    assert silent.unreachable
    assert "its node spot-1 doesn't answer" in failures.why_failed(silent)


def workflow(nodes, *, compressed=False):
    status = {"nodes": nodes}
    if compressed:
        status = {"compressedNodes": base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()}
    return {"metadata": {"name": "bertline-nano-x7k2p", "labels": {"pipeline/runid": "run-1"}}, "status": status}


QUOTA = (
    'pods "bertline-nano-x7k2p-system-container-impl-9" is forbidden: exceeded quota: team, '
    "requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=2, limited: requests.nvidia.com/gpu=2"
)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_pod_that_a_quota_forbids_is_found_in_argos_workflow(api, connected, compressed):
    name = "bertline-nano-x7k2p.root.pretrain-2"
    nodes = {
        "dag": {"type": "DAG", "name": name, "phase": "Running"},
        "executor": {"type": "Pod", "name": f"{name}.executor(0)", "phase": "Pending", "message": QUOTA},
        "driver": {"type": "Pod", "name": f"{name}-driver", "phase": "Succeeded", "startedAt": stamp(1)},
        "root": {"type": "Pod", "name": "bertline-nano-x7k2p.root-driver", "phase": "Error", "message": "pod deleted"},
    }
    api.add(WORKFLOWS, workflow(nodes, compressed=compressed))
    found = {step.id: step for step in connected.workflow(NS, "run-1").steps}
    assert {key: (step.kfp_task, step.driver) for key, step in found.items()} == {
        "executor": ("pretrain-2", False),
        "driver": ("pretrain-2", True),
        "root": ("", True),
    }
    assert str(pending.why_held(found["executor"])) == (
        "quota team is full: the pod asks for requests.nvidia.com/gpu=1; it starts when other pods end, or ask for "
        "more: kubectl describe quota team (requests.nvidia.com/gpu=2 is used of requests.nvidia.com/gpu=2)"
    )
    assert "its pod was deleted" in failures.why_step_failed(found["root"])


def test_a_cluster_without_argo(connected):
    with pytest.raises(MissingError, match="install Kubeflow Pipelines first"):
        connected.workflow(NS, "run-1")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            'pods "x" is forbidden: failed quota: team: must specify limits.cpu,limits.memory',
            "quota team wants every pod to say limits.cpu,limits.memory; set them in the profile's pods",
        ),
        (
            'pods "x" is forbidden: error looking up service account kubeflow/bertline: serviceaccount "…" not found',
            "there is no service account bertline in namespace kubeflow",
        ),
        ("Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "none of 1 node fits: 1 without a"),
        ("", "Argo hasn't created its pod yet"),
    ],
)
def test_what_argo_says_of_a_step_without_a_pod(message, sentence):
    step = argo.Step("i", "pretrain", False, "Pending", message, None, None)
    assert str(pending.why_held(step)).startswith(sentence)


# Pending


def why(api, connected, *, main=None, **keywords):
    api.pods(pod(main=main, **keywords))
    return str(connected.explain(NS, connected.pods(NS, run_id="run-1"))[POD])


GPU_NODES = [
    node("cp", taints=[CONTROL_PLANE]),
    node("gpu-a", gpus=1, labels=L4, taints=[GPU_TAINT]),
    node("gpu-b", gpus=1, labels=L4, taints=[GPU_TAINT]),
]
TAINT_AND_GPU = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
    "2 Insufficient nvidia.com/gpu." + NO_PREEMPTION
)


def test_no_gpu_in_the_cluster(api, connected):
    api.add("/api/v1/nodes", node("a"), node("b"))
    message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu." + NO_PREEMPTION
    sentence = why(api, connected, requests=GPU, conditions=unschedulable(message))
    assert sentence.startswith("no node has nvidia.com/gpu, and no autoscaler")
    assert "make kind-gpu" in sentence


def test_all_gpus_in_use(api, connected):
    api.add("/api/v1/nodes", *GPU_NODES)
    other = [pod(f"other-{n}", task=f"t{n}", run_id="x", phase="Running", node=f"gpu-{n}", requests=GPU) for n in "ab"]
    over = pod("over", task="over", run_id="x", phase="Succeeded", node="gpu-a", requests=GPU)
    api.pods(*other, over)
    sentence = why(
        api, connected, requests=GPU, spec=TOLERATION | {"nodeSelector": L4}, conditions=unschedulable(TAINT_AND_GPU)
    )
    assert sentence == (
        "waits for a free nvidia.com/gpu on nodes gpu-a, gpu-b; it starts when another pod ends (2 of 2 are in use)"
    )


def test_gpus_in_use_as_far_as_the_scheduler_says(api, connected):
    api.add("/api/v1/nodes", *GPU_NODES)
    api.forbidden = {("list", "pods*")}
    sentence = why(api, connected, requests=GPU, spec=TOLERATION, conditions=unschedulable(TAINT_AND_GPU))
    assert sentence.startswith("waits for a free nvidia.com/gpu on nodes gpu-a, gpu-b;")


def test_where_nodes_may_not_be_looked_at_the_scheduler_is_quoted(api, connected):
    api.add("/api/v1/nodes", *GPU_NODES)
    api.forbidden = {("list", "nodes")}
    sentence = why(api, connected, requests=GPU, spec=TOLERATION, conditions=unschedulable(TAINT_AND_GPU))
    assert sentence == (
        "none of 3 nodes fits: 1 with the taint node-role.kubernetes.io/control-plane=, 2 without a free "
        "nvidia.com/gpu; add a toleration to the profile if it should run there "
        "(the nodes couldn't be looked at: your account may not list nodes)"
    )


SELECTOR = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {x: }, "
    "2 node(s) didn't match Pod's node affinity/selector."
)


@pytest.mark.parametrize(
    ("nodes", "keywords", "message", "sentence"),
    [
        pytest.param(
            GPU_NODES,
            {"requests": GPU, "spec": {"nodeSelector": L4}},
            "0/3 nodes are available: 3 node(s) had untolerated taint(s). no new claims to deallocate," + NO_PREEMPTION,
            "nodes gpu-a, gpu-b with nvidia.com/gpu have the taint nvidia.com/gpu=present:NoSchedule, which the pod "
            "doesn't tolerate: add it to `tolerations` in the profile",
            id="taint",
        ),
        pytest.param(
            GPU_NODES,
            {
                "requests": GPU,
                "spec": TOLERATION | {"nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-a100"}},
            },
            SELECTOR + NO_PREEMPTION,
            "no node with nvidia.com/gpu has cloud.google.com/gke-accelerator=nvidia-a100, which the profile's "
            "node_selector asks for; there is cloud.google.com/gke-accelerator=nvidia-l4",
            id="another model",
        ),
        pytest.param(
            [node("kind", gpus=1)],
            {"requests": GPU, "spec": {"nodeSelector": {"bertline.dev/gpu": "fake"}}},
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." + NO_PREEMPTION,
            "no node with nvidia.com/gpu has the label bertline.dev/gpu, and the profile's node_selector asks for "
            "bertline.dev/gpu=fake: kubectl label node kind bertline.dev/gpu=fake, or change the profile",
            id="no label",
        ),
        pytest.param(
            [node("a", gpus=1, labels={"x": "1"}), node("b", gpus=1, labels={"y": "1"})],
            {"requests": GPU, "spec": {"nodeSelector": {"x": "1", "y": "1"}}},
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector." + NO_PREEMPTION,
            "no node with nvidia.com/gpu has all of x=1, y=1: change the profile's node_selector",
            id="labels on different nodes",
        ),
        pytest.param(
            [node("kind", gpus=1, cordoned=True)],
            {"requests": GPU},
            "0/1 nodes are available: 1 node(s) were unschedulable." + NO_PREEMPTION,
            "node kind with nvidia.com/gpu is cordoned: kubectl uncordon kind",
            id="cordoned",
        ),
        pytest.param(
            [node("a"), node("b", cpu="3920m")],
            {"requests": {"cpu": "16", "memory": "8Gi"}},
            "0/2 nodes are available: 2 Insufficient cpu." + NO_PREEMPTION,
            "asks for 16 cpu, and the largest node (a) has 7.91 cpu in all: lower `cpu` in the profile, or add a "
            "larger node",
            id="too many cores",
        ),
        pytest.param(
            [node("a")],
            {"requests": {"cpu": "1", "ephemeral-storage": "200Gi"}},
            "0/1 nodes are available: 1 Insufficient ephemeral-storage." + NO_PREEMPTION,
            "asks for 200 GiB of ephemeral-storage, and the largest node (a) has 95 GiB of ephemeral-storage in all: "
            "lower `scratch` in the profile, or add a larger node",
            id="too much disk",
        ),
        pytest.param(
            [node("a", ready=False, taints=[("node.kubernetes.io/unreachable", "", "NoSchedule")])],
            {},
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }."
            + NO_PREEMPTION,
            "node a is not ready: kubectl describe node a",
            id="not ready",
        ),
        pytest.param(
            [node("a"), node("b", cordoned=True)],
            {"requests": {"memory": "15Gi"}, "used": "12Gi"},
            "0/2 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable." + NO_PREEMPTION,
            "waits for 15 GiB of memory on node a; it starts when other pods end, or lower `memory` in the profile; "
            "node b is cordoned (at most 4 GiB of memory are free, on a, of 16 GiB of memory)",
            id="others have the memory",
        ),
        pytest.param(
            [node("a")],
            {},
            "0/1 nodes are available: 1 node(s) had volume node affinity conflict. preemption: none",
            "none of 1 node fits: 1 node(s) had volume node affinity conflict",
            id="something we know nothing of",
        ),
        pytest.param(
            [node("a")],
            {},
            'persistentvolumeclaim "scratch" not found',
            'the scheduler says: persistentvolumeclaim "scratch" not found',
            id="another form",
        ),
        pytest.param(
            [],
            {},
            "no nodes available to schedule pods",
            "the cluster has no node to run it: kubectl get nodes",
            id="no nodes",
        ),
    ],
)
def test_why_no_node_takes_a_pod(api, connected, nodes, keywords, message, sentence):
    keywords = dict(keywords)
    api.add("/api/v1/nodes", *nodes)
    if used := keywords.pop("used", None):
        api.pods(pod("other", task="other", run_id="x", phase="Running", node="a", requests={"memory": used}))
    assert why(api, connected, conditions=unschedulable(message), **keywords) == sentence


def test_the_scheduler_is_also_heard_through_its_events(api, connected):
    api.add(f"/api/v1/namespaces/{NS}/events", event(POD, "FailedScheduling", TAINT_AND_GPU, by="scheduler"))
    api.add("/api/v1/nodes", *GPU_NODES)
    assert "waits for a free nvidia.com/gpu" not in why(api, connected, requests=GPU, spec=TOLERATION)
    assert connected.events(NS, POD)[0].last == NOW


def scheduling(*events, after_s=60):
    waiting = read_pod(requests=GPU, conditions=unschedulable(TAINT_AND_GPU))
    found = [records.event(each) for each in events]
    return str(pending.why_pending(waiting, found, None, None, NOW + datetime.timedelta(seconds=after_s)))


GROUP = "https://www.googleapis.com/compute/v1/projects/p/zones/z/instanceGroups/gke-pool-1-grp"


def test_an_autoscaler_at_work():
    growing = event(POD, "TriggeredScaleUp", f"pod triggered scale-up: [{{{GROUP} 0->1 (max: 4)}}]")
    assert scheduling(growing) == (
        "waits for a new node, which takes minutes (node pool gke-pool-1-grp grows from 0 to 1, begun 60 s ago)"
    )
    assert "none of 3 nodes fits" in scheduling(growing, after_s=3600)
    why_not = "12 node(s) didn't match Pod's node affinity/selector, 3 max node group size reached"
    sentence = scheduling(growing, event(POD, "NotTriggerScaleUp", f"pod didn't trigger scale-up: {why_not}", at=30))
    assert "waits for a new node" not in sentence
    assert sentence.endswith(f"; the autoscaler can't help: {why_not}")


def test_events_of_other_pods_say_nothing():
    assert "none of 3 nodes fits" in scheduling(event("another", "TriggeredScaleUp", "pod triggered scale-up: []"))


def test_a_pod_that_nobody_looked_at_yet():
    waiting = read_pod()
    assert str(pending.why_pending(waiting, now=NOW + datetime.timedelta(minutes=3))) == (
        "the scheduler hasn't looked at it yet (created 3 min ago)"
    )


PULL = 'failed to pull and unpack image "docker.io/library/bertline-pretrain:0123abcd": failed to resolve reference '


@pytest.mark.parametrize(
    ("waiting", "sentence"),
    [
        (
            {
                "reason": "ErrImagePull",
                "message": PULL + "pull access denied, repository does not exist or may require authorization: server "
                "message: insufficient_scope: authorization failed",
            },
            (
                "can't pull bertline-pretrain:0123abcd: the registry doesn't have it; `bertline images load` (kind, "
                "minikube) or `bertline images push`, or a pull secret if it is private"
            ),
        ),
        (
            {"reason": "ErrImagePull", "message": PULL + "unexpected status from HEAD request to …: 403 Forbidden"},
            (
                "can't pull bertline-pretrain:0123abcd: the registry refuses; give the profile a pull secret "
                "(images.pull_secrets)"
            ),
        ),
        (
            {"reason": "ErrImagePull", "message": PULL + "dial tcp: lookup registry.local: no such host"},
            (
                "can't pull bertline-pretrain:0123abcd: the node doesn't reach the registry (no such host); check "
                "`images.registry` in the profile, or `bertline images load` (kind, minikube) or `bertline images push`"
            ),
        ),
        (
            {
                "reason": "ErrImageNeverPull",
                "message": 'Container image "bertline-pretrain:0123abcd" is not present with pull policy of Never',
            },
            (
                "image bertline-pretrain:0123abcd isn't on the node, and the profile's pull policy is Never: "
                "`bertline images load` (kind, minikube) or `bertline images push`"
            ),
        ),
        (
            {"reason": "InvalidImageName", "message": 'Failed to apply default image tag "bertline-pretrain:0123abcd"'},
            "'bertline-pretrain:0123abcd' isn't the name of an image: see `images.registry` in the profile",
        ),
        (
            {"reason": "CreateContainerConfigError", "message": 'secret "bertline-store" not found'},
            (
                "needs the secret bertline-store, which namespace kubeflow doesn't have: kubectl create secret generic "
                "bertline-store -n kubeflow …"
            ),
        ),
        (
            {
                "reason": "CreateContainerConfigError",
                "message": "couldn't find key secretkey in Secret kubeflow/mlpipeline-minio-artifact",
            },
            (
                "needs the key secretkey of secret mlpipeline-minio-artifact, which has none of that name: kubectl "
                "describe secret mlpipeline-minio-artifact -n kubeflow"
            ),
        ),
    ],
)
def test_why_a_container_doesnt_start(waiting, sentence):
    assert str(pending.why_pending(read_pod(node="a", main={"waiting": waiting}))) == sentence


def test_a_back_off_is_explained_by_the_failure_before_it(api, connected):
    failed = event(POD, "Failed", 'Failed to pull image "bertline-pretrain:0123abcd": ' + PULL + "not found")
    api.add(f"/api/v1/namespaces/{NS}/events", failed)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "bertline-pretrain:0123abcd"'}
    assert "the registry doesn't have it" in why(api, connected, node="a", main={"waiting": waiting})


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([], "starting on node a (for 90 s)"),
        (
            [event(POD, "Pulling", 'Pulling image "bertline-pretrain:0123abcd"')],
            "node a pulls bertline-pretrain:0123abcd (for 90 s so far)",
        ),
        (
            [event(POD, "FailedMount", 'MountVolume.SetUp failed for volume "creds" : secret "gcs-key" not found')],
            (
                "needs the secret gcs-key, which namespace kubeflow doesn't have: kubectl create secret generic "
                "gcs-key -n kubeflow …"
            ),
        ),
    ],
)
def test_what_a_node_does_before_a_pod_runs(events, sentence):
    scheduled = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(10)}]
    starting = read_pod(node="a", conditions=scheduled, main={"waiting": {"reason": "ContainerCreating"}})
    found = [records.event(each) for each in events]
    assert str(pending.why_pending(starting, found, now=NOW + datetime.timedelta(seconds=100))) == sentence


# Failed


def terminated(code, reason="Error", message=""):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        (
            {"main": terminated(137, "OOMKilled"), "requests": {"memory": "3Gi"}},
            (
                "killed for using more than its memory limit of 3 GiB (OOMKilled): raise `memory` in the profile, or a "
                "smaller batch"
            ),
        ),
        ({"main": terminated(1, "OOMKilled")}, "killed for using more than its memory limit of 2 GiB"),
        (
            {
                "reason": "Evicted",
                "message": "The node was low on resource: ephemeral-storage. Threshold quantity: 2146223340, "
                "available: 1883424Ki. Container main was using 10304Ki, request is 0, has larger consumption of "
                "ephemeral-storage. ",
            },
            "evicted for its use of the node's disk: raise `scratch` in the profile (The node was low on resource: ",
        ),
        (
            {"reason": "Evicted", "message": 'Usage of EmptyDir volume "scratch" exceeds the limit "5Gi". '},
            "evicted for its use of the node's disk: raise `scratch` in the profile (Usage of EmptyDir volume",
        ),
        (
            {"reason": "Evicted", "message": "The node was low on resource: memory. Threshold quantity: 100Mi. "},
            "evicted because node a ran out of memory",
        ),
        (
            {
                "reason": "DeadlineExceeded",
                "message": "Pod was active on the node longer than the specified deadline",
                "spec": {"activeDeadlineSeconds": 21600},
            },
            "ran longer than its time-out of 6 h: raise `timeout_hours` in the profile; a retry",
        ),
        (
            {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
            "its node a was shut down (a spot machine that was taken back?); a retry or `bertline submit` goes on",
        ),
        (
            {"reason": "NodeShutdown", "message": "Pod was rejected as the node is shutting down."},
            "its node a was about",
        ),
        ({"reason": "Preempting", "message": "Preempted in order to admit critical pod"}, "preempted: node a needed"),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": "default-scheduler: preempting to accommodate a higher priority pod",
                    }
                ],
                "main": terminated(143),
            },
            "preempted: a pod of higher priority took its place; a retry",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByPodGC",
                        "message": "PodGC: node no longer exists",
                    }
                ]
            },
            "its node a is gone (a spot machine that was taken back, or deleted); a retry",
        ),
        (
            {
                "reason": "UnexpectedAdmissionError",
                "message": "Pod was rejected: Allocate failed due to requested number of devices unavailable for "
                "nvidia.com/gpu. Requested: 1, Available: 0, which is unexpected",
            },
            "node a couldn't give it what it had promised (Pod was rejected: Allocate failed due to",
        ),
        ({"reason": "OutOfnvidia.com/gpu", "message": "Pod was rejected"}, "node a had no nvidia.com/gpu left when it"),
        ({"main": terminated(137)}, "killed from outside (SIGKILL), not for its memory"),
        ({"main": terminated(1)}, "ended with exit code 1: the last lines of its log tell why"),
        (
            {
                "containerStatuses": [
                    {"name": "wait", "state": terminated(64, message="failed to create new task result")},
                    {"name": "main", "state": terminated(0, "Completed")},
                ]
            },
            "Argo's container wait failed with 64: failed to create new task result",
        ),
    ],
)
def test_why_a_pod_failed(keywords, sentence):
    failed = read_pod(phase="Failed", node="a", **keywords)
    assert failed.state == "failed"
    assert failures.why_failed(failed).startswith(sentence)


# Logs


def written(count, *, every_s=0.4, begin=0):
    return [(NOW + datetime.timedelta(seconds=every_s * n), f"line {begin + n}") for n in range(count)]


def logged(api, log, *, state=None):
    document = pod(phase="Running", node="a", main=state or {"running": {}})
    api.pods(document)
    api.logs[POD] = log
    return document


def end(document):
    document["status"]["phase"] = "Succeeded"
    document["status"]["containerStatuses"][1]["state"] = terminated(0, "Completed")


def texts(lines):
    return [text for _, text in lines]


def test_a_log_and_its_tail(api, connected):
    log = Log(written(30))
    end(logged(api, log))
    assert list(pod_logs.lines(connected, NS, POD)) == texts(log.lines)
    assert list(pod_logs.lines(connected, NS, POD, follow=True)) == texts(log.lines)
    assert list(pod_logs.lines(connected, NS, POD, tail=3)) == ["line 27", "line 28", "line 29"]


@pytest.mark.timeout(60)
def test_a_log_is_followed_until_the_container_ends(api, connected):
    log = Log(written(3))
    document = logged(api, log)
    lines = pod_logs.lines(connected, NS, POD, follow=True)
    assert list(itertools.islice(lines, 3)) == texts(log.lines)
    log.lines += [(NOW + datetime.timedelta(seconds=9), "late"), (NOW + datetime.timedelta(seconds=9), "last")]
    assert next(lines) == "late"
    end(document)
    assert list(lines) == ["last"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("every_s", "drops"),
    [
        (0.0, [100, 333, 350, 1000, 1001, 1700, 2000, 2200]),
        (0.3, [100, 333, 500, 480, 501, 600]),
        (1.7, [100, 333, 350, 180, 181, 300, 250]),
    ],
)
def test_dropped_connections_neither_lose_nor_repeat_lines(api, connected, every_s, drops):
    # Some lines are equal, at equal times; drops fall into the middle of lines.
    lines = [(at, text if n % 5 else "again") for n, (at, text) in enumerate(written(60, every_s=every_s))]
    log = Log(lines, drops=list(drops))
    document = logged(api, log)
    found = pod_logs.lines(connected, NS, POD, follow=True)
    begun = list(itertools.islice(found, 50))
    end(document)
    assert begun + list(found) == texts(lines)
    assert not log.drops


@pytest.mark.timeout(60)
def test_lines_out_of_order_survive_a_drop(api, connected):
    later, sooner = NOW + datetime.timedelta(seconds=5), NOW + datetime.timedelta(seconds=4)
    log = Log([(NOW, "first"), (later, "stderr"), (sooner, "stdout")], drops=[2 * 36 + len("firststderr")])
    end(logged(api, log))
    assert list(pod_logs.lines(connected, NS, POD, follow=True)) == ["first", "stderr", "stdout"]
    assert not log.drops


@pytest.mark.timeout(60)
def test_a_stream_that_ends_early_isnt_the_end(api, connected):
    log = Log(written(10), ends=[4, 2, 0 + 7])
    document = logged(api, log)
    found = pod_logs.lines(connected, NS, POD, follow=True)
    begun = list(itertools.islice(found, 10))
    end(document)
    assert begun + list(found) == texts(log.lines)


@pytest.mark.timeout(60)
def test_a_dead_connection_is_noticed(api, connected, monkeypatch):
    monkeypatch.setattr(pod_logs, "SILENCE_S", 0.3)
    log = Log(written(5), hang=True)
    document = logged(api, log)
    found = pod_logs.lines(connected, NS, POD, follow=True)
    assert len(list(itertools.islice(found, 5))) == 5
    end(document)
    log.lines.append((NOW + datetime.timedelta(seconds=60), "last"))
    threading.Timer(1.0, lambda: setattr(log, "hang", False)).start()
    assert list(found) == ["last"]


@pytest.mark.timeout(60)
def test_following_waits_for_the_container_to_start(api, connected):
    log = Log(written(2))
    document = logged(api, log, state={"waiting": {"reason": "PodInitializing"}})
    with pytest.raises(TransientError, match=r"has no log, it hasn't started \(its node is starting it\); -f waits"):
        list(pod_logs.lines(connected, NS, POD))

    def start():
        document["status"]["containerStatuses"][1]["state"] = {"running": {}}
        time.sleep(0.2)
        end(document)

    threading.Timer(0.3, start).start()
    assert list(pod_logs.lines(connected, NS, POD, follow=True)) == ["line 0", "line 1"]


@pytest.mark.timeout(60)
def test_a_pod_that_is_deleted_ends_its_log_with_an_error(api, connected):
    logged(api, Log(written(2), hang=False))
    found = pod_logs.lines(connected, NS, POD, follow=True)
    assert next(found) == "line 0"
    api.objects.clear()
    api.logs[POD].hang = True
    api.logs[POD].lines.append((NOW, "x"))
    api.closing.set()  # connections end, as with the node
    with pytest.raises(TransientError, match="was deleted, its last lines are lost"):
        list(found)
    with pytest.raises(TransientError, match=r"there is no pod .* any more"):
        list(pod_logs.lines(connected, NS, POD))


def test_a_log_that_its_node_lost(api, connected, monkeypatch):
    document = logged(api, Log([]))
    end(document)
    api.logs[POD].lines = []
    monkeypatch.setattr(kubernetes_api.Handler, "_log", lambda self, *_: _plain(self))
    with pytest.raises(TransientError, match="isn't on its node any more"):
        list(pod_logs.lines(connected, NS, POD))


def _plain(handler):
    text = b"unable to retrieve container logs for containerd://b95e10f2c555"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


@pytest.mark.timeout(60)
def test_a_log_that_always_breaks_off_is_given_up(api, connected, monkeypatch):
    monkeypatch.setattr(pod_logs, "DROPS", 3)
    log = Log(written(5), drops=[0] * 50)
    logged(api, log)
    with pytest.raises(TransientError, match="breaks off again and again"):
        list(pod_logs.lines(connected, NS, POD, follow=True))


# Imports


def test_neither_kfp_nor_the_client_is_imported_before_it_connects():
    code = (
        "import sys; from bertline_pipelines.cluster import failures, pending, pod_logs, reader\n"
        "print([name for name in ('kfp', 'kubernetes', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
