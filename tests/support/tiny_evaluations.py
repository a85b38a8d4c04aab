"""A store with a vocabulary and a milestone that nobody trained, and what evaluates it."""

import dataclasses

from bertline import samples
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.specs import Model
from bertline.store import realizations
from bertline.store.derivations import Derivation
from bertline.store.filesystem import FileSystemStore
from bertline.store.realizations import Outcome
from bertline.vocabulary import training

MODEL = Model(layers=1, batch_size=8, hidden=16, heads=2, intermediate=32, max_positions=48)


@dataclasses.dataclass(frozen=True)
class World:
    """A store with a vocabulary and a milestone, and the configuration that evaluates it."""

    store: FileSystemStore
    config: EvaluateConfig

    def but(self, **changes):
        return self.config.model_copy(update=changes)


def make_world(folder):
    store = FileSystemStore(folder / "store")
    texts = [samples.write(name, folder).read_text() for name in ("nli/train", "nli/dev")]
    vocabulary = training.train(iter(texts[0].splitlines()), 150, lower_case=True)

    def write_vocabulary(build):
        (build.payload / "vocab.txt").write_text(vocabulary.text)
        return Outcome({"pieces": vocabulary.size}, {})

    files = {}
    for name, text, rows in (("train", texts[0], 100), ("dev", texts[1], 70)):
        path = folder / f"{name}.tsv"
        path.write_text("".join(text.splitlines(keepends=True)[: rows + 1]))
        files[name] = {"url": str(path)}
    config = EvaluateConfig(
        task="sample-nli",
        files=files,
        model=MODEL,
        epochs=2,
        batch_size=16,
        learning_rate=1e-3,
        warmup_share=0.1,
        optimizer={},
        sequence_length=32,
        max_train_examples=None,
        seed=1,
        lower_case=True,
        milestone=commit_milestone(store, vocabulary.size),
        vocabulary=realizations.realize(store, Derivation("vocabulary", 1, {}), write_vocabulary).manifest.key,
        label={"experiment": "test", "run": "tiny", "model": "tiny", "epoch": 1},
    )
    return World(store, config)


def commit_milestone(store, vocabulary_size, said=None):
    from bertline.models import encoders

    def write(build):
        encoder = encoders.build(MODEL, vocabulary_size)
        variables = encoders.named(encoder.trainable_variables)
        encoders.initialize(variables, MODEL.initializer_range, seed=1)
        encoders.save(build.payload / "encoder.safetensors", encoders.arrays(variables))
        return Outcome({"vocabulary_size": said or vocabulary_size}, {})

    return realizations.realize(
        store, Derivation("pretrain", 1, {"size": vocabulary_size, "said": said}), write
    ).manifest.key
