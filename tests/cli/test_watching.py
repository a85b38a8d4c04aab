"""Following a run to its end, whatever the server does meanwhile, and never for ever."""

import io
import time

import pytest

from bertline.errors import TransientError
from bertline.store.backends import connect
from bertline_cli import watching
from bertline_pipelines.cluster import reader as clusters
from bertline_pipelines.kubeflow.api import Kubeflow
from bertline_pipelines.submitting.statuses import Observer
from support import kubernetes_api, tiny_pipelines
from support.experiments_at_work import Work
from support.kfp_server import KfpServer
from support.kubernetes_api import node, pod, unschedulable

pytestmark = pytest.mark.usefixtures("quick_retries")

NOTES = tiny_pipelines.notes()
LINGERING = tiny_pipelines.lingering()


@pytest.fixture
def server(tmp_path):
    with KfpServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def follow(server, tmp_path):
    """Submit a pipeline; then a function that follows it and returns its last status and what was shown."""
    work = Work(connect(str(tmp_path / "store")))
    client = Kubeflow(server.endpoint, "kubeflow", timeout_s=(0.5, 0.5), attempts=1)

    def start(document):
        run = client.submit(*document, display_name="one", experiment="tests", parameters={"folder": str(tmp_path)})
        observer = Observer(work.store, work.submit(run.id, server.endpoint), client, None)

        def follow(**options):
            shown = io.StringIO()
            return watching.follow(observer, shown, poll_s=0.05, **options), shown

        return follow

    yield start
    client.close()


def test_it_ends_when_the_run_does(follow):
    status, shown = follow(NOTES)()
    assert status.state == "succeeded"
    assert "note:" not in shown.getvalue()


def test_it_survives_what_passes_and_says_so_once(follow, server):
    going = follow(LINGERING)
    for how in [500, "drop", "drop after", "hang", 429, 503]:
        server.fail("GET /runs/", how)
    server.runs[next(iter(server.runs))].cancel()
    status, shown = going()
    assert status.state == "canceled"
    assert shown.getvalue().count("has a temporary problem (500)") == 1


def test_it_ends_when_the_server_has_forgotten_the_run(follow, server):
    going = follow(LINGERING)
    run_id = next(iter(server.runs))
    server.forget(run_id)
    status, shown = going()
    assert status.state == "forgotten"
    assert run_id in shown.getvalue()


def test_it_gives_up_and_says_that_the_run_goes_on(follow, server):
    going = follow(LINGERING)
    server.fail("GET /runs/", "hang", times=1000)
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"itself continues; run the same command again"):
        going(patience_s=1.5)
    assert time.monotonic() - began < 20
    assert next(iter(server.runs.values())).state == "RUNNING"


@pytest.mark.parametrize("resources", [["memory"], ["memory", "cpu"]])
def test_a_reason_is_told_once_however_much_is_free(follow, server, tmp_path, monkeypatch, resources):
    """Or by turns: what is told is the cause, and each cause once."""
    follow(LINGERING)
    (run_id,) = server.runs
    work = Work(connect(str(tmp_path / "store")))
    with kubernetes_api.serve() as kubernetes, Kubeflow(server.endpoint, "kubeflow") as client:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes_api.kubeconfig(tmp_path / "config", kubernetes.url)))
        api = kubernetes.api
        api.add("/api/v1/nodes", node("n"))
        short = unschedulable("0/1 nodes are available: 1 Insufficient memory. preemption: none")
        wanted = {"cpu": "4", "memory": "8Gi"}
        api.pods(pod("waits", task="vocabulary", run_id=run_id, requests=wanted, conditions=short))
        other = pod("other", task="x", run_id="x", phase="Running", node="n", requests={})
        api.pods(other)
        shown = io.StringIO()
        changes = watching.Changes(shown)
        with clusters.connect() as cluster:
            observer = Observer(work.store, work.submit(run_id), client, cluster)
            for look in range(8):
                used = {"cpu": f"{5000 + 10 * look}m", "memory": f"{10 + 0.1 * look}Gi"}
                requests = {resource: used[resource] for resource in [resources[look % len(resources)]]}
                other["spec"]["containers"][1]["resources"]["requests"] = requests
                changes.show(observer.look())
    lines = [line for line in shown.getvalue().splitlines() if "vocabulary" in line]
    assert len(lines) == len(resources), lines
    assert all("are free" in line for line in lines), "the amounts of now belong to the line"
