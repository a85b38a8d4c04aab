"""Buckets that are too small for random next sentences are joined; all others stay as they are."""

import numpy as np
import pytest

from bertline.corpus import buckets
from bertline.corpus.buckets import Head, Layout, Partitioner
from bertline.corpus.segments import Document


@pytest.fixture
def layout(tmp_path):
    """Of documents with these ids, in two slices."""

    def make(identities, partitioner):
        heads = []
        for index in range(2):
            path = tmp_path / f"{index}.buckets"
            documents = [Document(identity, np.array([7, 8]), np.array([2])) for identity in identities[index::2]]
            written = buckets.write(path, documents, partitioner)
            assert path.stat().st_size == written.size
            heads.append(Head.of(path.read_bytes()[: written.head]))
        return Layout.of(heads, partitioner)

    return make


def test_a_corpus_that_is_large_enough_keeps_its_buckets(layout):
    partitioner = Partitioner(8, 0.2)
    assert layout(range(500), partitioner).sources == tuple((bucket,) for bucket in range(partitioner.count))


@pytest.mark.parametrize("count", [2, 3, 50, 106, 300])
def test_each_shard_has_two_documents_and_each_document_one_shard(layout, count):
    partitioner = Partitioner(256, 0.0)
    made = layout(range(count), partitioner)
    sizes = np.bincount([partitioner.bucket(identity) for identity in range(count)], minlength=partitioner.count)
    used = [bucket for sources in made.sources for bucket in sources]
    assert sorted(used) == np.flatnonzero(sizes).tolist()
    assert all(sizes[list(sources)].sum() >= 2 for sources in made.sources if sources)


def test_held_out_documents_stay_among_themselves(layout):
    partitioner = Partitioner(64, 0.4)
    made = layout(range(60), partitioner)
    for bucket, sources in enumerate(made.sources):
        assert all((source < 64) == (bucket < 64) for source in sources)


def test_repeated_ids_are_counted_once(layout):
    made = layout([5, 6, 5, 5, 6, 7], Partitioner(1, 0.0))
    assert (made.repeated, made.trained) == (3, 3)
