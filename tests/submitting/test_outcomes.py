"""What becomes of runs: those that were recorded on a real backend, and some that are made of them."""

import datetime

import pytest

from bertline_pipelines.cluster import reader as clusters
from bertline_pipelines.cluster import steps
from bertline_pipelines.kubeflow.api import Kubeflow
from bertline_pipelines.submitting import outcomes
from support import kubernetes_api, recorded_runs
from support.kfp_server import KfpServer
from support.recorded_runs import WORKFLOWS, RecordedRun

pytestmark = pytest.mark.usefixtures("quick_retries")

GOING = {"state": "RUNNING", "state_history": [{"state": "PENDING"}, {"state": "RUNNING"}]}


@pytest.fixture
def api(tmp_path, monkeypatch):
    with kubernetes_api.serve() as server:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes_api.kubeconfig(tmp_path / "config", server.url)))
        server.api.add(WORKFLOWS)
        yield server.api


@pytest.fixture
def learn(tmp_path, api):
    """The outcome of a recorded run; `workflow` says whether Argo's object is still there."""

    def learn(name, *, workflow=True, cancelled=None, sees_argo=True, **changes):
        recorded = recorded_runs.load(name)
        if workflow:
            api.add(WORKFLOWS, recorded["workflow"])
        with KfpServer(tmp_path / "kubeflow") as server, Kubeflow(server.endpoint, "kubeflow") as kubeflow:
            server.runs[recorded["run"]["run_id"]] = RecordedRun(recorded["run"], **changes)
            submission = recorded_runs.submission(recorded["run"], cancelled=cancelled)
            with clusters.connect() as cluster:
                return outcomes.learn(submission, kubeflow, cluster if sees_argo else None)

    return learn


@pytest.mark.parametrize(
    ("name", "state"),
    [("cancel", "canceled"), ("nano-1", "canceled"), ("nano-2", "succeeded"), ("more-failed", "failed")],
)
def test_how_it_ended(learn, name, state):
    assert (learn(name).state, learn(name).is_over) == (state, True)


def test_what_was_terminated_is_on_its_way_to_the_end(learn):
    outcome = learn("nano-1", **GOING)
    assert (outcome.state, outcome.is_over) == ("canceling", False)


def test_argo_says_that_it_was_terminated_in_messages_too():
    document = recorded_runs.load("cancel")["workflow"]
    del document["spec"]["activeDeadlineSeconds"]
    assert steps.workflow(document).terminated
    assert steps.workflow(document | {"spec": {"shutdown": "Terminate"}, "status": {}}).terminated
    assert not steps.workflow(recorded_runs.load("more-failed")["workflow"]).terminated


@pytest.mark.parametrize("sees_argo", [True, False])
def test_our_own_cancel_is_known_without_argo(learn, sees_argo):
    assert learn("nano-1", workflow=False, sees_argo=sees_argo).state == "failed"
    assert learn("nano-1", workflow=False, sees_argo=sees_argo, cancelled=1.0).state == "canceled"
    assert learn("nano-2", workflow=False, sees_argo=sees_argo, cancelled=1.0).state == "succeeded", "too late"


def test_a_run_whose_workflow_is_gone_is_lost(learn):
    outcome = learn("nano-2", workflow=False, **GOING)
    assert (outcome.state, outcome.is_over) == ("lost", True)
    assert "workflow was deleted" in outcome.remarks[0]


def test_one_that_was_being_cancelled_is_cancelled_then(learn):
    assert learn("nano-2", workflow=False, state="CANCELING").state == "canceled"
    assert learn("nano-2", workflow=False, cancelled=1.0, **GOING).state == "canceled"


@pytest.mark.parametrize("name", ["nano-2", "more-failed"])
def test_a_finished_workflow_may_go(learn, name):
    assert learn(name, workflow=False).state == {"nano-2": "succeeded", "more-failed": "failed"}[name]


def test_one_that_is_young_may_still_get_its_workflow(learn):
    now = datetime.datetime.now(datetime.UTC)
    for age_s, state in ((5, "running"), (300, "lost")):
        created = (now - datetime.timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert learn("nano-2", workflow=False, created_at=created, **GOING).state == state


def _forbid(api):
    api.forbidden = {("list", "workflows")}


def _fail(api):
    api.failures = [None, *[503] * 5]  # the login works


def _uninstall(api):
    del api.objects[WORKFLOWS]


@pytest.mark.parametrize("break_it", [_forbid, _fail, _uninstall])
def test_without_argos_word_kubeflow_is_believed(learn, api, break_it):
    break_it(api)
    outcome = learn("nano-2", workflow=False, **GOING)
    assert (outcome.state, outcome.is_over) == ("running", False)
    assert outcome.remarks[0].startswith("Argo can't be read: ")


def test_the_workflow_of_another_run_is_not_its_own(learn, api):
    api.add(WORKFLOWS, recorded_runs.load("nano-1")["workflow"])
    assert learn("nano-2", workflow=False, **GOING).state == "lost"


def test_tasks_are_found_where_every_template_is_retried():
    """As by KFP 2.17's defaults: each part of a path has a number."""
    assert steps.kfp_task("w(0).root(0).pretrain-2(0).executor(0)", "w") == "pretrain-2"
    assert steps.kfp_task("w(0).root(0).pretrain-2-driver(0)", "w") == "pretrain-2"
    assert steps.kfp_task("w(0).root-driver(0)", "w") == ""
