"""How tasks stand: from the results they make, one after the other."""

import pytest

from bertline.store.backends import connect
from bertline.store.histories import State
from bertline.store.leases import Lease
from bertline.store.realizations import Outcome, realize
from bertline_pipelines.records import task_histories
from bertline_pipelines.records.task_histories import TaskHistory
from support.experiments_at_work import Work

SEEDS = "6L-evaluate-1-MNLI-m"
"""A task with two results."""


@pytest.fixture
def work(tmp_path):
    return Work(connect(str(tmp_path / "store")))


def read(work, name, **options):
    return task_histories.read(work.store, [work.task(name)], **options)[name]


def finish(work, name, result):
    realize(work.store, work.task(name).configs[result].derivation(), lambda build: Outcome({}, {}))


def test_a_task_is_done_when_all_its_results_are(work):
    assert read(work, SEEDS).state == State.NOT_BEGUN
    finish(work, SEEDS, 0)
    half = read(work, SEEDS)
    assert (half.state, half.done, half.is_done) == (State.NOT_BEGUN, 1, False)
    assert half.finished is not None
    work.finish(SEEDS)
    done = read(work, SEEDS)
    assert (done.state, done.done, done.is_done, done.progress(0)) == (State.DONE, 2, True, "")


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ({"event": "failed", "exit_code": 2, "message": "no"}, State.FAILED),
        ({"event": "preempted", "exit_code": 76, "message": "told to stop"}, State.PREEMPTED),
        ({"event": "checkpoint", "step": 5}, State.KILLED),
    ],
)
def test_the_first_result_that_is_missing_tells_how_it_stands(work, end, state):
    finish(work, SEEDS, 0)
    work.attempt(SEEDS, result=1, event="failed", exit_code=75, message="no network")
    work.attempt(SEEDS, result=1, **end)
    history = read(work, SEEDS)
    assert (history.state, history.attempts) == (state, 2)
    assert history.progress(0) == ("step 5" if state == State.KILLED else "1 of 2 seeds")


def test_it_is_at_work_while_one_holds_the_lease_of_its_result(work):
    work.attempt("3L-pretrain-2", event="checkpoint", step=15_000).alive(step=15_500)
    with Lease(work.store, work.task("3L-pretrain-2").configs[0].derivation().prefix):
        history = read(work, "3L-pretrain-2")
    assert history.state == State.AT_WORK
    assert history.progress(20_000).startswith("step 15,500 of 20,000, ")


def test_what_is_done_is_not_asked_for_again_and_of_what_comes_later_only_that(work):
    work.finish("vocabulary")
    work.attempt("corpus", event="failed", exit_code=2, message="no")
    tasks = [work.task(name) for name in ("vocabulary", "corpus")]
    first = task_histories.read(work.store, tasks)
    for found in list(work.store.list(work.task("vocabulary").configs[0].derivation().prefix)):
        work.store.delete(found.name)
    again = task_histories.read(work.store, tasks, first)
    assert [again[name].state for name in ("vocabulary", "corpus")] == [State.DONE, State.FAILED]
    later = task_histories.read(work.store, tasks, later=["vocabulary", "corpus"])
    assert {history.state for history in later.values()} == {State.NOT_BEGUN}


def test_of_a_task_that_nobody_could_ask_about_nothing_is_known():
    unknown = TaskHistory()
    assert (unknown.is_done, unknown.state, unknown.attempts, unknown.progress(7)) == (False, State.NOT_BEGUN, 0, "")
