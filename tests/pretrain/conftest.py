"""A tiny corpus and a tiny model, made by the real stages."""

import shutil

import pytest

from bertline.store.backends import connect
from support import tiny_corpora


@pytest.fixture(autouse=True)
def _with_tensorflow(tensorflow):
    """All tests here share it."""


@pytest.fixture(scope="session")
def kept_trainers():
    """By their arguments: what trainers consist of, and their weights when they were new."""
    return {}


@pytest.fixture(autouse=True)
def _trainers_are_traced_once(_with_tensorflow, kept_trainers, monkeypatch):
    """A trainer is traced for seconds. Those of the same arguments share that, and begin with the same weights."""
    from bertline.models import encoders
    from bertline.pretrain.trainer import Trainer

    build = Trainer.__init__

    def build_or_share(self, *arguments, **options):
        key = (arguments, tuple(sorted(options.items())))
        if key not in kept_trainers:
            build(self, *arguments, **options)
            kept_trainers[key] = vars(self).copy(), encoders.arrays(self.encoder_variables | self.state)
        parts, weights = kept_trainers[key]
        vars(self).update(parts)
        for name, variable in (self.encoder_variables | self.state).items():
            variable.assign(weights[name])

    monkeypatch.setattr(Trainer, "__init__", build_or_share)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A store with a vocabulary and a corpus of 150 + 20 examples; its URI and the two keys."""
    store = connect(str(tmp_path_factory.mktemp("store")))
    return store.uri, *tiny_corpora.write(store)


@pytest.fixture
def config(corpus):
    """Two epochs of 12 steps of a tiny model, from scratch."""
    return tiny_corpora.config(*corpus[1:])


@pytest.fixture
def store(corpus, tmp_path):
    """A copy of the corpus' store: each test starts without milestones."""
    shutil.copytree(connect(corpus[0]).root, tmp_path / "store")
    return connect(str(tmp_path / "store"))
