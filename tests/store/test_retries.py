"""Kubeflow starts a failed pod again, whatever its exit code: what failed for good ends at once, all else is tried."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertline.errors import DamagedError, ExitCode, GivenUpError, TransientError, UserError
from bertline.process.signals import Stopped
from bertline.store import attempts
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, realize
from support import tiny_corpora

ASKED = Derivation("numbers", 1, {"n": 3})
POD = "{}-metadata-0-6-retry-system-container-impl-{}"
MISTAKE = UserError("the loss isn't finite at step 5 (learning rate 1.00e+02); lower pretrain.learning_rate.peak")
BUG = ZeroDivisionError("oops")


@pytest.fixture
def pod(directory: ObjectStore, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Be a pod of Kubeflow's: build, or fail; returns what was raised, None after success."""

    def be(workflow: str, retry: int, error: BaseException | None = None, checkpoint: bool = False):  # type: ignore[no-untyped-def]
        def build(work: Build) -> Outcome:
            if checkpoint:
                work.attempt.record("checkpoint", step=7)
            if error:
                raise error
            return Outcome({}, {})

        monkeypatch.setenv("KFP_POD_NAME", POD.format(workflow, 3983827815 + retry))
        monkeypatch.setenv("KFP_RETRY_INDEX", str(retry))
        try:
            realize(directory, ASKED, build)
        except BaseException as raised:  # noqa: BLE001 - KeyboardInterrupt is one of the ways
            return raised
        return None

    return be


def count(store: ObjectStore) -> int:
    return len(attempts.numbers(store, ASKED.prefix))


@pytest.mark.parametrize(
    ("pod_name", "workflow"),
    [
        # As recorded of KFP 2.16.1 with Argo 3.7.3: with our labels, without, without retries, a driver.
        ("bertline-nano-txz27-metadata-0-6-retry-system-container-impl-1346712827", "bertline-nano-txz27"),
        ("rig-more-bf8t7-retry-system-container-impl-2025219186", "rig-more-bf8t7"),
        ("rig-more-bf8t7-system-container-impl-692661332", "rig-more-bf8t7"),
        ("bertline-retry-2-frlmx-metadata-1-12-retry-system-container-impl-1401665560", "bertline-retry-2-frlmx"),
        ("bertline-nano-txz27-1346712827", "bertline-nano-txz27"),  # Argo's older names
        ("a-laptop", None),
        ("", None),
    ],
)
def test_the_workflow_follows_from_the_pods_name(
    monkeypatch: pytest.MonkeyPatch, pod_name: str, workflow: str | None
) -> None:
    monkeypatch.setenv("KFP_POD_NAME", pod_name)
    assert attempts.workflow() == workflow


@pytest.mark.parametrize("mistake", [MISTAKE, DamagedError("gs://b/objects/corpus/x is damaged")])
def test_what_failed_for_good_is_not_tried_again_in_its_run(directory, pod, mistake) -> None:  # type: ignore[no-untyped-def]
    assert pod("nano-txz27", 0, mistake) is mistake
    for retry in (1, 2, 3):
        raised = pod("nano-txz27", retry)
        assert isinstance(raised, GivenUpError)
        assert str(raised).splitlines()[0] == str(mistake)
        assert raised.exit_code == mistake.exit_code
    assert count(directory) == 1, "a pod that doesn't try is no attempt"
    [attempt] = attempts.read(directory, ASKED.prefix)
    assert attempt.failure == attempts.Failure(mistake.exit_code, str(mistake))


def test_a_new_run_tries_again_and_so_do_its_retries(directory, pod) -> None:  # type: ignore[no-untyped-def]
    pod("nano-txz27", 0, MISTAKE)
    assert isinstance(pod("nano-frlmx", 0, TransientError("the store is away")), TransientError)
    assert isinstance(pod("nano-frlmx", 1, Stopped("told to stop")), Stopped)
    assert pod("nano-frlmx", 2) is None


def test_a_new_run_whose_first_pod_left_no_trace_tries_again(directory, pod) -> None:  # type: ignore[no-untyped-def]
    pod("nano-txz27", 0, MISTAKE)
    assert pod("nano-frlmx", 1) is None


def test_the_same_run_begun_anew_in_kubeflows_ui_tries_again(directory, pod) -> None:  # type: ignore[no-untyped-def]
    pod("nano-txz27", 0, MISTAKE)
    assert isinstance(pod("nano-txz27", 1), GivenUpError)
    assert isinstance(pod("nano-txz27", 0, TransientError("the store is away")), TransientError)
    assert pod("nano-txz27", 1) is None


@pytest.mark.parametrize("end", [TransientError("full disk"), Stopped("told to stop"), KeyboardInterrupt()])
def test_what_may_succeed_the_next_time_is_tried(directory, pod, end) -> None:  # type: ignore[no-untyped-def]
    assert pod("nano-txz27", 0, end) is end
    assert pod("nano-txz27", 1) is None


def test_a_bug_is_tried_once_more_and_the_same_one_twice_is_enough(directory, pod) -> None:  # type: ignore[no-untyped-def]
    assert pod("nano-txz27", 0, BUG) is BUG
    assert pod("nano-txz27", 1, BUG) is BUG
    raised = pod("nano-txz27", 2)
    assert isinstance(raised, GivenUpError)
    assert raised.exit_code == ExitCode.BUG
    assert str(raised).startswith("ZeroDivisionError: oops")
    assert count(directory) == 2
    assert pod("nano-frlmx", 0) is None


def test_two_different_bugs_or_one_that_came_after_a_checkpoint_are_tried_again(directory, pod) -> None:  # type: ignore[no-untyped-def]
    pod("nano-txz27", 0, ValueError("another"))
    pod("nano-txz27", 1, BUG)
    assert pod("nano-txz27", 2, BUG, checkpoint=True) is BUG
    assert pod("nano-txz27", 3) is None


def test_outside_of_kubeflow_every_attempt_is_one(directory, pod, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pod("nano-txz27", 0, MISTAKE)
    for name in ("KFP_POD_NAME", "KFP_RETRY_INDEX"):
        monkeypatch.delenv(name)
    assert realize(directory, ASKED, lambda _: Outcome({}, {})).manifest.provenance["attempts"] == 2


def test_a_pod_that_needs_not_try_ends_before_tensorflow_and_without_waiting(tmp_path: Path) -> None:
    # GIVEN a round whose loss was no number at step 5, in the first pod of its task
    config = tiny_corpora.config("0" * 64, "1" * 64)
    store = connect(str(tmp_path / "store"))
    environment = {"KFP_POD_NAME": POD.format("nano-txz27", 1), "KFP_RETRY_INDEX": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        attempt = attempts.Attempt(store, config.derivation().prefix)
        attempt.record("failed", exit_code=2, message=str(MISTAKE))
        attempt.close()
    # WHEN Kubeflow starts the second one
    environment |= {
        "KFP_RETRY_INDEX": "1",
        "BERTLINE_METRICS_ADDRESS": "127.0.0.1:0",
        "BERTLINE_METRICS_LINGER_S": "60",
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bertline.pretrain", "--store", store.uri, "--config", config.model_dump_json()],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # THEN it says the same and is gone
    assert done.returncode == ExitCode.USER_ERROR, done.stderr
    assert f"error: {MISTAKE}\n" in done.stderr
    assert " tensorflow\n" not in done.stderr, "tensorflow was imported"
    assert time.monotonic() - began < 15, "it waited for something"
    assert len(attempts.numbers(store, config.derivation().prefix)) == 1
