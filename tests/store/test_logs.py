"""What a task prints is passed on at once and kept in the store, however the task ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bertline.errors import ExitCode
from bertline.process import output_capture
from bertline.store import attempts
from bertline.store.backends import connect
from bertline.store.derivations import Derivation

PRINTING = Path(__file__).with_name("printing.py")


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


@pytest.fixture
def start(store, tmp_path):
    """Start a task that goes these ways, in a process group of its own; its output is one pipe."""
    started = []

    def start(*ways, uri=store.uri, **environment):
        config = json.dumps([{"way": way} for way in ways])
        process = subprocess.Popen(
            [sys.executable, PRINTING, "--store", uri, "--config", config],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": ""} | environment,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def kept(store, way, number=1):
    return attempts.output(store, Derivation("prints", 1, {"way": way}).prefix, number)


def wait_for(find, seconds=20):
    until = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < until, "it didn't happen"
        time.sleep(0.02)
    return found


BEGIN = ["{way} begins", "from C++", "from a worker"]


@pytest.mark.parametrize(
    ("way", "code", "last"),
    [
        ("ends", ExitCode.OK, ": 0 files"),
        ("fails", ExitCode.USER_ERROR, "error: the input is wrong"),
        ("breaks", ExitCode.BUG, "ZeroDivisionError"),
    ],
)
def test_all_that_is_printed_is_passed_on_and_kept(way, code, last, start, store):
    process = start(way)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert sorted(printed.splitlines()[:3]) == sorted(line.format(way=way) for line in BEGIN)
    assert printed.rstrip().endswith(last)
    assert sorted(kept(store, way).splitlines()) == sorted(printed.splitlines())
    if way == "breaks":
        assert "Traceback (most recent call last)" in kept(store, way)
        assert "raise ZeroDivisionError" in kept(store, way)


def test_each_attempt_has_its_own_beginning(start, store):
    printed, _ = start("ends", "fails").communicate(timeout=30)
    start("fails").communicate(timeout=30)
    assert "fails" not in kept(store, "ends")
    assert "ends" not in kept(store, "fails")
    assert "ends begins" in printed
    assert [kept(store, "fails", number).count("fails begins") for number in (1, 2)] == [1, 1]
    recorded = attempts.read(store, Derivation("prints", 1, {"way": "fails"}).prefix)
    assert [each.events[-1]["event"] for each in recorded] == ["failed", "failed"]


def test_after_sigterm_to_the_group_nothing_is_missing(start, store):
    process = start("waits")
    while "worker" not in process.stdout.readline():
        pass
    os.killpg(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=10)
    assert process.returncode == ExitCode.PREEMPTED
    assert "error: told to stop; " in rest
    assert "error: told to stop; " in kept(store, "waits")
    assert "waits begins" in kept(store, "waits")


def test_at_sigterm_it_is_kept_though_the_task_is_still_computing(start, store):
    """A pod is killed within a second of it."""
    process = start("computes")
    while "worker" not in process.stdout.readline():
        pass
    time.sleep(0.3)
    assert kept(store, "computes") is None
    process.send_signal(signal.SIGTERM)
    assert "from a worker" in wait_for(lambda: kept(store, "computes"), 5)
    assert process.poll() is None


def test_a_killed_task_leaves_what_was_kept_by_then(start, store):
    process = start("waits", EVERY_S="0.2")
    wait_for(lambda: "worker" in (kept(store, "waits") or ""))
    tee = [each for each in psutil.Process(process.pid).children() if "output_capture.py" in " ".join(each.cmdline())]
    os.killpg(process.pid, signal.SIGKILL)
    printed, _ = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert sorted(kept(store, "waits").splitlines()) == sorted(printed.splitlines())
    assert len(tee) == 1
    psutil.wait_procs(tee, timeout=5)
    assert not tee[0].is_running()


def test_a_crash_loses_no_line(start):
    process = start("crashes")
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGSEGV
    assert [line for line in printed.splitlines() if line.startswith("line")] == [f"line {n}" for n in range(20_000)]


def test_of_a_flood_both_ends_are_kept(start, store):
    process = start("floods")
    printed, _ = process.communicate(timeout=60)
    assert printed.count("\nline ") == 300_000
    content = kept(store, "floods")
    head, tail = content.split(" bytes are left out here]\n")
    assert "floods begins" in head
    assert "line 299999\nprints" in tail
    assert abs(len(content) - output_capture.HEAD - output_capture.TAIL) < 100
    left_out = int(head.rpartition("[")[2].replace(",", ""))
    assert left_out == len(printed) - output_capture.HEAD - output_capture.TAIL


def test_what_a_task_leaves_running_does_not_keep_it(start, store):
    process = start("leaves")
    began = time.monotonic()
    assert process.wait(20) == ExitCode.OK
    printed, _ = process.communicate(timeout=5)  # the pipe is closed: the tee has ended too
    assert time.monotonic() - began < 15
    assert ": 0 files" in printed
    assert ": 0 files" in kept(store, "leaves")


def test_a_tee_that_is_killed_does_not_fail_the_task(start):
    process = start("loses its tee")
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.OK
    assert "still heard" in printed


def test_a_log_that_cannot_be_kept_does_not_fail_the_task(start, store):
    # GIVEN a folder where the log would be written
    prefix = Derivation("prints", 1, {"way": "ends"}).prefix
    (store.root / f"{prefix}attempts/0001.log").mkdir(parents=True)
    process = start("ends")
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.OK, printed


def test_standard_error_stays_apart(store):
    config = json.dumps({"way": "fails"})
    command = [sys.executable, PRINTING, "--store", store.uri, "--config", config]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.stderr.splitlines() == ["from C++", "error: the input is wrong"]
    assert ended.stdout.splitlines() == ["fails begins", "from a worker"]
