"""/healthz tells training that hangs from training that takes long, with real TensorFlow in this process."""

import threading
import time

import pytest

from bertline.metrics import collectors, gauges, servers, tasks
from bertline.metrics.gauges import Gauges, Labels
from bertline.pretrain.stage import run
from bertline.store.backends import connect
from support import scrapes, tiny_corpora

LONG_S = 1.0


@pytest.fixture
def url():
    pages = servers.Pages(collectors.registry(tasks.current), tasks.current)
    server = servers.Server("127.0.0.1", 0, pages)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def test_a_stuck_loop_is_told_and_long_tracing_and_a_long_first_step_arent(tmp_path, monkeypatch, url):
    from bertline.pretrain.trainer import Trainer

    monkeypatch.setattr(gauges, "STALLED_S", LONG_S / 2)  # no more than what is slept below
    monkeypatch.setattr(gauges, "STALLED_CALLS", 2.0)
    store = connect(str(tmp_path / "store"))
    config = tiny_corpora.config(*tiny_corpora.write(store))
    prepare, train = Trainer.prepare, Trainer.train
    found = {}

    def slow_prepare(self, batch):
        prepare(self, batch)
        time.sleep(LONG_S)
        found["tracing"] = scrapes.health(url)

    def slow_train(self, batch, rates, step):
        if step == 0:
            time.sleep(LONG_S)
            found["first step"] = scrapes.health(url)
        elif step == 15:
            found["before"] = scrapes.health(url)
            limit = found["before"][1]["stall_limit_s"]
            assert limit < 60
            found["stuck"] = scrapes.wait(stalled, limit + 30)
        elif step == 20:
            found["again"] = scrapes.health(url)
        return train(self, batch, rates, step)

    def stalled():
        status, document = scrapes.health(url)
        return (status, document) if status != 200 else None

    monkeypatch.setattr(Trainer, "prepare", slow_prepare)
    monkeypatch.setattr(Trainer, "train", slow_train)
    run(config, store)

    assert {name: status for name, (status, _) in found.items()} == {
        "tracing": 200, "first step": 200, "before": 200, "stuck": 503, "again": 200
    }  # fmt: skip
    assert found["tracing"][1]["phase"] == "starting"
    assert found["first step"][1]["phase"] == "training"
    assert found["first step"][1]["inactive_s"] >= LONG_S
    stuck = found["stuck"][1]
    assert (stuck["status"], stuck["phase"], stuck["step"]) == ("stalled", "training", 15)
    assert stuck["inactive_s"] > stuck["stall_limit_s"]
    assert stuck["stall_limit_s"] == pytest.approx(2 * LONG_S, rel=0.9)


def test_a_stuck_loop_answers_while_its_thread_is_blocked(url, monkeypatch):
    """The answer comes from another thread, whatever the loop's does."""
    monkeypatch.setattr(tasks, "_current", task := Gauges(Labels("test", "6L", "6L", "pretrain", "10"), "0" * 64))
    task.enter("training")
    blocked = threading.Event()
    loop = threading.Thread(target=blocked.wait)
    loop.start()
    assert scrapes.health(url)[0] == 200
    task.now = lambda: time.monotonic() + gauges.FIRST_CALL_S + 1
    assert scrapes.health(url)[0] == 503
    blocked.set()
    loop.join()


class Clock:
    time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def task(clock):
    return Gauges(Labels("test", "6L", "6L", "pretrain", "10"), "0" * 64, now=clock)


def call(task, seconds, **more):
    task.count(steps=10, sequences=80, tokens=1000, seconds=seconds, waited_s=0.0, **more)


def test_the_limit_follows_the_length_of_calls(task):
    assert task.stall_limit_s == gauges.FIRST_CALL_S
    call(task, 0.1)
    assert task.stall_limit_s == gauges.STALLED_S
    call(task, 60.0)
    assert task.stall_limit_s == 20 * 60
    call(task, 0.1)
    assert 1000 < task.stall_limit_s < 20 * 60
    for _ in range(200):
        call(task, 0.1)
    assert task.stall_limit_s == gauges.STALLED_S


@pytest.mark.parametrize("phase", [phase for phase in gauges.PHASES if phase != "training"])
def test_what_isnt_training_takes_as_long_as_it_takes(task, clock, phase):
    call(task, 0.1)
    task.enter(phase)
    clock.time = 1e6
    assert not task.stalled
    task.enter("training")
    assert not task.stalled
    clock.time += gauges.STALLED_S + 1
    assert task.stalled
    call(task, 0.1)
    assert not task.stalled


def test_operations_a_second_are_a_mean_over_seconds_of_training(task):
    call(task, 2.0, flops=8.0)
    assert task.flops_per_second == 4  # the first one is told at once
    call(task, 3.0, flops=30.0)
    assert task.flops_per_second == 4
    call(task, 2.0, flops=20.0)
    assert task.flops_per_second == 10
