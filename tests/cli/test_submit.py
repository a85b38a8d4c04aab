"""The commands for a cluster, against a server that speaks Kubeflow's API and runs what it is sent."""

import bz2
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bertline.store.backends import connect
from bertline_pipelines.records import submissions
from support.kfp_server import KfpServer
from support.tiny_experiments import write


@pytest.fixture
def server(tmp_path):
    with KfpServer(tmp_path / "kubeflow") as server:
        yield server


@pytest.fixture
def profile(tmp_path, server, gs_uri, emulator):
    """Of a cluster with the test server and the emulated bucket."""
    document = {
        "name": "tests",
        "kubeflow": {"endpoint": server.endpoint, "namespace": "kubeflow"},
        "store": {"uri": gs_uri, "endpoint": emulator, "endpoint_here": emulator},
        "images": {"registry": "registry.example/bertline"},
        "pods": {"default": {"cpu": "2", "memory": "2Gi", "scratch": "1Gi", "retries": 0}},
    }
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def cluster(bertline, tmp_path, profile):
    """Run `bertline COMMAND tiny.yaml … --profile tests.yaml`, without any kubeconfig."""
    experiment = write(tmp_path, epochs=1)

    def run(command, *arguments, **options):
        return bertline(
            command,
            experiment,
            *arguments,
            "--profile",
            profile,
            KUBECONFIG=str(tmp_path / "none"),
            BERTLINE_THREADS="2",
            **options,
        )

    return run


@pytest.fixture
def broken(tmp_path):
    """Make the experiment's task file one that can't be read when its turn comes."""

    def change(**changes):
        path = tmp_path / "tiny.yaml"
        document = yaml.safe_load(path.read_text())
        for section, values in changes.items():
            document[section] |= values
        path.write_text(yaml.safe_dump(document))

    return change


def states(result):
    document = json.loads(result.stdout)
    return {task["name"]: task["state"] for task in document["tasks"]}


def wait_for(condition, seconds=240):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.slow  # TensorFlow starts three times
def test_from_an_experiment_file_to_a_report_through_a_cancelled_run(cluster, server, gs_uri, tmp_path):
    store = connect(gs_uri)

    # GIVEN nothing WHEN it is tried dry THEN nothing is written anywhere
    dry = cluster("submit", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert len(json.loads(dry.stdout)["runs"][0]) == 5
    assert not list(store.list(""))
    assert not server.runs

    # WHEN it is submitted THEN there is a run, what pods need of this machine is in the store, and we know what to type
    first = cluster("submit")
    assert first.returncode == 0, first.stderr
    assert "bertline status" in first.stdout
    (run_id,) = server.runs
    assert f"/#/runs/details/{run_id}" in first.stdout
    assert len(list(store.list("sources/"))) == 3, "the dump and the task's two files"

    # WHEN it is submitted again while that goes on THEN nothing new is
    again = cluster("submit", "--json")
    assert json.loads(again.stdout)["new"] is False
    assert json.loads(again.stdout)["run_id"] == run_id
    assert list(server.runs) == [run_id]

    # WHEN it is cancelled in mid-training THEN what is done is kept
    wait_for(lambda: any(found.name.endswith(".jsonl") for found in store.list("objects/pretrain/")))
    assert states(cluster("status", "--json")) | {"1L-pretrain-1": ""} == {
        "vocabulary": "done",
        "corpus": "done",
        "1L-pretrain-1": "",
        "1L-evaluate-1-sample-nli": "waiting",
        "report": "waiting",
    }
    cancelled = cluster("cancel", "--json")
    assert cancelled.returncode == 0, cancelled.stderr
    wait_for(lambda: server.runs[run_id].state == "FAILED")
    ended = cluster("status")
    assert "canceled" in ended.stdout
    assert "1L-pretrain-1" in ended.stdout
    assert "needs 1L-pretrain-1" in ended.stdout
    assert "bertline submit" in ended.stdout

    # WHEN it is submitted again THEN only what is missing runs, to the end
    second = cluster("submit", "--wait", timeout=400)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "3 tasks" in second.stdout
    assert "✓ report" in second.stdout
    assert "everything is done" in second.stdout
    assert len(server.runs) == 2
    assert [each.number for each in submissions.read(store, "nano")] == [1, 2]

    # AND the results can be had, and nothing is left to submit
    pulled = cluster("pull", "results")
    assert pulled.returncode == 0, pulled.stderr
    assert "1L" in (tmp_path / "results/report.html").read_text()
    nothing = cluster("submit")
    assert "all 5 tasks are already done" in nothing.stdout
    assert len(server.runs) == 2
    assert set(states(cluster("status", "--json")).values()) == {"done"}


def test_a_failed_task_is_named_with_our_own_reason(cluster, server, broken, tmp_path):
    dump = tmp_path / "dump.xml.bz2"
    # What only the work itself finds out: after the pages that are sampled the dump is in another language.
    page = "<page><title>T</title><ns>0</ns><id>{}</id><revision><id>1</id><text>{}</text></revision></page>"
    texts = ["The tale goes on, word by word. " * 99] * 9 + ["Слово за словом идёт рассказ. " * 99] * 9
    pages = "".join(page.format(number, text) for number, text in enumerate(texts, start=1))
    dump.write_bytes(bz2.compress(f"<mediawiki>{pages}</mediawiki>".encode()))
    vocabulary = tmp_path / "vocab.txt"
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", *letters, *(f"##{each}" for each in letters)]
    vocabulary.write_text("\n".join(pieces) + "\n")
    broken(corpus={"dump": str(dump)}, vocabulary={"train": None, "file": str(vocabulary)})

    result = cluster("submit", "--wait", "--auto-resume", "3")
    assert result.returncode == 2, result.stdout + result.stderr
    assert "corpus failed: your input (2): " in result.stdout
    assert "[UNK]" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert len(server.runs) == 1, "what retrying can't help isn't retried"
    status = json.loads(cluster("status", "--json").stdout)
    (failed,) = [task for task in status["tasks"] if task["state"] == "failed"]
    assert (failed["name"], failed["exit_code"]) == ("corpus", 2)
    assert any("pods can't be read" in remark for remark in status["remarks"])


@pytest.mark.slow
def test_what_the_server_does_wrong_is_survived_or_said(cluster, server, gs_uri):
    # a lost answer to the POST: the run that was made is found, not made twice
    server.fail("POST /runs$", "drop after")
    server.fail("GET /healthz", 503)
    result = cluster("submit", "--json")
    assert result.returncode == 0, result.stderr
    assert len(server.runs) == 1
    (run_id,) = server.runs
    assert json.loads(result.stdout)["run_id"] == run_id

    # the server forgets the run: that is told from one that fails
    server.runs[run_id].cancelled.set()
    server.forget(run_id)
    status = cluster("status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["state"] == "forgotten"

    # and submitting starts a new one
    assert json.loads(cluster("submit", "--json").stdout)["new"] is True
    (second,) = server.runs
    cluster("cancel")
    wait_for(lambda: server.runs[second].state == "FAILED")

    # a server that is gone: a sentence and the family's exit code
    server.stop()
    for command in ("submit", "cancel"):
        gone = cluster(command)
        assert gone.returncode == 75, gone.stdout + gone.stderr
        assert "nothing answers at" in gone.stderr
        assert "Traceback" not in gone.stderr
    status = cluster("status", "--json")
    assert json.loads(status.stdout)["state"] == "unknown"


@pytest.mark.slow
def test_a_submit_that_died_between_posting_and_recording_is_taken_up(cluster, server, gs_uri):
    store = connect(gs_uri)
    cluster("submit")
    (record,) = submissions.read(store, "nano")
    store.put(record.object_name, record.model_copy(update={"run_id": None}).model_dump_json().encode())
    result = json.loads(cluster("submit", "--json").stdout)
    assert (result["new"], result["run_id"]) == (False, record.run_id)
    assert len(server.runs) == 1
    cluster("cancel")


@pytest.mark.slow
def test_another_version_of_the_experiment_waits_for_the_first(cluster, server, broken):
    cluster("submit")
    broken(pretrain={"seeds": [2]})
    result = cluster("submit")
    assert result.returncode == 2
    assert "another version of experiment nano" in result.stderr
    assert "bertline cancel nano" in result.stderr
    assert len(server.runs) == 1
    cluster("cancel")


@pytest.mark.parametrize("command", ["status", "cancel", "logs", "pull"])
def test_a_run_that_nobody_submitted(cluster, command):
    result = cluster(command, *(["results"] if command == "pull" else []))
    assert result.returncode == 2, result.stdout + result.stderr
    assert "bertline submit" in result.stderr or "bertline run" in result.stderr


def test_help_and_following_a_run_need_neither_kfp_nor_tensorflow():
    code = (
        "import sys; from bertline_cli import status, pull, cancel, logs, watching;"
        "from bertline_pipelines.submitting import statuses; from bertline_pipelines.records import submissions;"
        "from bertline_pipelines.places import access; from bertline_pipelines.kubeflow import api;"
        "from bertline_pipelines.cluster import failures, pending, reader;"
        "print([name for name in ('kfp', 'tensorflow', 'official') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_compile_writes_what_submit_sends(cluster, tmp_path):
    result = cluster("compile", "-o", "pipeline.yaml")
    assert result.returncode == 0, result.stderr
    assert "5 tasks" in result.stdout
    assert len(list(yaml.safe_load_all(Path(tmp_path, "pipeline.yaml").read_text()))) == 2


def test_validate_finds_a_profile_with_a_gpu_and_no_selector(cluster, profile):
    document = yaml.safe_load(profile.read_text())
    document["pods"]["pretrain"] = {"gpu": {"count": 1}, "variant": "cuda"}
    profile.write_text(yaml.safe_dump(document))
    result = cluster("validate")
    assert result.returncode == 2
    assert "gpu needs node_selector" in result.stderr


def test_a_store_that_pods_do_not_share_is_refused(cluster, profile):
    result = cluster("submit", "--store", "file:///tmp/store")
    assert result.returncode == 2
    assert "a directory that pods don't share" in result.stderr
