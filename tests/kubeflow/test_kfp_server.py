import os
import time
from collections.abc import Iterator
from pathlib import Path

import kfp
import kfp_server_api
import pytest
import requests
import yaml

from bertline_pipelines.kubeflow.api import Kubeflow
from support import tiny_pipelines
from support.kfp_server import KfpServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KfpServer]:
    with KfpServer(tmp_path / "server") as running:
        yield running


def _submit(server: KfpServer, document: tiny_pipelines.Document, **parameters: str) -> str:
    with Kubeflow(server.endpoint, "kubeflow") as kubeflow:
        return kubeflow.submit(*document, display_name="one", experiment="tests", parameters=parameters).id


def _wait(server: KfpServer, run_id: str) -> str:
    until = time.monotonic() + 30
    while server.runs[run_id].finished.startswith("1970"):
        assert time.monotonic() < until, "the run doesn't end"
        time.sleep(0.02)
    return server.runs[run_id].state


def test_tasks_really_run_with_their_inputs_and_their_environment(server: KfpServer, tmp_path: Path):
    run_id = _submit(server, tiny_pipelines.notes(), folder=str(tmp_path))
    assert _wait(server, run_id) == "SUCCEEDED"
    assert (tmp_path / "hello").read_text() == ""
    assert (tmp_path / "hello!").read_text() == "good morning"  # the first one's output, the second one's variable
    assert "executor_input" in (server.runs[run_id].folder / "note-2" / "log").read_text()


def test_a_task_is_repeated_as_often_as_its_retry_policy_says(server: KfpServer, tmp_path: Path):
    run_id = _submit(server, tiny_pipelines.stumbling(falls=2, retries=2), folder=str(tmp_path))
    assert _wait(server, run_id) == "SUCCEEDED"
    assert server.runs[run_id].tasks["stumble"].attempts == 3


def test_nothing_starts_after_a_failure(server: KfpServer, tmp_path: Path):
    run_id = _submit(server, tiny_pipelines.stumbling(falls=2, retries=1), folder=str(tmp_path))
    assert _wait(server, run_id) == "FAILED"
    assert server.runs[run_id].tasks["stumble"].exit_code == 3
    assert list(server.runs[run_id].tasks) == ["stumble"]
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize("stubborn", [False, True])
def test_terminating_ends_the_whole_process_group(server: KfpServer, tmp_path: Path, stubborn: bool):
    run_id = _submit(server, tiny_pipelines.lingering(stubborn), folder=str(tmp_path))
    pid = _pid(tmp_path)
    began = time.monotonic()
    requests.post(f"{server.endpoint}/apis/v2beta1/runs/{run_id}:terminate", timeout=5).raise_for_status()
    assert server.runs[run_id].state == "CANCELING"
    assert _wait(server, run_id) == "FAILED"
    assert (time.monotonic() - began > 0.9) == stubborn  # SIGKILL comes a second later
    assert [entry["state"] for entry in server.runs[run_id].history] == ["PENDING", "RUNNING", "CANCELING", "FAILED"]
    assert not _lives(pid)
    assert not (tmp_path / "after").exists()


def test_a_server_that_stops_leaves_no_process(tmp_path: Path):
    with KfpServer(tmp_path / "server") as server:
        _submit(server, tiny_pipelines.lingering(), folder=str(tmp_path))
        pid = _pid(tmp_path)
    assert not _lives(pid)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"colour": "blue"}, 'unknown field "colour"'),
        ({"pipeline_spec": {"pipelineInfo": {"nome": "x"}}}, "no field named"),
        ({"runtime_config": {"parameters": {"text": "a"}}}, "parameter folder is not optional"),
        ({"runtime_config": {"parameters": {"folder": "a", "text": 3}}}, "parameter text requires type string"),
        ({"runtime_config": {"parameters": {"folder": "a", "size": "3"}}}, "parameter size is not an input"),
        ({"experiment_id": "another"}, "not found"),
    ],
)
def test_it_is_as_picky_as_kfp(server: KfpServer, wrong: dict[str, object], said: str):
    url = f"{server.endpoint}/apis/v2beta1"
    experiment = requests.post(f"{url}/experiments", json={"display_name": "tests"}, timeout=5).json()["experiment_id"]
    pipeline_spec, platform_spec = tiny_pipelines.notes()
    body = {
        "display_name": "one",
        "experiment_id": experiment,
        "pipeline_spec": {"pipeline_spec": pipeline_spec, "platform_spec": platform_spec},
    }
    answer = requests.post(f"{url}/runs", json=body | wrong, timeout=5)
    assert answer.status_code in (400, 404)
    assert said in answer.json()["message"]
    assert not server.runs


@pytest.mark.filterwarnings("ignore:This client only works:FutureWarning")
def test_kfps_own_client_submits_reads_and_cancels_the_same(server: KfpServer, tmp_path: Path):
    document = tiny_pipelines.notes()
    package = tmp_path / "notes.yaml"
    package.write_text(yaml.safe_dump_all(document))
    theirs = kfp.Client(host=server.endpoint)
    with Kubeflow(server.endpoint, "kubeflow") as ours:
        by_us = ours.submit(
            *document,
            display_name="ours",
            experiment="tests",
            service_account="bertline",
            pipeline_root="s3://bucket/root",
            parameters={"folder": str(tmp_path)},
        )
        by_them = theirs.create_run_from_pipeline_package(
            str(package),
            {"folder": str(tmp_path)},
            run_name="theirs",
            experiment_name="tests",
            service_account="bertline",
            pipeline_root="s3://bucket/root",
            enable_caching=None,
        )
        # The same request but for the name, the same experiment.
        bodies = [server.runs[run_id].body | {"display_name": ""} for run_id in (by_us.id, by_them.run_id)]
        assert bodies[0] == bodies[1]
        assert len(server.experiments) == 1
        # The same run, read by either.
        assert theirs.wait_for_run_completion(by_us.id, timeout=30, sleep_duration=0.05).state == "SUCCEEDED"
        assert theirs.wait_for_run_completion(by_them.run_id, timeout=30, sleep_duration=0.05).state == "SUCCEEDED"
        for run_id in (by_us.id, by_them.run_id):
            read, seen = ours.run(run_id), theirs.get_run(run_id)
            assert (read.name, read.state, read.experiment_id) == (seen.display_name, seen.state, seen.experiment_id)
            assert (read.created, read.finished) == (seen.created_at.timestamp(), seen.finished_at.timestamp())
            states = {detail.display_name: detail.state for detail in seen.run_details.task_details}
            assert {task.key: task.state for task in read.tasks} == {key: states[key] for key in ("note", "note-2")}
        assert {run.run_id for run in theirs.list_runs(sort_by="created_at desc").runs} == {by_us.id, by_them.run_id}
    with pytest.raises(kfp_server_api.ApiException, match="Row not found"):
        theirs.terminate_run(by_us.id)


def _pid(folder: Path) -> int:
    """Of the lingering task, once it runs."""
    until = time.monotonic() + 30
    while not (folder / "pid").exists():
        assert time.monotonic() < until, "the task doesn't start"
        time.sleep(0.02)
    return int((folder / "pid").read_text())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
