"""Why a pod waits, from messages as Kubernetes words them."""

import datetime

import pytest

from bertline_pipelines.cluster import pending
from bertline_pipelines.cluster import pods as records
from support.kubernetes_api import NOW, event, node, pod, stamp, unschedulable

NS = "kubeflow"
POD = "bertline-nano-x7k2p-system-container-impl-1"
GPU = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
GPU_TAINT = ("nvidia.com/gpu", "present", "NoSchedule")
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "", "NoSchedule")
TOLERATION = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]}
NO_PREEMPTION = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."


def read_pod(*arguments, **keywords):
    return records.pods([pod(*arguments, **keywords)])[0]


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
        "(your account may not list nodes, so this is incomplete)"
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
            "node_selector requires; there is cloud.google.com/gke-accelerator=nvidia-l4",
            id="another model",
        ),
        pytest.param(
            [node("kind", gpus=1)],
            {"requests": GPU, "spec": {"nodeSelector": {"bertline.dev/gpu": "fake"}}},
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." + NO_PREEMPTION,
            "no node with nvidia.com/gpu has the label bertline.dev/gpu, but the profile's node_selector requires "
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
            "asks for 16 cpu, but the largest node (a) has 7.91 cpu in all: lower `cpu` in the profile, or add a "
            "larger node",
            id="too many cores",
        ),
        pytest.param(
            [node("a")],
            {"requests": {"cpu": "1", "ephemeral-storage": "200Gi"}},
            "0/1 nodes are available: 1 Insufficient ephemeral-storage." + NO_PREEMPTION,
            "asks for 200 GiB of ephemeral-storage, but the largest node (a) has 95 GiB of ephemeral-storage in all: "
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
        "the scheduler hasn't handled it yet (created 3 min ago)"
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
                "can't pull bertline-pretrain:0123abcd: the node can't reach the registry (no such host); check "
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
