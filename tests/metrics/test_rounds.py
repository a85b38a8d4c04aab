"""What the metrics show of earlier attempts at a round, and of several seeds in one process."""

import pytest

from bertline.metrics import tasks
from bertline.metrics.gauges import Gauges, Labels
from bertline.pretrain import stage
from bertline.stage.configs import Label
from bertline.store import realizations
from bertline.store.filesystem import FileSystemStore
from bertline.store.realizations import Outcome
from support import tiny_corpora

LABEL = Label(experiment="test", run="6L", model="6L", epoch=10)


def test_restarts_and_repeated_steps_are_those_of_the_attempts(tmp_path):
    """The first attempt saved at step 5 and came to 9, the second one began at 5 and came to 7."""
    store = FileSystemStore(tmp_path / "store")
    config = tiny_corpora.config("0" * 64, "1" * 64)
    seen = []

    def attempt(*events):
        def build(build):
            gauges = Gauges(Labels("test", "6L", "6L", "pretrain", "10"), "0" * 64)
            stage._introduce(config, build, gauges)
            seen.append(gauges)
            for name, step in events:
                build.attempt.record(name, step=step)
            if events:
                raise RuntimeError("killed")
            return Outcome({}, {})

        return build

    for events in ((("checkpoint", 5), ("epoch", 9)), (("resume", 5), ("epoch", 7))):
        with pytest.raises(RuntimeError, match="killed"):
            realizations.realize(store, config.derivation(), attempt(*events))
    realizations.realize(store, config.derivation(), attempt())

    assert [gauges.attempt for gauges in seen] == [1, 2, 3]
    assert [gauges.repeated_steps for gauges in seen] == [0, 4, 6]
    first, second, third = (gauges.checkpoint_saved_at for gauges in seen)
    assert first is None  # nothing is said of a checkpoint that there isn't
    assert second == third > 1e9
    assert [(gauges.first_step, gauges.last_step) for gauges in seen] == 3 * [(0, 24)]


def test_another_seed_goes_on_counting_and_another_round_begins_anew():
    def begin(label=LABEL):
        return tasks.begin("evaluate", label, "0" * 64, "MNLI-m")

    first = begin()
    first.count(steps=10, sequences=320, tokens=9000, seconds=2.0, waited_s=0.1)
    first.evaluation_accuracies["1"] = 0.5
    first.losses = {"total": 1.0}
    second = begin()
    second.count(steps=10, sequences=320, tokens=9000, seconds=2.0, waited_s=0.1)
    second.evaluation_accuracies["2"] = 0.6
    assert (second.counts.steps, first.counts.steps) == (20, 10)
    assert second.evaluation_accuracies == {"1": 0.5, "2": 0.6}
    assert second.losses == {}
    other = begin(LABEL.model_copy(update={"epoch": 20}))
    assert other.labels.round == "20"
    assert (other.counts.steps, other.evaluation_accuracies) == (0, {})
    assert tasks.current() is other
