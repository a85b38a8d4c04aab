"""A corpus and a model as small as they get, made by the real stages, for tests that pre-train."""

import numpy as np

from bertline.examples import shards
from bertline.experiment.schedules import Constant
from bertline.experiment.specs import Checkpoints, Model, Optimizer
from bertline.pretrain.config import PretrainConfig
from bertline.stage.configs import Label
from bertline.store.derivations import Derivation
from bertline.store.realizations import Outcome, realize

PIECES, LENGTH, PREDICTIONS = 200, 16, 3


def examples(count, seed):
    """Random examples that have something to learn: the masked piece is the one before it, plus one."""
    draw = np.random.default_rng(seed)
    made = shards.Instances.zeros(count, LENGTH, PREDICTIONS)
    made.input_ids[:] = draw.integers(105, PIECES - 1, (count, LENGTH))
    made.input_mask[:] = 1
    made.segment_ids[:, LENGTH // 2 :] = 1
    made.masked_lm_positions[:] = np.sort(
        draw.permuted(np.tile(np.arange(1, LENGTH), (count, 1)), axis=1)[:, :PREDICTIONS]
    )
    rows = np.arange(count)[:, None]
    made.masked_lm_ids[:] = made.input_ids[rows, made.masked_lm_positions - 1] + 1
    made.masked_lm_weights[:] = 1
    made.input_ids[rows, made.masked_lm_positions] = 103
    made.next_sentence_labels[:, 0] = draw.integers(0, 2, count)
    return made


def write(store):
    """A vocabulary and a corpus of 150 + 20 examples; the corpus' key and the vocabulary's."""
    vocabulary = Derivation("vocabulary", 1, {"test": True})
    realize(store, vocabulary, lambda build: Outcome({"pieces": PIECES, "sha256": "0" * 64}, {}))
    derivation = Derivation("corpus", 1, {"test": True}, {"vocabulary": vocabulary.key})

    def build(build):
        counts = {"train-00000.tfrecord": 70, "train-00001.tfrecord": 80, "held-out-00000.tfrecord": 20}
        for seed, (name, count) in enumerate(counts.items()):
            shards.write(build.payload / name, [examples(count, seed)])
        return Outcome({"shards": counts}, {})

    realize(store, derivation, build)
    return derivation.key, vocabulary.key


def config(corpus_key, vocabulary_key, steps_per_epoch=12):
    """Two epochs of a tiny model, from scratch."""
    schedule = Constant(schedule="constant", peak=3e-3, warmup_steps=5)
    return PretrainConfig(
        model=Model(layers=2, batch_size=8, hidden=16, heads=2, intermediate=32, max_positions=LENGTH),
        optimizer=Optimizer(),
        learning_rate=schedule.of_round(0, 2 * steps_per_epoch, [2 * steps_per_epoch]),
        next_sentence=True,
        seed=3,
        steps_per_epoch=steps_per_epoch,
        begin_epoch=0,
        end_epoch=2,
        held_out_examples=20,
        corpus=corpus_key,
        vocabulary=vocabulary_key,
        milestone=None,
        checkpoints=Checkpoints(every_steps=5, every_minutes=60),
        label=Label(experiment="test", run="tiny-seed3", model="tiny", epoch=2),
    )
