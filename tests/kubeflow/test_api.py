import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertline.errors import TransientError, UserError
from bertline_pipelines.kubeflow import api, runs
from bertline_pipelines.kubeflow.api import Kubeflow, RunNotFoundError
from bertline_pipelines.kubeflow.runs import Run
from support import tiny_pipelines
from support.kfp_server import Failure, KfpServer

pytestmark = pytest.mark.usefixtures("quick_retries")

NOTES = tiny_pipelines.notes()
LINGERING = tiny_pipelines.lingering()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KfpServer]:
    with KfpServer(tmp_path / "server") as running:
        yield running


@pytest.fixture
def client(server: KfpServer) -> Iterator[Kubeflow]:
    with _client(server.endpoint) as connected:
        yield connected


def _client(endpoint: str, token: str | None = None) -> Kubeflow:
    return Kubeflow(endpoint, "kubeflow", token, timeout_s=(0.5, 0.5), attempts=3)


def _submit(client: Kubeflow, folder: Path, document: tiny_pipelines.Document = NOTES, name: str = "one") -> Run:
    return client.submit(*document, display_name=name, experiment="tests", parameters={"folder": str(folder)})


def _end(client: Kubeflow, run_id: str, seen: list[Run] | None = None) -> Run:
    """The run when it is over; what it was on the way is added to `seen`."""
    until = time.monotonic() + 20
    while True:
        run = client.run(run_id)
        if seen is not None and (not seen or seen[-1] != run):
            seen.append(run)
        if run.final:
            return run
        assert time.monotonic() < until
        time.sleep(0.02)


def test_neither_kfp_nor_tensorflow_is_imported():
    check = (
        "import sys, bertline_pipelines.kubeflow.api;print(*{'kfp', 'kfp_server_api', 'tensorflow'} & {*sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", check], text=True) == "\n"


def test_a_run_is_followed_to_its_end(server: KfpServer, client: Kubeflow, tmp_path: Path):
    submitted = _submit(client, tmp_path)
    seen: list[Run] = []
    run = _end(client, submitted.id, seen)
    assert run.state == "SUCCEEDED"
    assert run.final
    assert seen[-1] == run
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert {(task.key, task.name, task.state) for task in run.tasks} == {
        ("note", "6L-first", "SUCCEEDED"),
        ("note-2", "6L-second", "SUCCEEDED"),
    }
    assert {len(task.pods) for task in run.tasks} == {1}
    assert run.created is not None
    assert run.finished is not None
    assert time.time() - 60 < run.created <= run.finished < time.time() + 1
    assert (tmp_path / "hello!").exists()
    assert client.run(run.id) == client.find("one") == run


def test_tasks_are_pending_before_their_turn_and_have_no_times(client: Kubeflow, tmp_path: Path):
    run = _submit(client, tmp_path, LINGERING)
    _wait_for(tmp_path / "pid")
    run = client.run(run.id)
    assert (run.state, run.finished) == ("RUNNING", None)
    states = {task.key: (task.state, task.started is None, task.finished) for task in run.tasks}
    assert states == {"linger": ("RUNNING", False, None), "note": ("PENDING", True, None)}


def test_a_failure_says_which_task_failed_and_which_never_started(client: Kubeflow, tmp_path: Path):
    run = _end(client, _submit(client, tmp_path, tiny_pipelines.stumbling(falls=1, retries=0)).id)
    assert run.state == "FAILED"
    assert {task.key: task.state for task in run.tasks} == {"stumble": "FAILED", "note": "SKIPPED"}


@pytest.mark.parametrize("lost", [500, 503, 429, "drop", "drop after", "hang"])
def test_whatever_happens_to_the_request_there_is_one_run(
    server: KfpServer, client: Kubeflow, tmp_path: Path, lost: Failure
):
    server.fail("POST /runs$", lost)
    run = _submit(client, tmp_path)
    assert list(server.runs) == [run.id]
    assert server.requests.count("POST /runs") == (1 if lost == "drop after" else 2)


def test_a_run_of_a_request_that_arrived_late_is_cancelled(server: KfpServer, client: Kubeflow, tmp_path: Path):
    server.fail("POST /runs$", 500)
    server.fail("POST /runs$", "twice")
    run = _submit(client, tmp_path, LINGERING)
    first, second = server.runs
    assert run.id == first
    assert _end(client, second).state == "CANCELED"
    assert not client.run(first).final


def test_a_server_that_never_takes_the_run_is_given_up(server: KfpServer, client: Kubeflow, tmp_path: Path):
    server.fail("POST /runs$", 500, times=100)
    with pytest.raises(TransientError, match=r"has a temporary problem \(500\): a failure that the test asked for"):
        _submit(client, tmp_path)
    assert server.requests.count("POST /runs") == 3
    assert not server.runs


def test_it_says_so_if_it_does_not_know_whether_the_run_was_submitted(
    server: KfpServer, client: Kubeflow, tmp_path: Path
):
    server.fail("POST /runs$", "drop after")
    server.fail("GET /runs$", "drop", times=100)
    with pytest.raises(TransientError, match="Run 'one' may have been submitted"):
        _submit(client, tmp_path)
    assert len(server.runs) == 1


def test_a_document_that_kfp_refuses_is_the_users_business(server: KfpServer, client: Kubeflow, tmp_path: Path):
    with pytest.raises(UserError, match="parameter text requires type string"):
        client.submit(*NOTES, display_name="one", experiment="tests", parameters={"folder": str(tmp_path), "text": 3})
    assert server.requests.count("POST /runs") == 1


@pytest.mark.parametrize("lost", [None, 500, "drop after", "hang"])
def test_an_experiment_is_made_once(server: KfpServer, client: Kubeflow, lost: Failure | None):
    if lost:
        server.fail("POST /experiments$", lost)
    assert client.experiment("tests") == client.experiment("tests")
    assert client.experiment("Tests x") != client.experiment("tests")
    assert len(server.experiments) == 2


def test_the_newest_run_of_exactly_that_name_is_found(client: Kubeflow, tmp_path: Path):
    assert client.find("one") is None
    _submit(client, tmp_path)
    newest = _submit(client, tmp_path)
    _submit(client, tmp_path, name="ONE")
    found = client.find("one")
    assert found is not None
    assert found.id == newest.id


def test_a_cancelled_run_ends_and_cancelling_it_again_is_fine(client: Kubeflow, tmp_path: Path):
    run = _submit(client, tmp_path, tiny_pipelines.lingering(stubborn=True))
    _wait_for(tmp_path / "pid")
    client.terminate(run.id)
    client.terminate(run.id)
    assert client.run(run.id).state == "CANCELING"
    seen: list[Run] = []
    run = _end(client, run.id, seen)
    assert [each.state for each in seen] == ["CANCELING", "CANCELED"]
    assert {task.key: task.state for task in run.tasks} == {"linger": "FAILED", "note": "SKIPPED"}
    client.terminate(run.id)
    assert client.run(run.id) == run


@pytest.mark.parametrize("lost", [500, "drop", "drop after", "hang"])
def test_cancelling_survives_a_lost_request(server: KfpServer, client: Kubeflow, tmp_path: Path, lost: Failure):
    run = _submit(client, tmp_path, LINGERING)
    server.fail(":terminate$", lost)
    client.terminate(run.id)
    assert _end(client, run.id).state == "CANCELED"


def test_a_refused_cancellation_is_told(server: KfpServer, client: Kubeflow, tmp_path: Path):
    run = _submit(client, tmp_path, LINGERING)
    server.fail(":terminate$", 400)
    with pytest.raises(UserError, match=r"refuses this \(400\)"):
        client.terminate(run.id)


def test_a_forgotten_run_is_not_an_unreachable_server(server: KfpServer, client: Kubeflow, tmp_path: Path):
    run = _submit(client, tmp_path, LINGERING)
    server.forget(run.id)
    for call in (client.run, client.terminate):
        with pytest.raises(RunNotFoundError, match=r"has no run .* are in the store"):
            call(run.id)
    server.stop()
    with pytest.raises(TransientError, match=r"nothing answers at .*port-forward svc/ml-pipeline 8888:8888"):
        client.run(run.id)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (401, "requires a token .*KFP_TOKEN"),
        (403, "doesn't permit this in namespace kubeflow .*: a failure that the test asked for; .*KFP_TOKEN"),
        ("html", "isn't a KFP API: it answers 200 without JSON. .*login page"),
        (302, "isn't a KFP API: it answers 302 but points to https://login.example/"),
        (501, r"refuses this \(501\)"),
    ],
)
def test_what_will_not_pass_is_said_at_once(server: KfpServer, client: Kubeflow, how: Failure, said: str):
    server.fail("", how, times=100)
    with pytest.raises(UserError, match=said):
        client.version()
    assert len(server.requests) == 1


def test_the_token_is_sent_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Another name of this machine, for which ~/.netrc counts: it is preferred to a session's headers.
    monkeypatch.setenv("NO_PROXY", "127.1")
    (tmp_path / "netrc").write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with KfpServer(tmp_path / "server", token="sesame") as server:
        with _client(server.endpoint.replace("127.0.0.1", "127.1"), "sesame\n") as client:
            assert client.version() == "2.16.1"
            assert "sesame" not in repr(vars(client))
        with (
            _client(server.endpoint, "barley") as client,
            pytest.raises(UserError, match="refuses the token in KFP_TOKEN") as caught,
        ):
            client.version()
        assert "barley" not in str(caught.value)
    with pytest.raises(UserError, match="KFP_TOKEN isn't a token") as caught:
        _client(server.endpoint, "two\nlines")
    assert "lines" not in str(caught.value).removesuffix("line breaks or non-ASCII characters")


@pytest.mark.parametrize(
    "endpoint", ["", "localhost:8888", "ftp://host", "http://", "http://[::1", "https://me:secret@host/pipeline"]
)
def test_an_endpoint_that_cannot_be_one_is_refused(endpoint: str):
    with pytest.raises(UserError, match="a KFP endpoint looks like http://localhost:8888") as caught:
        _client(endpoint)
    assert "secret" not in str(caught.value)


def test_an_endpoint_with_a_port_that_cannot_be_one_is_refused():
    with _client("http://localhost:99999") as client, pytest.raises(UserError, match="can't be a KFP endpoint"):
        client.version()


def test_a_proxy_is_not_asked_for_a_port_forward(server: KfpServer, client: Kubeflow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert client.version() == "2.16.1"


def test_the_endpoint_may_have_a_path_and_the_web_page_another_address(tmp_path: Path):
    with KfpServer(tmp_path, prefix="/pipeline") as server:
        with _client(f"{server.endpoint}/") as client:
            assert client.version() == "2.16.1"
            assert client.url("7") == f"{server.endpoint}/#/runs/details/7"
        root = server.endpoint.removesuffix("/pipeline")
        with _client(root) as client, pytest.raises(UserError, match="isn't a KFP API"):
            client.version()
        assert Kubeflow(server.endpoint, "n", ui="http://localhost:8080/").url("7") == (
            "http://localhost:8080/#/runs/details/7"
        )


def test_a_namespace_is_named_where_the_server_has_several(tmp_path: Path):
    with KfpServer(tmp_path / "server", multi_user=True) as server, _client(server.endpoint) as client:
        run = _submit(client, tmp_path)
        assert [experiment["namespace"] for experiment in server.experiments.values()] == ["kubeflow"]
        found = client.find("one")
        assert found is not None
        assert found.id == run.id


def test_a_call_ends_also_if_nobody_ever_answers(server: KfpServer, client: Kubeflow):
    server.fail("", "hang", times=100)
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"took the request, but didn't answer for 0\.5 seconds"):
        client.version()
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("version", "fits"),
    [("2.16.1", True), ("v2.16.0", True), ("2.16", True), ("2.15.2", False), ("2.160.1", False), ("unknown", False)],
)
def test_another_version_is_warned_of(version: str, fits: bool):
    warning = api.check_version(version)
    assert (warning == "") == fits
    assert fits or version in warning


def _document(state: str, nodes: list[dict[str, Any]], history: list[str]) -> dict[str, Any]:
    return {
        "run_id": "7",
        "state": state,
        "created_at": "2026-11-22T10:00:00.123456789Z",
        "scheduled_at": "0001-01-01T00:00:00Z",
        "finished_at": "1970-01-01T00:00:00Z",
        "state_history": [{"state": each} for each in history],
        "pipeline_spec": NOTES[0],
        "run_details": {"task_details": nodes},
    }


def test_times_that_have_not_come_are_none():
    run = runs.read(_document("RUNNING", [], []))
    assert run.created == pytest.approx(1795341600.123456)
    assert (run.scheduled, run.finished) == (None, None)


@pytest.mark.parametrize(
    ("history", "state"),
    [
        (["RUNNING", "CANCELING", "FAILED"], "CANCELED"),
        (["RUNNING", "CANCELING", "FAILED", "FAILED"], "CANCELED"),
        (["CANCELING", "FAILED", "RUNNING", "FAILED"], "FAILED"),  # retried since
        ([], "FAILED"),
    ],
)
def test_a_failed_run_that_was_cancelling_was_cancelled(history: list[str], state: str):
    assert runs.read(_document("FAILED", [], history)).state == state


@pytest.mark.parametrize(
    ("nodes", "state", "expected"),
    [
        ([{"display_name": "note-driver", "state": "RUNNING"}], "RUNNING", "PENDING"),
        ([{"display_name": "note-driver", "state": "FAILED"}, {"display_name": "note"}], "FAILED", "FAILED"),
        ([{"display_name": "note", "state": "RUNTIME_STATE_UNSPECIFIED"}], "FAILED", "SKIPPED"),
        ([{"display_name": "note", "state": "RUNNING"}], "RUNNING", "RUNNING"),
        ([], "RUNNING", "PENDING"),
        ([], "SUCCEEDED", "SKIPPED"),
    ],
)
def test_a_tasks_state_follows_from_its_nodes(nodes: list[dict[str, Any]], state: str, expected: str):
    run = runs.read(_document(state, nodes, []))
    assert {task.state for task in run.tasks if task.key == "note"} == {expected}


def test_what_the_server_leaves_out_is_no_trouble():
    assert runs.read({"run_id": "7"}) == Run("7", "", "PENDING", "")
    node = {"display_name": "note", "state": "FAILED", "error": {"message": "it broke"}, "pod_name": "pod"}
    run = runs.read(_document("FAILED", [node], []) | {"error": {"message": "all broke"}})
    assert run.message == "all broke"
    assert [(task.message, task.pods) for task in run.tasks if task.key == "note"] == [("it broke", ("pod",))]


def test_a_run_of_a_stored_pipeline_has_no_document():
    document = _document("RUNNING", [], [])
    del document["pipeline_spec"]
    assert runs.read(document).tasks == ()


def test_an_id_that_is_none_leads_nowhere_else(client: Kubeflow):
    with pytest.raises(RunNotFoundError):
        client.run("7")
    with pytest.raises(RunNotFoundError):
        client.run("../healthz")


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path} doesn't come"
        time.sleep(0.02)
