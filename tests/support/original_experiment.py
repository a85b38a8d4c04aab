"""The experiment that bertline was made for, as plans of it are estimated."""

from bertline.experiment.specs import Experiment
from bertline_pipelines.planning import unrolling

MNLI = {"url": "https://example.org/train.tsv", "sha256": "a" * 64}


def document(**changes):
    """The original experiment, with a vocabulary of as many pieces."""
    return {
        "name": "original",
        "corpus": {"dump": "https://dumps.example.org/enwiki-20261101-pages-articles.xml.bz2", "duplicates": 2},
        "vocabulary": {"train": {"size": 30522}, "lower_case": True},
        "models": {"3L": {"layers": 3, "batch_size": 128}, "6L": {"layers": 6, "batch_size": 64}},
        "pretrain": {"epochs": 50, "learning_rate": {"schedule": "constant"}},
        "evaluate": {"tasks": {"MNLI-m": {"train": MNLI, "dev": MNLI}}},
    } | changes


def graph_of(**changes):
    return unrolling.build(Experiment.model_validate(document(**changes)))
