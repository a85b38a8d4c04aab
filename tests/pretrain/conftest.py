"""A tiny corpus and a tiny model, made by the real stages."""

import numpy as np
import pytest

from bertline import shards
from bertline.experiments import Checkpoints, Model, Optimizer
from bertline.pretrain.config import Label, PretrainConfig
from bertline.schedules import Constant
from bertline.store.derivations import Derivation
from bertline.store.objects import connect
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


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A store with a vocabulary and a corpus of 150 + 20 examples; its URI and the two keys."""
    store = connect(str(tmp_path_factory.mktemp("store")))
    vocabulary = Derivation("vocabulary", 1, {"test": True})
    realize(store, vocabulary, lambda build: Outcome({"pieces": PIECES, "sha256": "0" * 64}, {}))
    derivation = Derivation("corpus", 1, {"test": True}, {"vocabulary": vocabulary.key})

    def build(build):
        counts = {"train-00000.tfrecord": 70, "train-00001.tfrecord": 80, "held-out-00000.tfrecord": 20}
        for seed, (name, count) in enumerate(counts.items()):
            shards.write(build.payload / name, examples(count, seed))
        return Outcome({"shards": counts}, {})

    realize(store, derivation, build)
    return store.uri, derivation.key, vocabulary.key


@pytest.fixture
def config(corpus):
    """Two epochs of 12 steps of a tiny model, from scratch."""
    _, corpus_key, vocabulary_key = corpus
    schedule = Constant(schedule="constant", peak=3e-3, warmup_steps=5)
    return PretrainConfig(
        model=Model(layers=2, batch_size=8, hidden=16, heads=2, intermediate=32, max_positions=LENGTH),
        optimizer=Optimizer(),
        learning_rate=schedule.of_round(0, 24, [24]),
        next_sentence=True,
        seed=3,
        steps_per_epoch=12,
        begin_epoch=0,
        end_epoch=2,
        held_out_examples=20,
        corpus=corpus_key,
        vocabulary=vocabulary_key,
        milestone=None,
        checkpoints=Checkpoints(every_steps=5, every_minutes=60),
        label=Label(experiment="test", run="tiny"),
    )
