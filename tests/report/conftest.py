"""Stores filled with plausible realizations through the real store: the renderer's input."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.specs import Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.stage.configs import StageConfig
from bertline.store import realizations, references
from bertline.store.filesystem import FileSystemStore
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Outcome
from bertline.store.references import Reference
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.planning import unrolling

NLI = {"train": {"url": "https://example.org/train.tsv"}, "dev": {"url": "https://example.org/dev.tsv"}}


def document(**changes: Any) -> dict[str, Any]:
    """An experiment like the original: two depths, MNLI, wall-clocks of hours."""
    base: dict[str, Any] = {
        "name": "original",
        "description": "Is the deeper model better at equal wall-clock?",
        "corpus": {
            "dump": {"url": "https://dumps.example.org/enwiki-20200301-pages-articles.xml.bz2", "sha1": "a" * 40}
        },
        "vocabulary": {"file": {"url": "https://example.org/vocab.txt", "sha256": "b" * 64}, "lower_case": True},
        "models": {"3L": {"layers": 3, "batch_size": 128}, "6L": {"layers": 6, "batch_size": 64}},
        "pretrain": {"epochs": 50, "epochs_per_round": 10, "learning_rate": {"schedule": "constant"}},
        "evaluate": {"tasks": {"MNLI-m": NLI}},
    }
    for path, value in changes.items():
        section, *names = path.split("__")
        if names:
            base[section][names[0]] = value
        else:
            base[section] = value
    return base


class Filled:
    """A store with an experiment in it, some of its realizations done."""

    def __init__(self, root: Path, experiment: dict[str, Any], leave_out: Callable[[StageConfig], bool]) -> None:
        self.store: ObjectStore = FileSystemStore(root)
        self.graph = unrolling.build(Experiment.model_validate(experiment))
        self.reference: Reference = references.write(self.store, self.graph.experiment.name, self.graph.document)
        self.outcomes: dict[str, Outcome] = {}
        """By key."""
        self._do(self.graph.configs(VocabularyConfig)[0], leave_out, vocabulary())
        self._do(self.graph.configs(CorpusConfig)[0], leave_out, corpus())
        for milestone in self.graph.configs(PretrainConfig):
            self._do(milestone, leave_out, pretrain(milestone))
        for evaluation in self.graph.configs(EvaluateConfig):
            self._do(evaluation, leave_out, evaluate(evaluation))

    def _do(self, config: StageConfig, leave_out: Callable[[StageConfig], bool], outcome: Outcome) -> None:
        if leave_out(config):
            return
        self.outcomes[config.derivation().key] = outcome
        realizations.realize(self.store, config.derivation(), lambda build: outcome)

    def manifest(self, config: StageConfig) -> Path:
        """Where a manifest lies."""
        path = self.store.local_path(f"{config.derivation().prefix}manifest.json")
        assert path is not None
        return path


def vocabulary() -> Outcome:
    return Outcome({"pieces": 30522, "sha256": "c" * 64}, {"seconds": 1.5})


def corpus() -> Outcome:
    results = {
        "pages": 19_999_999,
        "articles": 6_012_345,
        "documents": 5_891_234,
        "words": 2_171_234_567,
        "sentences": 112_345_678,
        "tokens": 2_987_654_321,
        "examples": 51_712_345,
        "held_out_documents": 29_456,
        "held_out_examples": 258_123,
        "skipped_bytes": 0,
        "unknown": 12_345_678,
        "dropped_templates": {"ipa": 1_234, "a|b<i>": 17, "ipac-en": 98_765},
        "shards": {"train-00000-of-00001.tfrecord": 51_712_345},
    }
    return Outcome(results, {"seconds": 5432.1, "workers": 2, "words_per_s": 399_703.0})


def pretrain(config: Any) -> Outcome:
    """Rates and curves close to those of the original report."""
    chance = random.Random(f"{config.label.run} {config.end_epoch}")
    deep = config.model.layers > 3
    a_step = (0.1504 if deep else 0.1767) * config.steps_per_epoch / 10_000
    epochs = []
    for epoch in range(config.begin_epoch + 1, config.end_epoch + 1):
        loss = 2.2 - 0.1 * deep + 4.5 * math.exp(-epoch / 4) + chance.gauss(0, 0.01)
        figures = {
            "loss": loss + 0.3,
            "mlm_loss": loss,
            "mlm_accuracy": 0.55 - 0.4 * math.exp(-epoch / 5),
            "nsp_loss": 0.3,
            "nsp_accuracy": 0.87 + chance.gauss(0, 0.005),
        }
        entry = {"epoch": epoch, "step": epoch * config.steps_per_epoch, "train": figures, "held_out": figures}
        epochs.append(entry)
    begun, ended = (10_000 * a_step * epoch for epoch in (config.begin_epoch, config.end_epoch))
    results = {
        "step": config.end_step,
        "epochs": epochs,
        "vocabulary_size": 30522,
        "parameters": {"encoder": 12_678_400 + deep, "heads": 97_852, "total": 12_776_252 + deep},
        "sequences": config.end_step * config.model.batch_size,
        "tokens": config.end_step * config.model.batch_size * 120,
    }
    measurements = {
        "wall_clock_s": ended,
        "round_wall_clock_s": ended - begun,
        "epoch_wall_clock_s": [10_000 * a_step * epoch["epoch"] for epoch in epochs],
        "sequences_per_s": config.model.batch_size / a_step * config.steps_per_epoch / 10_000,
        "tokens_per_s": 54_400.0,
        "host_memory_peak_bytes": 1721 * 2**20 + config.end_epoch,
        "gpu_present": 0,
        "lost_steps": 120,
        "lost_s": 18.25,
        "attempts": 2,
    }
    return Outcome(results, measurements)


def evaluate(config: Any) -> Outcome:
    chance = random.Random(f"{config.label.run} {config.label.epoch} {config.task} {config.seed}")
    examples = 9815
    share = 0.66 + 0.004 * (config.model.layers > 3) - 0.06 * math.exp(-config.label.epoch / 20)
    correct = round(examples * (share + chance.gauss(0, 0.003)))
    results = {
        "task": config.task,
        "labels": ["entailment", "neutral", "contradiction"],
        "examples": examples,
        "correct": correct,
        "accuracy": correct / examples,
        "loss": 0.8123,
        "train_examples": 392_702,
        "dropped": 0,
        "confusion": [[correct - 6000, examples - correct, 0], [0, 3000, 0], [0, 0, 3000]],
    }
    measurements = {"seconds": 321.25, "sequences_per_s": 812.5, "host_memory_peak_bytes": 2**30}
    return Outcome(results, measurements)


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Filled]:
    """Make a store with an experiment in it; `leave_out(config)` says what isn't done."""

    def make(leave_out: Callable[[StageConfig], bool] = lambda config: False, **changes: Any) -> Filled:
        return Filled(tmp_path / "store", document(**changes), leave_out)

    return make
