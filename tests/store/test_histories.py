"""How a result stands: from recorded attempts, with or without a lease and a manifest."""

import json
import os
import platform
import time
from pathlib import Path

import pytest

from bertline.errors import DamagedError, ExitCode
from bertline.store import attempts, histories, leases
from bertline.store.attempts import Failure, RecordedAttempt
from bertline.store.derivations import Derivation
from bertline.store.histories import State
from bertline.store.leases import Lease
from bertline.store.realizations import MANIFEST, Outcome, realize

RECORDED = json.loads((Path(__file__).parents[1] / "support/recorded/attempts.json").read_text())
"""Of real tasks, less what nobody reads: a pre-training in pods of one workflow, corpora and fine-tunings here."""
TRAINED = "pretrain killed, stopped, finished"
KILLED = "corpus killed five times"
BUG = "same bug twice in a run, finished in another"
ASKED = Derivation("numbers", 1, {"n": 3})
ELSEWHERE = {"host": "node-1", "boot": "another", "pid": 25043}


def put(store, name, count=None):
    """Recorded attempts, or the first ones of them."""
    for number, events in enumerate(RECORDED[name][:count], start=1):
        content = "".join(json.dumps(event) + "\n" for event in events)
        store.put(f"{ASKED.prefix}attempts/{number:04d}.jsonl", content.encode())


def put_lease(store, holder):
    store.put(f"{ASKED.prefix}{leases.NAME}", json.dumps(holder).encode())


def read(store, **options):
    return histories.read(store, ASKED.stage, ASKED.key, **options)


@pytest.mark.parametrize(
    ("name", "count", "state", "exit_code", "words"),
    [
        (TRAINED, 0, State.NOT_BEGUN, None, "not begun"),
        (TRAINED, 1, State.KILLED, None, "no process is at work"),
        (TRAINED, 2, State.PREEMPTED, 76, "preempted (exit code 76): told to stop; saved at step 50"),
        (TRAINED, 3, State.MANIFEST_MISSING, None, "manifest"),
        (KILLED, 5, State.KILLED, None, "no process is at work"),
        ("full disk, then finished", 1, State.FAILED, 75, "failed (exit code 75): no space left"),
        ("download without length", 1, State.FAILED, 2, "failed (exit code 2): https://example.org/vocab.txt can't"),
        ("stop that could not be saved", 1, State.PREEMPTED, 76, "which couldn't be saved: the disk is full"),
        ("fine-tuning diverged", 1, State.FAILED, 2, "fine-tuning on sample-nli diverged"),
        ("input missing", 1, State.FAILED, 65, "manifest.json is missing"),
        (BUG, 1, State.FAILED, 1, "failed (exit code 1): ZeroDivisionError: oops"),
    ],
)
def test_how_a_result_stands(directory, name, count, state, exit_code, words):
    put(directory, name, count)
    history = read(directory)
    assert history.state == state
    assert (history.failure and history.failure.exit_code) == exit_code
    assert words in str(history)
    assert "\n" not in str(history)
    assert history.state.has_stopped == (state != State.NOT_BEGUN)
    assert history.count == count


@pytest.mark.parametrize(
    ("count", "reached", "saved"), [(0, None, None), (1, 60, 50), (2, 50, 50)], ids=["not begun", "killed", "preempted"]
)
def test_how_far_a_training_came(directory, count, reached, saved):
    put(directory, TRAINED, count)
    history = read(directory)
    assert (history.step, history.saved_step) == (reached, saved)


def test_a_successor_that_has_not_trained_yet_keeps_what_was_saved(directory):
    put(directory, TRAINED, 1)
    attempts.Attempt(directory, ASKED.prefix).close()
    assert (read(directory).step, read(directory).steps_per_s) == (50, None)


def test_what_one_attempt_tells():
    killed, stopped, finished = (
        RecordedAttempt(number, tuple(events)) for number, events in enumerate(RECORDED[TRAINED], start=1)
    )
    assert killed.workflow == "bertline-nano-txz27"
    assert killed.host == "node-1"
    assert killed.failure is None
    assert not killed.has_finished
    assert killed.steps_per_s == pytest.approx(10 / 0.58, rel=0.01)
    assert killed.heard - killed.begun == pytest.approx(37.37, abs=0.01)
    assert killed.saved_at == (pytest.approx(1795597520.55),)
    assert stopped.failure == Failure(76, "told to stop; saved at step 50; the same command goes on", is_preempted=True)
    assert (stopped.saved_step, stopped.saved_at) == (50, ())
    assert finished.has_finished
    assert (finished.step, finished.saved_step, finished.epochs) == (150, 100, {1})
    assert finished.highest("wall_clock_s", "checkpoint") == pytest.approx(11.76, abs=0.01)


# Who is at work


def test_who_holds_the_lease_is_at_work(directory):
    put(directory, TRAINED, 1)
    with Lease(directory, ASKED.prefix):
        history = read(directory)
        assert history.state == State.AT_WORK
        assert str(history) == f"at work: process {os.getpid()} on this machine"
        assert history.ending(history.attempts[0]) == str(history)
    assert read(directory).state == State.KILLED


def test_a_process_of_this_machine_that_is_gone_is_not_at_work(directory):
    put(directory, TRAINED, 1)
    here = leases._process()
    put_lease(directory, here | {"started": here["started"] - 1000})  # its number was given to another since
    assert read(directory).state == State.KILLED


def test_a_pod_that_is_silent_may_have_been_killed(directory):
    put(directory, TRAINED, 1)
    put_lease(directory, ELSEWHERE)
    assert str(read(directory)) == "at work: process 25043 on node-1"
    path = directory.local_path(f"{ASKED.prefix}{leases.NAME}")
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))
    assert str(read(directory)).endswith("(or killed: no sign of life for 60 min)")
    assert read(directory).state == State.AT_WORK, "that isn't known"


@pytest.mark.parametrize("name", ["fine-tuning diverged", "stop that could not be saved"])
def test_what_an_attempt_said_counts_more_than_a_lease_that_stayed(directory, name):
    """It is given back last, and in an outage it stays."""
    put(directory, name)
    put_lease(directory, ELSEWHERE)
    assert read(directory).state.has_stopped
    assert read(directory).holder is None


# What is done


def test_what_is_done_is_done_whatever_lies_there(store):
    put(store, TRAINED, 2)
    made = realize(store, ASKED, lambda build: Outcome({}, {}))
    history = read(store)
    assert (history.state, history.count, history.attempts, history.failure) == (State.DONE, 3, (), None)
    assert history.finished == pytest.approx(time.time(), abs=600)
    assert str(history) == "done"
    full = read(store, with_attempts=True)
    assert full.realization.manifest == made.manifest
    assert [full.ending(each).partition(" ")[0] for each in full.attempts] == ["killed:", "preempted", "finished"]


def test_a_manifest_that_came_while_we_looked_counts(directory, monkeypatch):
    """It is written, and the lease is given back, after we found no manifest and before we ask for the lease."""
    put(directory, KILLED, 1)

    def find(*_):
        monkeypatch.undo()
        realize(directory, ASKED, lambda build: Outcome({}, {}))

    monkeypatch.setattr(leases, "find", find)
    assert read(directory).state == State.DONE


def test_a_deleted_manifest_is_named(directory):
    realize(directory, ASKED, lambda build: Outcome({}, {}))
    directory.delete(f"{ASKED.prefix}{MANIFEST}")
    history = read(directory)
    assert history.state == State.MANIFEST_MISSING
    assert history.ending(history.attempts[0]) == "finished"


# What is given up


@pytest.mark.parametrize(
    ("name", "count", "family"),
    [
        ("fine-tuning diverged", 1, "your input (2)"),
        ("input missing", 1, "damaged objects (65)"),
        ("full disk, then finished", 1, None),
        ("stop that could not be saved", 1, None),
        (TRAINED, 2, None),
        (BUG, 1, None),
        (BUG, 2, "a bug (1)"),
        (BUG, 3, None),
    ],
)
def test_what_trying_again_cannot_help(directory, name, count, family):
    put(directory, name, count)
    given_up = read(directory).given_up
    assert (given_up and given_up.family) == family


@pytest.mark.parametrize("change", ["workflow", "message", "checkpoint"])
def test_two_bugs_are_one_only_in_one_run_with_the_same_words_and_without_progress(change):
    first, second = ([dict(event) for event in events] for events in RECORDED[BUG][:2])
    if change == "workflow":
        second[0]["workflow"] = "another"
    elif change == "message":
        second[-1]["message"] = "Traceback (…)\nKeyError: 'a'"
    else:
        second.insert(1, {"event": "checkpoint", "time": second[0]["time"], "step": 5})
    assert attempts.for_good([RecordedAttempt(1, tuple(first)), RecordedAttempt(2, tuple(second))]) is None


def test_two_bugs_outside_of_pods_are_tried_again():
    first, second = (
        tuple({name: value for name, value in event.items() if name != "workflow"} for event in events)
        for events in RECORDED[BUG][:2]
    )
    assert attempts.for_good([RecordedAttempt(1, first), RecordedAttempt(2, second)]) is None


# Failures


@pytest.mark.parametrize(
    ("end", "failure", "family"),
    [
        ({"exit_code": 2, "message": "bad\nfield x"}, Failure(2, "bad\nfield x"), "your input (2)"),
        ({"exit_code": 1, "message": "Traceback\n  x\nKeyError: 'a'\n"}, Failure(1, "KeyError: 'a'"), "a bug (1)"),
        ({"exit_code": 99, "message": "of a later version"}, Failure(99, "of a later version"), "unknown (99)"),
        ({"exit_code": 75, "message": " "}, Failure(75, "it gave no reason"), "transient (75)"),
        ({}, Failure(ExitCode.BUG, "it gave no reason"), "a bug (1)"),
    ],
)
def test_what_a_failure_says(end, failure, family):
    recorded = RecordedAttempt(1, ({"event": "start", "time": 1.0}, {"event": "failed", "time": 2.0} | end))
    assert recorded.failure == failure
    assert recorded.failure.family == family
    assert recorded.failure.sentence == failure.message.splitlines()[0]
    assert (recorded.host, recorded.workflow) == ("an unknown host", None)


@pytest.mark.parametrize(
    "content", [b"", b'{"event": "sta', b"[]\n", b'{"event": "start"}\n', b'{"event": "start", "time": "now"}\n', b"7"]
)
def test_what_is_no_log_is_named(directory, content):
    directory.put(f"{ASKED.prefix}attempts/0001.jsonl", content)
    with pytest.raises(DamagedError, match=rf"{ASKED.prefix}attempts/0001\.jsonl is damaged: .*; delete it"):
        read(directory)


def test_what_an_attempt_writes_is_what_is_read(store):
    attempt = attempts.Attempt(store, ASKED.prefix)
    attempt.record("checkpoint", step=7)
    attempt.alive(step=9)
    attempt.close()
    (recorded,) = read(store).attempts
    assert (recorded.number, recorded.host, recorded.step, recorded.saved_step) == (1, platform.node(), 9, 7)
