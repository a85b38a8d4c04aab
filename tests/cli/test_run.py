"""The whole experiment through the command, as small as it gets: it survives, grows, and repeats nothing."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertline.store.backends import connect
from bertline.store.realizations import Manifest
from support.tiny_experiments import write


def manifests(store):
    return {
        found.name: (found.modified, Manifest.model_validate_json(store.get(found.name)[0]))
        for found in store.list("objects/")
        if found.name.endswith("/manifest.json")
    }


def test_an_experiment_runs_survives_a_kill_and_repeats_nothing(bertline, tmp_path):
    store = connect(str(tmp_path / "store"))
    arguments = ["run", write(tmp_path, epochs=1), "--store", "store", "--out", "out"]

    # GIVEN a run killed -9 while it pre-trains
    command = [Path(sys.executable).with_name("bertline"), *arguments]
    killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 200
    while not list((tmp_path / "store").glob("objects/pretrain/*/attempts/*")):
        assert time.monotonic() < until
        assert killed.poll() is None
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = manifests(store)
    assert {manifest.stage for _, manifest in before.values()} == {"vocabulary", "corpus"}

    # WHEN it is run again THEN it goes on where it was, to the report
    first = bertline(*arguments, timeout=400)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "3 tasks to run, 2 done already" in first.stdout
    assert re.search(r"✓ 1L-pretrain-1 .* held-out MLM loss", first.stdout)
    assert re.search(r"✓ 1L-evaluate-1-sample-nli .*sample-nli: ", first.stdout)
    assert re.search(r"^1L +1 +sample-nli +\d+\.\d%", first.stdout, re.MULTILINE)
    report = (tmp_path / "out/report.html").read_text()
    assert "1L" in report
    assert "sample" in report
    after = manifests(store)
    assert {name: after[name] for name in before} == before
    (evaluation,) = [manifest for _, manifest in after.values() if manifest.stage == "evaluate"]
    assert evaluation.results["examples"] == 1002

    # WHEN nothing has changed THEN nothing is run, and it says so
    again = bertline(*arguments)
    assert "all 5 tasks are already done" in again.stdout
    assert manifests(store) == after
    assert "all is done" in bertline("plan", arguments[1], "--store", "store").stdout
    assert bertline("store", "verify", "--store", "store").returncode == 0

    # WHEN an epoch is added THEN only its round is missing
    write(tmp_path, epochs=2)
    assert "missing: 3 tasks" in bertline("plan", arguments[1], "--store", "store").stdout


@pytest.mark.slow  # TensorFlow starts four times
def test_of_an_experiment_that_grew_only_the_new_round_runs(bertline, tmp_path):
    store = connect(str(tmp_path / "store"))
    arguments = ["run", write(tmp_path, epochs=1), "--store", "store", "--out", "out"]
    first = bertline(*arguments, timeout=400)
    assert first.returncode == 0, first.stdout + first.stderr
    before = manifests(store)
    write(tmp_path, epochs=2)
    more = bertline(*arguments, timeout=400)
    assert more.returncode == 0, more.stdout + more.stderr
    assert "3 tasks to run, 4 done already" in more.stdout
    grown = manifests(store)
    assert {name: grown[name] for name in before} == before
    assert len(grown) == len(before) + 3
    assert bertline("store", "verify", "--store", "store").returncode == 0
