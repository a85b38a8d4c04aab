"""Following a run to its end through outages of the store, cancels, deleted workflows, and a Kubeflow that is late."""

import datetime
import os
import threading
import time
import uuid

import pytest
import yaml

from bertline.experiment import specs
from bertline.store import references
from bertline.store.backends import connect
from bertline.store.realizations import Outcome, realize
from bertline_cli import watching
from bertline_pipelines.places import profiles
from bertline_pipelines.planning import unrolling
from bertline_pipelines.records import submissions
from bertline_pipelines.submitting import launching
from support import forks, kubernetes_api, paces
from support.kfp_server import KfpServer
from support.recorded_runs import WORKFLOWS, RecordedRun
from support.tcp_proxies import TcpProxy
from support.tiny_experiments import write

PAUSE_S = watching.POLL_S / paces.HASTE


class Case:
    """A run of a tiny experiment that goes on, as far as Kubeflow says; its store is behind a proxy from here."""

    def __init__(self, folder, server, api, gs_uri, emulator):
        self.folder, self.server, self.api = folder, server, api
        self.proxy = TcpProxy(int(emulator.rpartition(":")[2]))
        self.store = connect(gs_uri)
        document = {
            "name": "tests",
            "kubeflow": {"endpoint": server.endpoint, "namespace": "kubeflow"},
            "store": {"uri": gs_uri, "endpoint": emulator, "endpoint_here": self.proxy.url},
            "images": {"registry": "registry.example/bertline"},
            "pods": {"default": {"cpu": "2", "memory": "2Gi", "scratch": "1Gi", "retries": 0}},
        }
        self.profile = folder / "tests.yaml"
        self.profile.write_text(yaml.safe_dump(document))
        self.experiment = write(folder, epochs=1)
        graph = unrolling.build(specs.load(self.experiment))
        prepared = launching.prepare(graph, profiles.load(str(self.profile), {}), self.store)
        self.plan = prepared.plan
        references.write(self.store, "nano", self.plan.graph.document)
        record = submissions.announce(
            self.store, self.plan, self.plan.tasks, graph=prepared.digest, profile="tests",
            endpoint=server.endpoint, namespace="kubeflow", parts=1,
        )  # fmt: skip
        self.run_id = str(uuid.uuid4())
        self.record = submissions.complete(self.store, record, self.run_id)
        tasks = {task.name: {"taskInfo": {"name": task.name}} for task in self.plan.tasks}
        self.run = RecordedRun(
            {
                "run_id": self.run_id,
                "display_name": record.display_name,
                "state": "RUNNING",
                "created_at": (datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)).isoformat(),
                "pipeline_spec": {"root": {"dag": {"tasks": tasks}}},
            }
        )
        server.runs[self.run_id] = self.run
        self.workflow = {"metadata": {"name": "w", "labels": {"pipeline/runid": self.run_id}}, "spec": {}, "status": {}}
        api.add(WORKFLOWS, self.workflow)
        self.environment = os.environ | {"KUBECONFIG": str(folder / "config"), "COLUMNS": "200"}
        del self.environment["STORAGE_EMULATOR_HOST"]  # the profile's
        self.started = []

    def finish(self):
        """All tasks, as their pods would."""
        for task in self.plan.tasks:
            for config in task.configs:
                realize(self.store, config.derivation(), lambda work: Outcome({}, {}))

    def start(self, command, *options):
        """A command at work; `said` grows with its output."""
        place = () if command == "dashboard" else ("--profile", self.profile)  # which would look for Grafana
        ours, theirs = os.pipe()
        process = forks.Process(
            [command, self.experiment, *place, *options],
            env=self.environment,
            cwd=self.folder,
            streams=(theirs, theirs, theirs),
            first=paces.short_pauses,
        )
        os.close(theirs)
        process.said = []

        def read():
            with open(ours) as printed:
                process.said.extend(printed)

        process.reader = threading.Thread(target=read, daemon=True)
        process.reader.start()
        self.started.append(process)
        return process

    def close(self):
        for process in self.started:
            process.kill()
            end(process)
        self.proxy.close()


def end(process, seconds=60):
    """Its exit code, once all it said is known."""
    code = process.wait(seconds)
    process.reader.join(seconds)
    return code


def wait_for(process, text, seconds=60):
    until = time.monotonic() + seconds
    while not any(text in line for line in process.said):
        assert time.monotonic() < until, (text, process.said)
        assert process.poll() is None, (text, process.said)
        time.sleep(0.05)


@pytest.fixture
def case(tmp_path, gs_uri, emulator):
    with KfpServer(tmp_path / "kubeflow") as server, kubernetes_api.serve() as kubernetes:
        kubernetes_api.kubeconfig(tmp_path / "config", kubernetes.url)
        case = Case(tmp_path, server, kubernetes.api, gs_uri, emulator)
        yield case
        case.close()


def test_done_by_the_store_is_done(case):
    follower = case.start("submit", "--wait")
    wait_for(follower, "already active")
    case.finish()
    assert end(follower) == 0, follower.said
    assert case.run.document()["state"] == "RUNNING", "Kubeflow learns of it later"
    status = case.start("status")
    assert end(status) == 0
    assert "succeeded" in status.said[0]


@pytest.mark.parametrize("how", ["cut", pytest.param("hang", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "command",
    [
        ("submit", "--wait", "--auto-resume", "3"),
        pytest.param(("status", "-w"), marks=pytest.mark.slow),
        pytest.param(("logs", "-f", "-t", "corpus"), marks=pytest.mark.slow),
        pytest.param(("dashboard", "--store"), marks=pytest.mark.slow),
    ],
    ids=["submit", "status", "logs", "dashboard"],
)
def test_followers_wait_for_a_store_that_is_away(case, command, how):
    command, *options = command
    if command == "dashboard":
        options.append(case.store.uri)
        case.environment["STORAGE_EMULATOR_HOST"] = case.proxy.url
    follower = case.start(command, *options)
    at_work = {"dashboard": "pretrain to epoch", "logs": "waiting for its pod", "submit": "already active"}
    wait_for(follower, at_work.get(command, "is running"))
    getattr(case.proxy, how)()
    wait_for(follower, "can't reach", seconds=60)
    if command == "dashboard":  # it reads more of a result than there is here
        case.proxy.restore()
        seen = len(follower.said)
        until = time.monotonic() + 40
        while "not begun" not in "".join(follower.said[seen:]).rpartition("can't reach")[2]:
            assert time.monotonic() < until, follower.said
            time.sleep(0.1)
        return
    case.finish()
    time.sleep(10 * PAUSE_S)  # it would have said more
    case.proxy.restore()
    assert end(follower) == 0, follower.said
    said = [line for line in follower.said if "can't reach" in line]
    assert len(said) == 1, follower.said


def test_a_run_whose_workflow_was_deleted_is_submitted_again(case):
    case.api.objects[WORKFLOWS].clear()
    again = case.start("submit")
    assert end(again) == 0, again.said
    assert any("workflow was deleted" in line for line in again.said)
    assert len(case.server.runs) == 2
    assert case.run.cancelled.is_set(), "wherever it may be after all, it ends"
    assert [each.number for each in submissions.read(case.store, "nano")] == [1, 2]


def test_a_follower_goes_on_after_a_deleted_workflow(case):
    follower = case.start("submit", "--wait", "--auto-resume", "1")
    wait_for(follower, "already active")
    case.api.objects[WORKFLOWS].clear()
    wait_for(follower, "submitting what is left")
    wait_for(follower, "nano-")
    until = time.monotonic() + 30
    while len(case.server.runs) < 2:
        assert time.monotonic() < until, follower.said
        time.sleep(0.1)
    case.finish()
    assert end(follower) == 0, follower.said


@pytest.mark.parametrize("by", ["us", "Kubeflow's page"])
def test_a_cancelled_run_is_not_submitted_again_by_a_follower(case, by):
    """It ends as FAILED, as on the real backend."""
    follower = case.start("submit", "--wait", "--auto-resume", "3")
    wait_for(follower, "already active")
    if by == "us":
        case.environment["KUBECONFIG"] = str(case.folder / "none")
        cancel = case.start("cancel")
        assert end(cancel) == 0, cancel.said
        assert "canceling" in cancel.said[0]
    else:
        case.workflow["spec"]["activeDeadlineSeconds"] = 0
    case.run.document()["state"] = "FAILED"
    assert end(follower) == 130, follower.said
    assert len(case.server.runs) == 1
    status = case.start("status")
    assert end(status) == 0
    assert "canceled" in status.said[0]


def test_submit_waits_for_the_end_of_a_run_that_is_being_cancelled(case):
    case.run.document()["state"] = "CANCELING"
    again = case.start("submit")
    wait_for(again, "is being cancelled; waiting until it has ended")
    case.run.document()["state"] = "FAILED"
    assert end(again) == 0, again.said
    assert len(case.server.runs) == 2


def test_cancelling_what_is_lost_leaves_nothing_that_blocks(case):
    case.api.objects[WORKFLOWS].clear()
    cancel = case.start("cancel")
    assert end(cancel) == 0, cancel.said
    assert "is canceled" in cancel.said[0]
    again = case.start("submit")
    assert end(again) == 0, again.said
    assert len(case.server.runs) == 2
