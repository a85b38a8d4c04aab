"""A tiny corpus and a tiny model, made by the real stages."""

import pytest

from bertline.store.backends import connect
from support import tiny_corpora


@pytest.fixture(autouse=True)
def _with_tensorflow(tensorflow):
    """All tests here share it."""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A store with a vocabulary and a corpus of 150 + 20 examples; its URI and the two keys."""
    store = connect(str(tmp_path_factory.mktemp("store")))
    return store.uri, *tiny_corpora.write(store)


@pytest.fixture
def config(corpus):
    """Two epochs of 12 steps of a tiny model, from scratch."""
    return tiny_corpora.config(*corpus[1:])
