"""Experiments that were finished without training, for commands that read what is done."""

import os

from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.specs import Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.report.config import ReportConfig
from bertline.store import references
from bertline.store.backends import connect
from bertline.store.realizations import Outcome, realize
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.planning import unrolling

DATA = {"url": "https://example.org/data", "sha256": "a" * 64}
DOCUMENT = {
    "name": "small",
    "corpus": {"dump": DATA, "shards": 1},
    "vocabulary": {"file": DATA, "lower_case": True},
    "models": {"3L": {"layers": 3, "batch_size": 128}, "6L": {"layers": 6, "batch_size": 64}},
    "pretrain": {"epochs": 2, "epochs_per_round": 1, "learning_rate": {"schedule": "constant"}},
    "evaluate": {"tasks": {"MNLI-m": {"train": DATA, "dev": DATA}}, "seeds": [1, 2]},
}
LOSSES = {"loss": 3.5, "mlm_loss": 3.0, "mlm_accuracy": 0.4}


class Finished:
    """A store in which as much of an experiment is done as one says."""

    def __init__(self, uri):
        self.store = connect(uri)
        self.graph = unrolling.build(Experiment.model_validate(DOCUMENT))
        self.reference = references.write(self.store, "small", self.graph.document)

    def everything(self):
        for milestone in self.graph.configs(PretrainConfig):
            self.milestone(milestone)
        for evaluation in self.graph.configs(EvaluateConfig):
            self.evaluation(evaluation)
        self.inputs()
        config = ReportConfig(name="small", graph=self.reference.digest)
        self._realize(config, {"report.html": b"<html>", "report.md": b"#", "a.png": b"PNG"}, {"accuracies": []})
        return self

    def inputs(self):
        self._realize(
            self.graph.configs(VocabularyConfig)[0], {"vocab.txt": b"[PAD]\n"}, {"pieces": 1, "sha256": "c" * 64}
        )
        names = ("documents", "words", "sentences", "tokens", "examples", "held_out_documents", "held_out_examples")
        figures = dict.fromkeys((*names, "skipped_bytes"), 7)
        self._realize(self.graph.configs(CorpusConfig)[0], {"train-00000-of-00001.tfrecord": b"shard" * 1000}, figures)

    def milestone(self, config):
        results = {
            "step": config.end_step,
            "epochs": [{"epoch": config.end_epoch, "step": config.end_step, "train": LOSSES, "held_out": LOSSES}],
            "parameters": {"encoder": 10, "heads": 1, "total": 11},
            "sequences": 5,
            "tokens": 6,
        }
        weights = {name: os.urandom(200_000) for name in ("encoder.safetensors", "state.safetensors")}
        self._realize(config, weights | {"metrics.json": b"{}"}, results, wall_clock_s=100.5 * config.end_epoch)

    def evaluation(self, config):
        results = {
            "task": config.task,
            "labels": ["yes", "no"],
            "examples": 100,
            "correct": 60 + config.model.layers + config.seed,
            "accuracy": (60 + config.model.layers + config.seed) / 100,
            "loss": 0.5,
            "train_examples": 1000,
            "dropped": 0,
        }
        self._realize(config, {"predictions.tsv": f"{config.milestone} {config.seed}".encode()}, results)

    def _realize(self, config, payload, results, **measurements):
        def build(work):
            for name, content in payload.items():
                (work.payload / name).write_bytes(content)
            return Outcome(results, measurements)

        return realize(self.store, config.derivation(), build)

    def place(self, config):
        return config.derivation().prefix
