"""The local runner with real processes and kfp.local, on stages that take no time."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import bertline_pipelines
from bertline.errors import ExitCode
from bertline.experiment import specs
from bertline.store.backends import connect
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.running import local


class Recorder:
    """A display that remembers what it was told."""

    def __init__(self):
        self.phases = []

    def changed(self, state):
        self.phases.append((state.task.name, state.phase))

    def tick(self, states):
        pass

    def say(self, sentence):
        pass


@pytest.fixture
def experiment(tmp_path):
    """Nano, as a file whose corpus takes seconds."""
    document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
    document["corpus"]["shards"] = 2
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def planned(path, store):
    return plans.plan(unrolling.build(specs.load(path)), store)


def test_tasks_run_through_kfp_in_order_and_are_done_afterwards(experiment, tmp_path):
    store = connect(str(tmp_path / "store"))
    tasks = planned(experiment, store).missing[:2]
    recorder = Recorder()
    states = local.run("nano", tasks, store.uri, tmp_path / "out", 2, recorder)
    assert recorder.phases == [
        ("vocabulary", "running"),
        ("vocabulary", "done"),
        ("corpus", "running"),
        ("corpus", "done"),
    ]
    assert [state.bar["done"] == state.bar["total"] for state in states] == [True, True]
    assert "KFP Executor" in (tmp_path / "out/logs/corpus.log").read_text()
    assert {task.name for task in planned(experiment, store).tasks if task.finished} == {"vocabulary", "corpus"}


def test_a_failure_keeps_its_exit_code_and_skips_only_what_needs_it(experiment, tmp_path):
    store = connect(str(tmp_path / "store"))
    tasks = planned(experiment, store).missing[:4]
    _, corpus, pretrain, evaluate = tasks
    # GIVEN a corpus task whose vocabulary isn't there, because another one is made
    lonely = replace(corpus, after=())
    states = local.run("nano", [lonely, pretrain, evaluate], store.uri, tmp_path / "out", 2, Recorder())
    assert [state.phase for state in states] == ["failed", "skipped", "skipped"]
    assert states[0].exit_code == ExitCode.DAMAGED
    assert "needs that vocabulary" in states[0].message
    assert any("needs that vocabulary" in line for line in local.last_lines(states[0].log))


def test_independent_tasks_go_on_after_a_failure(experiment, tmp_path):
    store = connect(str(tmp_path / "store"))
    vocabulary, corpus = planned(experiment, store).missing[:2]
    lonely = replace(corpus, after=())
    slow = replace(vocabulary, after=())
    states = local.run("nano", [lonely, slow], store.uri, tmp_path / "out", 1, Recorder())
    assert [state.phase for state in states] == ["failed", "done"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGINT, ExitCode.INTERRUPTED),
        pytest.param(signal.SIGTERM, ExitCode.PREEMPTED, marks=pytest.mark.slow),  # the way of SIGINT
    ],
    ids=["SIGKILL", "SIGINT", "SIGTERM"],
)
def test_when_the_run_ends_its_tasks_end_and_the_next_run_goes_on_at_once(number, code, experiment, tmp_path):
    command = [Path(sys.executable).with_name("bertline"), "run", experiment, "--store", tmp_path / "store"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lease = _wait_for(lambda: next((tmp_path / "store").glob("objects/corpus/*/lease.json"), None), 120)
    task = yaml.safe_load(lease.read_text())["pid"]
    run.send_signal(number)
    run.wait(30)
    assert run.returncode == code
    run.stdout.close()
    _wait_for(lambda: not _lives(task), 20)
    # the lease of a dead process on this machine is taken at once
    began = time.monotonic()
    store = connect(str(tmp_path / "store"))
    missing = planned(experiment, store).missing
    states = local.run("nano", missing[:1], store.uri, tmp_path / "out", 1, Recorder())
    assert [state.phase for state in states] == ["done"]
    assert time.monotonic() - began < 45


def _wait_for(find, seconds):
    until = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < until, "it didn't happen"
        time.sleep(0.05)
    return found


def _lives(pid):
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
