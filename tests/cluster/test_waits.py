"""Why a task waits or failed, where that isn't its own pod's doing, and what is told while somebody can't be asked."""

import datetime
import time

import pytest

from bertline.store import attempts
from bertline.store.backends import connect
from bertline_pipelines.cluster import reader as clusters
from bertline_pipelines.kubeflow.api import Kubeflow
from bertline_pipelines.submitting import statuses
from support import kubernetes_api, recorded_runs
from support.experiments_at_work import Work
from support.kfp_server import KfpServer
from support.kubernetes_api import node, pod, unschedulable
from support.recorded_runs import WORKFLOWS, RecordedRun

pytestmark = pytest.mark.usefixtures("quick_retries")

NAME = "bertline-nano-x7k2p"
CORDONED = "0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available"
TAINTED = "0/1 nodes are available: 1 node(s) had untolerated taint {team: ml}. preemption: none"


def ago(seconds):
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def work(tmp_path):
    return Work(connect(str(tmp_path / "store")))


@pytest.fixture
def api(tmp_path, monkeypatch):
    with kubernetes_api.serve() as server:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes_api.kubeconfig(tmp_path / "config", server.url)))
        server.api.add(WORKFLOWS, {"metadata": {"name": NAME, "labels": {"pipeline/runid": "r"}}})
        yield server.api


@pytest.fixture
def look(work, api, tmp_path):
    """Status and tasks of a run of which Kubeflow says this of its tasks; None if it can't be asked."""

    began = ago(200)

    def look(kfp_states, **changes):
        tasks = {task.name: {"taskInfo": {"name": task.name}} for task in work.plan.tasks}
        run = {
            "run_id": "r",
            "state": "RUNNING",
            "created_at": ago(300),
            "pipeline_spec": {"root": {"dag": {"tasks": tasks}}},
            "run_details": {
                "task_details": [
                    {"display_name": name, "state": state, "start_time": began}
                    for name, state in (kfp_states or {}).items()
                ]
            },
        }
        submission = work.submit("r")
        with KfpServer(tmp_path / "kubeflow") as server:
            server.runs["r"] = RecordedRun(run | changes)
            if kfp_states is None:
                server.stop()
            with Kubeflow(server.endpoint, "kubeflow", attempts=1) as kubeflow, clusters.connect() as cluster:
                status = statuses.Observer(work.store, submission, kubeflow, cluster).look()
        return status, {task.name: task for task in status.tasks}

    return look


def driver(task, **details):
    name = f"{NAME}.root.{task}-driver" if task else f"{NAME}.root-driver"
    annotations = {"workflows.argoproj.io/node-name": name}
    return pod(f"driver-{task or 'root'}", task="", run_id="r", annotations=annotations, **details)


@pytest.mark.parametrize(
    ("kubernetes", "message", "words"),
    [
        (node("n", cordoned=True), CORDONED, ["node n is cordoned", "kubectl uncordon n"]),
        (
            node("n", taints=[("team", "ml", "NoSchedule")]),
            TAINTED,
            ["team=ml", "don't tolerate, whatever the profile"],
        ),
    ],
)
@pytest.mark.parametrize("which", ["", "vocabulary"])
def test_kubeflows_own_pod_that_waits_is_told(look, api, kubernetes, message, words, which):
    """Seen with a node that was cordoned before the run began: everything was waiting, and nothing said why."""
    api.add("/api/v1/nodes", kubernetes)
    if which:
        api.pods(driver("", phase="Succeeded"))
    api.pods(driver(which, conditions=unschedulable(message)))
    _, tasks = look({})
    assert tasks["vocabulary"].state == "pending"
    assert tasks["vocabulary"].reason.startswith("Kubeflow's own pod")
    assert all(word in tasks["vocabulary"].reason for word in words), tasks["vocabulary"].reason
    assert tasks["corpus"].reason == "needs vocabulary"


def test_the_first_minute_of_a_run(look, api):
    _, tasks = look({}, state="PENDING")
    assert (tasks["vocabulary"].state, tasks["vocabulary"].reason) == (
        "pending",
        "Kubeflow hasn't started the run yet",
    )
    api.pods(driver("", phase="Running"))
    assert "is running" in look({})[1]["vocabulary"].reason
    api.objects["/api/v1/namespaces/kubeflow/pods"] = [driver("", phase="Succeeded")]
    assert "is creating its pod" in look({})[1]["vocabulary"].reason


def test_a_driver_that_failed_is_told(look, api):
    failed = {"terminated": {"exitCode": 1, "reason": "Error"}}
    api.pods(driver("", phase="Failed", node="n", main=failed))
    assert "exit code 1" in look({})[1]["vocabulary"].reason


def test_kubeflow_down_is_no_run_that_has_not_begun(look, api, work):
    work.finish("vocabulary")
    work.finish("corpus")
    api.pods(pod("p", task="3L-pretrain-1", run_id="r", phase="Running", node="n", main={"running": {}}))
    status, tasks = look(None)
    assert (status.state, status.is_over) == ("unknown", False)
    assert tasks["3L-pretrain-1"].state == "running"
    assert "Kubeflow doesn't answer" in tasks["6L-pretrain-1"].reason


def ended(code):
    return {"terminated": {"exitCode": code, "reason": "Error"}}


@pytest.mark.parametrize(
    ("pods", "kfp_state", "words"),
    [
        ([{"phase": "Failed", "main": ended(137)}], "RUNNING", "its pod failed after that: Kubeflow starts it once"),
        ([{"phase": "Failed", "main": ended(137)}, {"created": 9}], "RUNNING", "Kubeflow has started another"),
        ([{"phase": "Running", "main": {"running": {}}}], "RUNNING", "hasn't seen the end of its pod"),
        ([{"phase": "Failed", "main": ended(137)}], "FAILED", "`bertline submit` continues"),
    ],
)  # fmt: skip
def test_a_task_that_is_done_and_holds_what_follows(look, api, work, pods, kfp_state, words):
    for name in ("vocabulary", "corpus"):
        work.finish(name)
    for number, details in enumerate(pods):
        api.pods(pod(f"p{number}", task="corpus", run_id="r", node="n", **details))
    state = {"state": "FAILED" if kfp_state == "FAILED" else "RUNNING"}
    _, tasks = look({"vocabulary": "SUCCEEDED", "corpus": kfp_state}, **state)
    assert tasks["corpus"].state == "done"
    assert words in tasks["3L-pretrain-1"].reason
    assert "corpus is done" in tasks["3L-pretrain-1"].reason


def test_the_time_of_a_done_task_stands_still(look, work):
    work.finish("vocabulary")
    times = [look({"vocabulary": "RUNNING"})[1]["vocabulary"].seconds for _ in range(2) if not time.sleep(1.1)]
    assert times[0] == times[1] == pytest.approx(200, abs=5)


def test_a_pod_that_is_being_made_is_not_quoted_raw(look, api):
    name = f"{NAME}.root.vocabulary.executor(0)"
    steps = {"1": {"type": "Pod", "name": name, "phase": "Pending", "message": "PodInitializing"}}
    api.objects[WORKFLOWS] = [
        {"metadata": {"name": NAME, "labels": {"pipeline/runid": "r"}}, "status": {"nodes": steps}}
    ]
    reason = look({"vocabulary": "RUNNING"})[1]["vocabulary"].reason
    assert reason == "its pod is being started"


def _attempt(work, monkeypatch, workflow, **last):
    monkeypatch.setenv(attempts.POD, f"{workflow}-metadata-0-6-retry-system-container-impl-17")
    work.attempt("vocabulary", event="failed", **last)


@pytest.mark.parametrize(
    ("workflow", "code", "state"),
    [(NAME, 2, "failed"), (NAME, 75, "pending"), ("bertline-nano-other", 2, "pending")],
)
def test_a_users_mistake_is_told_at_once_in_our_words(look, api, work, monkeypatch, workflow, code, state):
    """Kubeflow goes on to try it again, and its launcher makes 1 of every exit code."""
    _attempt(work, monkeypatch, workflow, exit_code=code, message="the loss isn't finite at step 5")
    api.pods(pod("p", task="vocabulary", run_id="r", phase="Failed", node="n", main=ended(1)))
    _, tasks = look({"vocabulary": "RUNNING"})
    assert tasks["vocabulary"].state == state
    assert ("the loss isn't finite at step 5" in tasks["vocabulary"].reason) == (workflow == NAME)
    if state == "failed":
        assert tasks["vocabulary"].exit_code == 2
    elif workflow == NAME:
        assert "Kubeflow restarts it" in tasks["vocabulary"].reason


@pytest.mark.parametrize("workflows", [(NAME, NAME), ("bertline-nano-other", NAME), (NAME,)])
def test_a_bug_that_its_pod_will_not_try_again_is_no_task_that_waits(look, api, work, monkeypatch, workflows):
    """The same one twice in a run: the pods that Kubeflow starts after that give up at once."""
    for workflow in workflows:
        _attempt(work, monkeypatch, workflow, exit_code=1, message="Traceback (…)\nKeyError: 'a'")
    api.pods(pod("p", task="vocabulary", run_id="r", phase="Failed", node="n", main=ended(1)))
    _, tasks = look({"vocabulary": "RUNNING"})
    task = tasks["vocabulary"]
    assert "a bug (1): KeyError: 'a'" in task.reason
    assert (task.state, task.exit_code) == (("failed", 1) if workflows == (NAME, NAME) else ("pending", None))


def test_what_is_done_is_over_whatever_kubeflow_says(look, work):
    for task in work.plan.tasks:
        work.finish(task.name)
    status, _ = look({task.name: "RUNNING" for task in work.plan.tasks})
    assert (status.state, status.is_over, status.is_complete) == ("succeeded", True, True)
    status, _ = look({}, state="FAILED")
    assert status.state == "succeeded"
    assert "Kubeflow calls the run failed" in status.remarks[0]


def test_the_tasks_of_a_terminated_run_are_cancelled(work, api, tmp_path):
    recorded = recorded_runs.load("nano-1")
    api.add(WORKFLOWS, recorded["workflow"])
    api.pods(*recorded["pods"])
    submission = recorded_runs.submission(recorded["run"])
    work.store.put(submission.object_name, submission.model_dump_json().encode())
    with KfpServer(tmp_path / "kubeflow") as server, Kubeflow(server.endpoint, "kubeflow") as kubeflow:
        server.runs[submission.run_id] = RecordedRun(recorded["run"])
        with clusters.connect() as cluster:
            status = statuses.Observer(work.store, submission, kubeflow, cluster).look()
    tasks = {task.name: task for task in status.tasks}
    assert status.state == "canceled"
    assert status.count("failed") == 0
    assert tasks["4L-pretrain-2"].state == "cancelled"
    assert tasks["report"].state == "skipped"
