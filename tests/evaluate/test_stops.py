"""A fine-tuning that is told to stop, or breaks off, goes on where it was and ends in the same bits."""

import shutil
import signal

import pytest

from bertline.errors import TransientError
from bertline.evaluate import checkpoints, stage
from bertline.models import rolling
from bertline.process import signals
from bertline.store import attempts
from bertline.store.filesystem import FileSystemStore

STEPS = 14  # two epochs of 100 pairs by 16


@pytest.fixture(scope="module")
def reference(world):
    return outcome(stage.run(world.config, world.store))


@pytest.fixture
def store(world, tmp_path):
    """The same, with no evaluation yet."""
    shutil.copytree(world.store.root, tmp_path / "store", ignore=shutil.ignore_patterns("evaluate"))
    return FileSystemStore(tmp_path / "store")


@pytest.fixture
def at_step(monkeypatch):
    """Have something done once, after a step."""
    look = checkpoints.Keeper.look

    def at_step(at, act):
        left = [act]

        def act_and_look(self, step):
            if step == at and left:
                left.pop()()
            look(self, step)

        monkeypatch.setattr(checkpoints.Keeper, "look", act_and_look)

    return at_step


def outcome(realization):
    return realization.manifest.files, realization.manifest.results


def events(world, store):
    return [[told["event"] for told in each.events] for each in attempts.read(store, world.config.derivation().prefix)]


@pytest.mark.parametrize("step", [2, 7, 9, STEPS])
def test_told_to_stop_it_saves_says_where_and_ends_in_the_same_bits(step, world, store, reference, at_step):
    at_step(step, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(signals.Stopped, match=f"saved at step {step}; the same command"), signals.handled():
        stage.run(world.config, store)
    assert outcome(stage.run(world.config, store)) == reference
    assert events(world, store) == [["start", "checkpoint", "preempted"], ["start", "resume", "finished"]]
    assert not list(store.root.glob("objects/evaluate/*/rolling/*"))


def test_told_to_stop_while_dev_is_measured_it_keeps_the_whole_training(world, store, reference, monkeypatch):
    from bertline.evaluate import classifier

    logits = classifier.logits

    def stop_first(*arguments):
        signal.raise_signal(signal.SIGINT)
        return logits(*arguments)

    with monkeypatch.context() as patch, signals.handled():
        patch.setattr(classifier, "logits", stop_first)
        with pytest.raises(signals.Stopped, match=f"saved at step {STEPS}"):
            stage.run(world.config, store)
    assert outcome(stage.run(world.config, store)) == reference


def test_a_stop_during_start_up_says_where_the_last_attempt_saved(world, store, at_step, monkeypatch):
    at_step(5, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(signals.Stopped, match="saved at step 5"), signals.handled():
        stage.run(world.config, store)
    monkeypatch.setattr(stage, "_tokenizer", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(signals.Stopped, match="saved at step 5"), signals.handled():
        stage.run(world.config, store)


def test_it_saves_every_so_often_and_a_killed_one_goes_on_from_there(world, store, reference, at_step, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY_S", 0)

    def die():
        raise KeyboardInterrupt  # as much as a kill: nothing is saved now

    at_step(9, die)
    with pytest.raises(KeyboardInterrupt):
        stage.run(world.config, store)
    monkeypatch.undo()
    assert outcome(stage.run(world.config, store)) == reference
    assert events(world, store)[0].count("checkpoint") == 8
    resumed = attempts.read(store, world.config.derivation().prefix)[1].events[1]
    assert (resumed["event"], resumed["step"]) == ("resume", 8)


def test_what_cant_be_saved_is_told_and_loses_no_more_than_that(world, store, reference, at_step, monkeypatch):
    def fail(*_):
        raise TransientError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "EVERY_S", 0)
        patch.setattr(rolling, "put", fail)
        assert outcome(stage.run(world.config, store)) == reference
    shutil.rmtree(store.root / "objects" / "evaluate")
    at_step(9, lambda: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(rolling, "put", fail)
    with pytest.raises(signals.Stopped, match=r"at step 9, .*the disk is full.* begins again"), signals.handled():
        stage.run(world.config, store)
