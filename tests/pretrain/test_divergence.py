"""A loss or a gradient that is no number ends a round, and nothing that it spoiled is kept."""

import shutil

import numpy as np
import pytest

from bertline.errors import UserError
from bertline.experiment.schedules import Constant, Piece
from bertline.metrics import tasks
from bertline.pretrain.stage import run
from bertline.store import attempts
from bertline.store.backends import connect


def outcome(realization):
    return {file.path: file.sha256 for file in realization.manifest.files}, realization.manifest.results


@pytest.fixture
def spoiled(monkeypatch):
    """Step 7 of every training has a loss that is no number, and so has its gradient."""
    from bertline.pretrain.trainer import Trainer

    train = Trainer.train

    def spoil(self, batch, rates, at):
        if at <= 7 < at + len(rates):
            weights = batch["masked_lm_weights"].copy()
            weights[7 - at, 0, 0] = np.nan
            batch = batch | {"masked_lm_weights": weights}
        return train(self, batch, rates, at)

    monkeypatch.setattr(Trainer, "train", spoil)


def test_a_bad_step_ends_a_round_unless_it_may_be_left_out(config, store, spoiled, tmp_path):
    with pytest.raises(UserError, match=r"loss isn't finite at step 7 \(.*gradient norm nan.*step 5 is kept.*skip_bad"):
        run(config, store)
    patient = config.model_copy(update={"skip_bad_steps": 1})
    assert patient.derivation().key == config.derivation().key
    shutil.copytree(store.root, tmp_path / "fresh", ignore=shutil.ignore_patterns("pretrain"))
    realization = run(patient, store)  # goes on at step 5
    assert outcome(realization) == outcome(run(patient, connect(str(tmp_path / "fresh"))))
    assert all(np.isfinite(list(epoch["train"].values())).all() for epoch in realization.manifest.results["epochs"])
    [*_, last] = attempts.read(store, realization.prefix)
    [skipped] = [event for event in last.events if event["event"] == "skipped"]
    assert (skipped["step"], skipped["gradient_norm"]) == (7, "nan")


@pytest.mark.parametrize("held_out", [0, 20])
def test_weights_that_the_last_step_spoiled_are_no_milestone(config, store, held_out):
    """Every loss was finite: the one that the last step would have shown isn't taken any more."""
    *before, last = config.learning_rate
    rates = (*before, last._replace(end=23), Piece(23, 24, 1e38, 1e38))
    mistaken = config.model_copy(update={"learning_rate": rates, "held_out_examples": held_out})
    with pytest.raises(UserError, match=r"the loss isn't finite after step 23 .*learning_rate\.peak"):
        run(mistaken, store)
    [attempt] = attempts.read(store, mistaken.derivation().prefix)
    told = [event["event"] for event in attempt.events if event["event"] != "checkpoint"]  # those come when they are up
    assert told[-2:] == ["diverged", "failed"]


def test_a_loss_that_isnt_finite_stops_with_step_and_rate(config, store):
    schedule = Constant(schedule="constant", peak=1e30, warmup_steps=0)
    hot = config.model_copy(update={"learning_rate": schedule.of_round(0, 24, [24])})
    with pytest.raises(UserError, match=r"step \d+ .*1\.00e\+30"):
        run(hot, store)
    assert not np.isfinite(tasks.current().losses["total"])  # so that an alert can tell it
