"""A task's pods, and steps of Argo's workflow that have none."""

import base64
import datetime
import gzip
import json

import pytest

from bertline_pipelines.cluster import failures, pending
from bertline_pipelines.cluster import pods as records
from bertline_pipelines.cluster import steps as argo
from bertline_pipelines.cluster.connections import MissingError
from support.kubernetes_api import NOW, pod, stamp

NS = "kubeflow"
WORKFLOWS = f"/apis/argoproj.io/v1alpha1/namespaces/{NS}/workflows"


def read_pod(*arguments, **keywords):
    return records.pods([pod(*arguments, **keywords)])[0]


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
            "quota team requires limits.cpu,limits.memory of every pod; set them in the profile's pods",
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
