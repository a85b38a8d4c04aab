import itertools
import threading

import numpy as np
import pytest

from bertline.pretrain import inputs
from bertline.pretrain.config import PretrainConfig

SHARDS = {"train-0": 7, "train-1": 3, "train-2": 11}
OFFSETS = {"train-0": 0, "train-1": 7, "train-2": 10}
ORDER = inputs.Order(SHARDS, seed=5)


def read(name):
    """Every example of the corpus is a number of its own."""
    return {"id": OFFSETS[name] + np.arange(SHARDS[name]), "row": np.zeros((SHARDS[name], 4))}


def examples(order=ORDER, batch_size=4, bounds=(0, 3, 7, 20)):
    return np.concatenate([chunk["id"].ravel() for chunk in inputs.chunks(order, read, batch_size, bounds)])


def test_every_example_comes_once_in_each_pass():
    found = examples(batch_size=1, bounds=range(64))
    for number in range(3):
        assert sorted(found[number * 21 : (number + 1) * 21]) == list(range(21))


def test_passes_and_seeds_have_different_orders():
    found = examples(batch_size=1, bounds=range(64))
    assert found[:21].tolist() != found[21:42].tolist()
    assert found[:21].tolist() != examples(inputs.Order(SHARDS, seed=6), 1, range(22)).tolist()


def test_batches_run_on_over_the_ends_of_shards_and_passes():
    chunks = list(inputs.chunks(ORDER, read, 4, (0, 3, 7, 20)))
    assert [chunk["id"].shape for chunk in chunks] == [(3, 4), (4, 4), (13, 4)]
    assert [chunk["row"].shape for chunk in chunks] == [(3, 4, 4), (4, 4, 4), (13, 4, 4)]


def test_the_order_resumes_at_every_step():
    """A start at any step, with any cut into chunks, gives the rest of the sequence."""
    whole = examples(batch_size=4, bounds=range(41)).reshape(40, 4)
    for step in range(40):
        for size in (1, 3, 40):
            bounds = [*range(step, 40, size), 40]
            assert np.array_equal(examples(batch_size=4, bounds=bounds).reshape(-1, 4), whole[step:]), (step, size)


def test_a_start_far_away_reads_one_shard():
    asked = []

    def count(name):
        asked.append(name)
        return read(name)

    next(inputs.chunks(ORDER, count, 1, (10_000_000, 10_000_001)))
    assert len(asked) == 1


def test_the_order_doesnt_depend_on_how_the_mapping_is_sorted():
    turned = dict(reversed(SHARDS.items()))
    assert np.array_equal(examples(inputs.Order(turned, seed=5)), examples())


def test_ahead_gives_the_same_and_ends_its_thread():
    def numbers():
        return ({"id": np.array([number])} for number in itertools.count())

    ahead = inputs.ahead(numbers())
    assert [int(next(ahead)["id"][0]) for _ in range(5)] == [0, 1, 2, 3, 4]
    ahead.close()
    assert "inputs" not in {thread.name for thread in threading.enumerate()}


def test_ahead_raises_where_it_is_waited_for():
    def broken():
        yield {"id": np.array([1])}
        raise OSError("gone")

    ahead = inputs.ahead(broken())
    next(ahead)
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_the_order_is_pinned():
    """A change here changes every milestone: it goes with PretrainConfig.ALGORITHM_VERSION."""
    order = [2, 3, 0, 5, 6, 4, 1, 11, 15, 16, 18, 14, 13, 17, 20, 19, 12, 10, 9, 8, 7]
    assert examples(batch_size=1, bounds=range(22)).tolist() == order
    assert PretrainConfig.ALGORITHM_VERSION == 3
