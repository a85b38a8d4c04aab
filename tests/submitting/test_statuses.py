"""What `status` says of each task, from the store, Kubeflow's API and Kubernetes' API together."""

import os
import signal
import time

import pytest
from kfp import dsl

from bertline.errors import ExitCode
from bertline.store.backends import connect
from bertline.store.leases import Lease
from bertline_pipelines.cluster import reader as clusters
from bertline_pipelines.kubeflow.api import Kubeflow
from bertline_pipelines.records.submissions import SubmittedTask
from bertline_pipelines.records.task_histories import TaskHistory
from bertline_pipelines.submitting import statuses
from support import kubernetes_api, tiny_pipelines
from support.experiments_at_work import Work
from support.kfp_server import KfpServer
from support.kubernetes_api import node, pod, unschedulable

TASK = SubmittedTask(name="t", stage="corpus", keys=(), after=(), run="", epoch=0, end_step=0, included=True)
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: 1 No preemption."


@pytest.fixture
def work(tmp_path):
    return Work(connect(str(tmp_path / "store")))


@pytest.fixture
def kubeflow(tmp_path):
    with KfpServer(tmp_path / "kubeflow") as server, Kubeflow(server.endpoint, "kubeflow") as client:
        client.server = server
        yield client


@pytest.fixture
def api(tmp_path, monkeypatch):
    with kubernetes_api.serve() as server:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes_api.kubeconfig(tmp_path / "config", server.url)))
        yield server.api


def submit(kubeflow, work, folder, *names):
    """A run in which the first of these tasks stays for a minute."""

    @dsl.pipeline(name="experiment")
    def pipeline(folder: str):
        before = None
        for name in names:
            made = tiny_pipelines.linger(folder=folder, stubborn="no").set_display_name(name)
            made.set_caching_options(enable_caching=False)
            if before:
                made.after(before)
            before = made

    folder.mkdir(exist_ok=True)
    spec, platform = tiny_pipelines.compiled(pipeline)
    run = kubeflow.submit(spec, platform, display_name="test", experiment="tests", parameters={"folder": str(folder)})
    until = time.monotonic() + 60
    while not (folder / "pid").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    return work.submit(run.id, kubeflow.endpoint)


def look(work, submission, kubeflow, cluster=None):
    status = statuses.Observer(work.store, submission, kubeflow, cluster).look()
    return status, {task.name: task for task in status.tasks}


@pytest.fixture
def begun(work):
    """The base is done, the first round of 3L too, and 6L's pre-training is at work for the second time."""
    for name in ("vocabulary", "corpus", "3L-pretrain-1"):
        work.finish(name)
    first = work.attempt("6L-pretrain-1", event="checkpoint", step=4000)
    first.record("preempted", exit_code=76, message="told to stop at step 4,000; saved")
    second = work.attempt("6L-pretrain-1", event="resume", step=4000)
    second.record("checkpoint", step=5000)
    second.alive(step=5100)
    with Lease(work.store, work.task("6L-pretrain-1").nodes[0].config.derivation().prefix):
        yield work


def test_why_it_waits_and_how_far_it_is(begun, kubeflow, api, tmp_path):
    submission = submit(kubeflow, begun, tmp_path / "work", "6L-pretrain-1", "6L-evaluate-1-MNLI-m")
    run = submission.run_id
    api.pods(pod(name="p1", task="6L-pretrain-1", run_id=run, phase="Pending", conditions=unschedulable(NO_GPU)))
    api.add("/api/v1/nodes", node("small"))
    with clusters.connect() as cluster:
        status, tasks = look(begun, submission, kubeflow, cluster)
    assert status.state == "running"
    assert [remark.partition(":")[0] for remark in status.remarks] == ["Argo can't be read"], (
        "pods are told all the same"
    )
    assert tasks["corpus"].state == "done"
    pending = tasks["6L-pretrain-1"]
    assert (pending.state, pending.pod, pending.history.attempts, pending.history.current.step) == (
        "pending",
        "p1",
        2,
        5100,
    )
    assert "nvidia.com/gpu" in pending.reason
    assert pending.progress.startswith("step 5,100 of 10,000")
    assert tasks["6L-evaluate-1-MNLI-m"].state == "waiting"
    assert tasks["6L-evaluate-1-MNLI-m"].reason == "needs 6L-pretrain-1"
    assert tasks["report"].reason.startswith("needs 3L-evaluate-1-MNLI-m and ")


def test_where_it_runs_and_how_fast(begun, kubeflow, api, tmp_path):
    submission = submit(kubeflow, begun, tmp_path / "work", "6L-pretrain-1")
    running = {"running": {"startedAt": kubernetes_api.stamp(0)}}
    first = pod(name="p1", task="6L-pretrain-1", run_id=submission.run_id, phase="Failed", node="a")
    second = pod(
        name="p2", task="6L-pretrain-1", run_id=submission.run_id, phase="Running", node="b", main=running, created=60
    )
    api.pods(first, second)
    with clusters.connect() as cluster:
        _, tasks = look(begun, submission, kubeflow, cluster)
    task = tasks["6L-pretrain-1"]
    assert (task.state, task.pod, task.node, task.restarts) == ("running", "p2", "b", 1)
    assert task.document()["steps_per_s"] > 0
    assert "steps/s" in task.progress


def test_without_the_cluster_the_rest_is_told(begun, kubeflow, tmp_path):
    submission = submit(kubeflow, begun, tmp_path / "work", "6L-pretrain-1")
    status, tasks = look(begun, submission, kubeflow)
    assert tasks["6L-pretrain-1"].state == "running"
    assert status.count("done") == 3


def test_a_failure_is_told_in_our_words_before_kubernetes(begun, kubeflow, api, tmp_path):
    submission = submit(kubeflow, begun, tmp_path / "work", "6L-pretrain-1", "6L-evaluate-1-MNLI-m")
    begun.attempt("6L-pretrain-1", event="failed", exit_code=2, message="the loss isn't finite at step 5,200")
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": kubernetes_api.stamp(9)}}
    api.pods(pod(name="p", task="6L-pretrain-1", run_id=submission.run_id, phase="Failed", node="a", main=ended))
    (run,) = kubeflow.server.runs.values()
    os.kill(int((tmp_path / "work/pid").read_text()), signal.SIGKILL)  # as the kernel or a node's end does
    run.thread.join(30)
    with clusters.connect() as cluster:
        status, tasks = look(begun, submission, kubeflow, cluster)
    assert tasks["6L-pretrain-1"].reason == "your input (2): the loss isn't finite at step 5,200"
    assert status.document()["tasks"][0]["name"] == "vocabulary"


def test_a_quota_that_keeps_a_pod_from_being_made(begun, kubeflow, api, tmp_path):
    submission = submit(kubeflow, begun, tmp_path / "work", "6L-pretrain-1")
    message = (
        'pods "experiment-x7k2p-system-container-impl-1" is forbidden: exceeded quota: gpus, requested: '
        "requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=2, limited: requests.nvidia.com/gpu=2"
    )
    step = {"type": "Pod", "name": "experiment-x7k2p.root.linger.executor", "phase": "Pending", "message": message}
    workflow = {
        "metadata": {"name": "experiment-x7k2p", "labels": {"pipeline/runid": submission.run_id}},
        "status": {"nodes": {"experiment-x7k2p-1": step}},
    }
    api.add("/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows", workflow)
    with clusters.connect() as cluster:
        status, tasks = look(begun, submission, kubeflow, cluster)
    assert not status.remarks
    assert tasks["6L-pretrain-1"].state == "pending"
    assert "quota" in tasks["6L-pretrain-1"].reason
    assert "gpus" in tasks["6L-pretrain-1"].reason


def test_a_forgotten_run_is_over_and_told_from_a_failed_one(begun, kubeflow, tmp_path):
    submission = submit(kubeflow, begun, tmp_path / "work", "6L-pretrain-1")
    kubeflow.server.runs[submission.run_id].cancelled.set()
    kubeflow.server.forget(submission.run_id)
    status, tasks = look(begun, submission, kubeflow)
    assert status.state == "forgotten"
    assert status.is_over
    assert not status.is_complete
    assert tasks["3L-pretrain-1"].state == "done"


def test_a_server_that_cannot_be_asked_leaves_what_the_store_knows(begun, tmp_path):
    with Kubeflow("http://127.0.0.1:9", "kubeflow", attempts=1) as gone:
        status, tasks = look(begun, begun.submit("some-run"), gone)
    assert status.state == "unknown"
    assert not status.is_over
    assert "nothing answers" in status.remarks[0]
    assert tasks["corpus"].state == "done"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((75, 2), ExitCode.USER_ERROR),
        ((76, 75), ExitCode.TRANSIENT),
        ((76,), ExitCode.PREEMPTED),
        ((1, 76), ExitCode.BUG),
        ((65, 1), ExitCode.DAMAGED),
        ((), ExitCode.TRANSIENT),
    ],
)
def test_the_exit_code_of_a_run_is_what_retrying_can_help_least(codes, expected):
    tasks = [statuses.TaskStatus(TASK, "failed", TaskHistory(), exit_code=code) for code in codes]
    assert statuses.worst(tasks) == expected
