"""Ctrl-C on `bertline run` at any moment: all is saved, it says where, and the next run ends in the same bits."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bertline.errors import ExitCode
from bertline.store.backends import connect
from bertline.store.realizations import Manifest
from support.tiny_experiments import write

BERTLINE = Path(sys.executable).with_name("bertline")
STEPS = r"^\s*(epoch|fine-tuning on) .* of .* steps"
ENDED = r"^\s*((pretrain|evaluate) \w+: \d+ file|error: )"
STOPPED = re.compile(r"■ (\S+) +stopped +.*?  (.*)")


def two_models(folder, steps):
    """Pre-training takes seconds, and saves itself only when it is told to stop."""
    path = write(folder, epochs=1)
    document = yaml.safe_load(path.read_text())
    document["models"]["2L"] = document["models"]["1L"] | {"layers": 2}
    document["pretrain"] |= {"steps_per_epoch": steps, "checkpoints": {"every_steps": 10**6, "every_minutes": 1000}}
    document["evaluate"] |= {"max_train_examples": 3000, "epochs": 30}
    path.write_text(yaml.safe_dump(document))
    return path


def start(folder, store):
    command = [BERTLINE, "run", "tiny.yaml", "--store", store, "--out", f"{store}-out"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def results(store):
    """Checksums and results of all that was computed, and steps that were trained twice."""
    found = [
        Manifest.model_validate_json(store.get(each.name)[0])
        for each in store.list("objects/")
        if each.name.endswith("/manifest.json") and "/report/" not in each.name
    ]
    lost = sum(manifest.measurements.get("lost_steps", 0) for manifest in found)
    return {manifest.key: (manifest.files, manifest.results) for manifest in found}, lost


def train(folder, store):
    """Pre-trainings that have taken steps."""
    logs = (folder / store).glob("objects/pretrain/*/attempts/*.jsonl")
    return [log for log in logs if '"step"' in (text := log.read_text()) and '"preempted"' not in text]


def at_work(folder, store, stage, line):
    """Tasks of a stage that have printed such a line and haven't ended, in the last run."""
    texts = {log.stem: log.read_text() for log in (folder / f"{store}-out/logs").glob(f"*L-{stage}-*.log")}
    return [
        name
        for name, text in texts.items()
        if re.search(line, text, re.MULTILINE) and not re.search(ENDED, text, re.MULTILINE)
    ]


def read(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def wait_for(condition, run, seconds=300):
    until = time.monotonic() + seconds
    while not condition() and run.poll() is None:
        assert time.monotonic() < until, "it didn't happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupts")
    two_models(folder, steps=4000)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder):
    run = start(folder, "undisturbed")
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output
    return results(connect(str(folder / "undisturbed")))[0]


def goes_on(folder, store):
    run = start(folder, store)
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output


def stopped_in_mid_training(folder, store, signals):
    """A run that was told to stop while both models train: its exit code, and what it said of each task."""
    run = start(folder, store)
    wait_for(lambda: len(train(folder, store)) == 2, run)
    for number in signals:
        run.send_signal(number)
        time.sleep(0.3)  # less than counts as another one
    output, _ = run.communicate(timeout=60)
    assert f"Next:  bertline run tiny.yaml --store {store}" in output
    assert "Traceback" not in output
    assert not list((folder / store).glob("objects/*/*/lease.json"))
    return run.returncode, dict(STOPPED.findall(output))


def test_both_models_save_themselves_at_ctrl_c_also_at_a_second_one(folder):
    code, said = stopped_in_mid_training(folder, "twice", [signal.SIGINT, signal.SIGINT])
    assert code == ExitCode.INTERRUPTED
    assert set(said) == {"1L-pretrain-1", "2L-pretrain-1"}
    assert all("saved at step" in sentence for sentence in said.values())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_what_else_ends_a_run_saves_too_and_the_next_run_ends_in_the_same_bits(number, folder, undisturbed):
    code, said = stopped_in_mid_training(folder, number.name, [number])
    assert code == ExitCode.PREEMPTED
    assert all("saved at step" in said[name] for name in ("1L-pretrain-1", "2L-pretrain-1"))
    goes_on(folder, number.name)
    again, lost = results(connect(str(folder / number.name)))
    assert again == undisturbed
    assert lost == 0


@pytest.mark.slow
def test_ctrl_c_that_also_ends_the_reader_of_the_output_loses_nothing(folder):
    """As on a terminal, where it goes to all of `bertline run … | tee log`."""
    command = f"set -o pipefail; {BERTLINE} run tiny.yaml --store piped --out piped-out | tee piped.log"
    run = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: len(train(folder, "piped")) == 2, run)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == ExitCode.INTERRUPTED
    assert said.count("saved at step") == 2
    assert "Traceback" not in said


@pytest.mark.slow
def test_three_ctrl_cs_within_a_second_are_one(folder):
    code, said = stopped_in_mid_training(folder, "anger", [signal.SIGINT] * 3)
    assert code == ExitCode.INTERRUPTED
    assert all("saved at step" in sentence for sentence in said.values())


@pytest.mark.slow
def test_tasks_of_a_run_killed_for_good_save_themselves_and_the_next_run_goes_on(folder, undisturbed):
    run = start(folder, "killed")
    wait_for(lambda: len(train(folder, "killed")) == 2, run)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    goes_on(folder, "killed")  # at once: it waits for them and leaves their scratch alone
    again, lost = results(connect(str(folder / "killed")))
    assert again == undisturbed
    assert lost == 0
    ends = [read(log)[-1]["event"] for log in (folder / "killed").glob("objects/*/*/attempts/*.jsonl")]
    assert set(ends) <= {"preempted", "finished"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_at_ten_random_moments_nothing_is_lost(folder, undisturbed):
    moments = random.Random(7)
    interrupted = {"pretrain": 0, "evaluate": 0}
    at_a_step = 0
    run = start(folder, "random")
    for number in range(10):
        stage = "pretrain" if number < 5 else "evaluate"
        if number % 2:  # any moment of an attempt: while TensorFlow is imported, while the graph is traced, …
            wait_for(lambda stage=stage: at_work(folder, "random", stage, "^"), run)
            time.sleep(moments.uniform(0, 3))
        else:
            wait_for(lambda stage=stage: at_work(folder, "random", stage, STEPS), run)
            time.sleep(moments.uniform(0, 1.5))
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=60)
        assert run.returncode == ExitCode.INTERRUPTED, output
        for name, sentence in STOPPED.findall(output):
            stage = name.split("-")[1]
            interrupted[stage] += 1
            at_a_step += "saved at step" in sentence
            assert re.search("saved at step" if stage == "pretrain" else "saved at step|begins again", sentence)
        run = start(folder, "random")
    run.communicate(timeout=400)
    goes_on(folder, "random")
    again, lost = results(connect(str(folder / "random")))
    assert again == undisturbed
    assert lost == 0
    assert interrupted["pretrain"] >= 3
    assert interrupted["evaluate"] >= 3
    assert at_a_step >= 6
