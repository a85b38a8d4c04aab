"""`bertline logs`: from the store, and live from pods of a Kubernetes API on this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from bertline.errors import ExitCode
from bertline.store import leases
from bertline.store.backends import connect
from bertline.store.leases import Lease
from bertline_pipelines.cluster import log_framing
from bertline_pipelines.compiling import labels
from bertline_pipelines.kubeflow.api import Kubeflow
from bertline_pipelines.records import task_logs
from support import forks, kubernetes_api, paces, tiny_pipelines
from support.experiments_at_work import Work
from support.kfp_server import KfpServer
from support.kubernetes_api import NOW, Log, pod, unschedulable

BREAKS = """
import sys
from bertline.stage.entrypoints import main
from bertline.store.realizations import realize
from bertline.vocabulary.config import VocabularyConfig

def build(work):
    print("half way")
    raise ZeroDivisionError("nobody foresaw this")

sys.exit(main(VocabularyConfig, lambda config, store: realize(store, config.derivation(), build)))
"""


@pytest.fixture
def work(tmp_path):
    return Work(connect(str(tmp_path / "store")))


@pytest.fixture
def logs(bertline, work):
    """Run `bertline logs` on the experiment in the store on disk."""
    return lambda *arguments, name="small": bertline("logs", name, *arguments, "--store", work.store.uri)


# From the store


def test_a_broken_task_shows_its_traceback(work, logs):
    config = work.graph.nodes[0].config.model_dump_json()
    command = [sys.executable, "-c", BREAKS, "--store", work.store.uri, "--config", config]
    assert subprocess.run(command, capture_output=True, check=False).returncode == ExitCode.BUG
    shown = logs("--task", "vocabulary")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("half way\nTraceback (most recent call last):\n")
    assert shown.stdout.endswith("ZeroDivisionError: nobody foresaw this\n")
    assert "vocabulary, attempt 1 of 1 on " in shown.stderr
    assert "failed (exit code 1): ZeroDivisionError: nobody foresaw this" in shown.stderr
    assert logs().stdout == shown.stdout, "the only one that failed"


def test_attempts_are_told_apart(work, logs):
    work.attempt("3L-pretrain-1", "first\n", event="preempted", exit_code=76, message="told to stop at step 7; saved")
    work.attempt("3L-pretrain-1", "second\na\nb\n", event="failed", exit_code=2, message="the loss isn't finite")
    last, first = logs("--task", "3L-pretrain-1"), logs("--task", "3L-pretrain-1", "--attempt", "1")
    assert (last.stdout, first.stdout) == ("second\na\nb\n", "first\n")
    assert "attempt 2 of 2" in last.stderr
    assert "failed (exit code 2): the loss isn't finite" in last.stderr
    assert "attempt 1 of 2" in first.stderr
    assert "preempted (exit code 76)" in first.stderr
    assert logs("--task", "3L-pretrain-1", "--tail", "2").stdout == "a\nb\n"
    missing = logs("--task", "3L-pretrain-1", "--attempt", "3")
    assert missing.returncode == ExitCode.USER_ERROR
    assert missing.stderr == "error: task 3L-pretrain-1 has no attempt 3: the last is 2\n"


def test_a_task_of_several_results_shows_each(work, logs):
    for seed in (0, 1):
        work.attempt("6L-evaluate-2-MNLI-m", f"seed {seed}\n", result=seed, event="finished")
    shown = logs("--task", "6L-evaluate-2")
    assert shown.stdout == "seed 0\nseed 1\n"
    assert "result 1 of 2, attempt 1 of 1" in shown.stderr
    assert "result 2 of 2, attempt 1 of 1" in shown.stderr


def test_without_a_log_the_events_are_shown(work, logs):
    work.attempt("corpus", event="failed", exit_code=1, message="Traceback (…):\n  File x\nKeyError: 'a'")
    shown = logs("--task", "corpus")
    assert "start       host " in shown.stdout
    assert "failed      exit_code 1\n    Traceback (…):\n      File x\n    KeyError: 'a'\n" in shown.stdout
    assert "wasn't saved" in shown.stderr
    assert "failed (exit code 1): KeyError: 'a'" in shown.stderr


def test_the_list_names_states_and_the_command_once(work, logs):
    empty = logs()
    assert "none of 11 tasks has begun" in empty.stdout
    work.attempt("vocabulary", "x\n", event="failed", exit_code=75, message="no network")
    work.finish("vocabulary")
    work.attempt("3L-pretrain-1", "x\n", event="failed", exit_code=1, message="m")
    work.attempt("6L-pretrain-1", "x\n")  # killed: no end, no lease
    lines = logs().stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["vocabulary", "done", "2", "attempts"],
        ["3L-pretrain-1", "failed", "1", "attempt"],
        ["6L-pretrain-1", "killed", "1", "attempt"],
    ]
    assert lines[3] == "8 more tasks haven't begun"
    assert lines[4:] == [f"`bertline logs small --store {work.store.uri} --task NAME` shows the output of one"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--task", "3L"], 2, "--task 3L fits several: 3L-pretrain-1, 3L-evaluate-1-MNLI-m, 3L-pretrain-2"),
        (["--task", "9L"], 2, "there is no task 9L; there are vocabulary, corpus, 3L-pretrain-1"),
        (["--task", "corpus"], 75, "task corpus has printed nothing yet; -f waits for it"),
        (["--task", "corpus", "-f", "--attempt", "1"], 2, "give only one of them"),
        (["-f"], 2, "no task runs; say with --task for which one to wait: vocabulary, corpus"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(arguments, code, message, logs):
    shown = logs(*arguments)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert shown.stderr.startswith("error: ")
    assert message in shown.stderr


def test_an_unknown_experiment_is_told_from_the_known(logs):
    shown = logs(name="other")
    assert shown.returncode == ExitCode.USER_ERROR
    assert "has no experiment 'other'; it has small" in shown.stderr


def test_a_reader_that_has_seen_enough_is_no_failure(work):
    work.attempt("vocabulary", "line\n" * 200_000, event="finished")
    command = Path(sys.executable).with_name("bertline")
    shown = subprocess.run(
        f"set -o pipefail; {command} logs small --task vocabulary --store {work.store.uri} | head -1",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shown.returncode, shown.stdout) == (0, "line\n")
    assert "Traceback" not in shown.stderr


class Follower:
    """`bertline logs -f` in a process of its own; what it says, as it says it."""

    def __init__(self, *arguments, **environment):
        self.process = forks.Process(["logs", *arguments, "-f"], env=os.environ | environment, first=paces.short_pauses)
        self.said, self.printed = [], []
        for stream, lines in ((self.process.stderr, self.said), (self.process.stdout, self.printed)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    @staticmethod
    def _read(stream, lines):
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))

    def wait_for(self, text, lines, seconds=30):
        until = time.monotonic() + seconds
        while not any(text in line for line in lines):
            assert time.monotonic() < until, (text, self.said, self.printed)
            assert self.process.poll() is None or any(text in line for line in lines), (text, self.said, self.printed)
            time.sleep(0.02)


@pytest.fixture
def follow():
    started = []

    def follow(*arguments, **environment):
        started.append(Follower(*arguments, **environment))
        return started[-1]

    yield follow
    for each in started:
        each.process.kill()
        each.process.wait()


def test_following_the_store_goes_on_to_the_end(work, follow):
    config = work.task("corpus").configs[0].derivation()
    with Lease(work.store, config.prefix):
        attempt = work.attempt("corpus", "one\n")
        follower = follow("small", "--store", work.store.uri)  # the only one that runs
        follower.wait_for("one", follower.printed)
        attempt.keep_output(b"one\ntwo\n")
        follower.wait_for("two", follower.printed)
        attempt.keep_output(b"one\ntwo\nthree\n")
        attempt.record("failed", exit_code=2, message="bad dump")
    assert follower.process.wait(20) == 0
    follower.wait_for("failed (exit code 2): bad dump", follower.said)
    assert follower.printed == ["one", "two", "three"]


def test_ctrl_c_is_quiet(work, follow):
    follower = follow("small", "--store", work.store.uri, "--task", "corpus")
    follower.wait_for("waiting for it to begin", follower.said)
    follower.process.send_signal(signal.SIGINT)
    assert follower.process.wait(10) == ExitCode.INTERRUPTED
    assert not any("Traceback" in line for line in follower.said)


# From pods


@pytest.fixture
def cluster(tmp_path, gs_uri, emulator):
    """(experiment in a bucket, Kubernetes' API, options of the command) of a run that goes on."""
    with KfpServer(tmp_path / "kubeflow") as kubeflow, kubernetes_api.serve() as kubernetes:
        spec, platform = tiny_pipelines.lingering()
        with Kubeflow(kubeflow.endpoint, "kubeflow") as client:
            parameters = {"folder": str(tmp_path)}
            run = client.submit(spec, platform, display_name="r", experiment="small", parameters=parameters)
        work = Work(connect(gs_uri))
        work.submit(run.id, kubeflow.endpoint)
        profile = tmp_path / "tests.yaml"
        document = {
            "name": "tests",
            "kubeflow": {"endpoint": kubeflow.endpoint, "namespace": "kubeflow"},
            "store": {"uri": gs_uri, "endpoint": emulator, "endpoint_here": emulator},
            "images": {"registry": "registry.example/bertline"},
            "pods": {"default": {"cpu": "2", "memory": "2Gi", "scratch": "1Gi", "retries": 0}},
        }
        profile.write_text(yaml.safe_dump(document))
        config = kubernetes_api.kubeconfig(tmp_path / "config", kubernetes.url)
        kubernetes.api.add("/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows")
        yield work, kubernetes.api, run.id, ("small", "--profile", profile), {"KUBECONFIG": str(config)}


def a_pod(name, task, run_id, **details):
    return pod(name, task=labels.label(task), run_id=run_id, **details)


@pytest.mark.slow
def test_following_goes_from_pod_to_pod_and_says_what_it_waits_for(cluster, follow):
    work, api, run_id, options, environment = cluster
    task = "6L-pretrain-1"
    # GIVEN a pod that no node takes
    waiting = a_pod("first", task, run_id, conditions=unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
    api.pods(waiting)
    follower = follow(*options, "--task", task, **environment)
    follower.wait_for("its pod waits: ", follower.said)
    assert "cpu" in next(line for line in follower.said if "its pod waits" in line)
    # WHEN it runs THEN its lines come
    api.logs["first"] = Log([(NOW, "step 1"), (NOW, "step 2")])
    running = a_pod("first", task, run_id, phase="Running", node="n1", main={"running": {}})
    waiting |= running
    follower.wait_for("step 2", follower.printed)
    # WHEN it is killed THEN the next one is waited for
    killed = a_pod("first", task, run_id, phase="Failed", node="n1", main={"terminated": {"exitCode": 137}})
    waiting |= killed
    follower.wait_for("waiting for the next one's pod", follower.said)
    api.logs["second"] = Log([(NOW, "step 2 again")])
    api.pods(a_pod("second", task, run_id, phase="Succeeded", created=9, main={"terminated": {"exitCode": 0}}))
    follower.wait_for("step 2 again", follower.printed)
    # WHEN the task is done THEN so is this
    work.finish(task)
    assert follower.process.wait(30) == 0
    follower.wait_for("== done", follower.said)
    assert follower.printed == ["step 1", "step 2", "step 2 again"]


@pytest.mark.slow
def test_a_pod_comes_before_the_store_and_the_store_after_the_pod(cluster, bertline):
    work, api, run_id, options, environment = cluster
    work.attempt("corpus", "from the store\n", event="failed", exit_code=1, message="m")
    api.pods(a_pod("first", "corpus", run_id, phase="Failed", main={"terminated": {"exitCode": 1}}))
    api.logs["first"] = Log([(NOW, "one"), (NOW, "two")])
    show = ("logs", *options, "--task", "corpus")
    assert bertline(*show, **environment).stdout == "one\ntwo\n"
    assert bertline(*show, "--tail", "1", **environment).stdout == "two\n"
    assert bertline(*show, "--attempt", "1", **environment).stdout == "from the store\n"
    api.logs["first"] = Log([(NOW, "x")])
    api.objects.clear()
    gone = bertline(*show, **environment)
    assert (gone.returncode, gone.stdout) == (0, "from the store\n")
    # without a cluster at all
    unreachable = bertline(*show, KUBECONFIG="/nowhere")
    assert unreachable.stdout == "from the store\n"
    assert "pods can't be read" in unreachable.stderr


OWN = ["starting TensorFlow", "  indented", "}", "error: the loss isn't finite at step 5"]
WRAPPED = f"""\
time="2026-11-25T05:56:22.387Z" level=info msg="capturing logs" argo=true
I1125 05:56:23.172306      46 launcher_v2.go:151] launcher info:
executorInput={{
  "inputs": {{
    "parameterValues": {{"store": "s3://bertline/store"}}
  }}
}}

I1125 05:56:23.172306      46 client.go:752] Attempting to update DAG state
[KFP Executor 2026-11-25 05:56:24,134 INFO]: Looking for component `pretrain` in --component_module_path `/tmp/x.py`
[KFP Executor 2026-11-25 05:56:24,140 INFO]: Got executor_input:
{{
    "inputs": {{
        "parameterValues": {{}}
    }}
}}
{OWN[0]}
{OWN[1]}
{OWN[2]}
{OWN[3]}
I1125 05:57:23.172306      46 launcher_v2.go:193] publish success.
F1125 05:57:23.172347      46 main.go:58] failed to execute component: exit status 2
time="2026-11-25T05:57:23.387Z" level=info msg="sub-process exited" argo=true error="<nil>"
Error: exit status 1
""".splitlines()
TROUBLE = [
    "W1125 05:57:23.172306      46 launcher_v2.go:845] Failed to upload output artifacts: dial tcp: i/o timeout",
    "F1125 05:57:23.172347      46 main.go:58] failed to execute component: rpc error: code = Unavailable",
    'time="2026-11-25T05:57:23.387Z" level=error msg="cannot save logs" argo=true',
    "[KFP Executor 2026-11-25 05:56:24,134 ERROR]: No module named bertline",
    "Error: exit status 1 of 2",
]


def test_what_kubeflow_and_argo_say_in_good_times_is_left_out_and_their_troubles_are_not():
    assert list(log_framing.without(WRAPPED)) == OWN
    assert list(log_framing.without(TROUBLE)) == TROUBLE
    assert list(log_framing.without(["I1125 05:57:23.17  46 main.go:5] it is {", "not of it", "  "])) == [
        "not of it",
        "  ",
    ]


def test_what_kfps_own_executor_prints_is_left_out(tmp_path):
    with KfpServer(tmp_path / "kubeflow") as kubeflow:
        with Kubeflow(kubeflow.endpoint, "kubeflow") as client:
            spec, platform = tiny_pipelines.notes()
            parameters = {"folder": str(tmp_path)}
            run = client.submit(spec, platform, display_name="r", experiment="e", parameters=parameters)
        until = time.monotonic() + 60
        while kubeflow.runs[run.id].finished.startswith("1970"):
            assert time.monotonic() < until
            time.sleep(0.05)
        printed = (kubeflow.runs[run.id].folder / "note" / "log").read_text().splitlines()
    assert len(printed) > 10
    assert list(log_framing.without(printed)) == []


@pytest.mark.slow
def test_a_pods_log_is_the_tasks_own_lines_and_all_with_raw(cluster, bertline):
    _, api, run_id, options, environment = cluster
    api.pods(a_pod("first", "corpus", run_id, phase="Failed", main={"terminated": {"exitCode": 1}}))
    api.logs["first"] = Log([(NOW, line) for line in WRAPPED])
    show = ("logs", *options, "--task", "corpus")
    assert bertline(*show, **environment).stdout.splitlines() == OWN
    assert bertline(*show, "--tail", "2", **environment).stdout.splitlines() == OWN[-2:]
    assert bertline(*show, "--raw", **environment).stdout.splitlines() == WRAPPED
    api.logs["first"] = Log([(NOW, line) for line in WRAPPED if line not in OWN])
    nothing = bertline(*show, **environment)
    assert nothing.stdout == ""
    assert "--raw" in nothing.stderr


def test_logs_imports_neither_kfp_nor_tensorflow():
    code = (
        "import sys; from bertline_cli import logs; "
        "from bertline_pipelines.cluster import pod_logs, reader; from bertline_pipelines.kubeflow import api; "
        "from bertline_pipelines.places import access; from bertline_pipelines.records import task_logs; "
        "from bertline_pipelines.submitting import statuses; "
        "print([name for name in ('kfp', 'tensorflow') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_outage_of_the_store_is_no_sign_of_death(work, monkeypatch):
    """Who is at work can't renew a lease that nobody can see."""
    monkeypatch.setattr(leases, "EXPIRE_S", 0.3)
    task = work.task("corpus")
    work.store.put(f"{task.configs[0].derivation().prefix}lease.json", b'{"host": "elsewhere"}')
    tail = task_logs.Tail(work.store, task)
    assert not tail.is_dead()
    time.sleep(0.4)
    tail.interrupted()
    assert not tail.is_dead()
    time.sleep(0.4)
    assert tail.is_dead()
