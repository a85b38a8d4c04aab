import hashlib

import numpy as np
import pytest

from bertline.evaluate import batches
from bertline.evaluate.glue import Example
from bertline.text import wordpiece

LETTERS = "abcdefghij"
VOCABULARY = wordpiece.parse("\n".join([*wordpiece.SPECIAL_TOKENS, *LETTERS]), "letters")
TOKENIZER = wordpiece.Tokenizer(VOCABULARY, lower_case=True)
PAD, CLS, SEP = VOCABULARY.pad_id, VOCABULARY.cls_id, VOCABULARY.sep_id


def example(premise, hypothesis, label=0):
    return Example(0, " ".join(premise), " ".join(hypothesis), label)


def ids(text):
    return [VOCABULARY.ids[letter] for letter in text]


def lengths_of(count, seed=0):
    return np.random.RandomState(seed).randint(5, 40, count)


def test_a_batch_is_cls_premise_sep_hypothesis_sep_and_padding():
    pairs = batches.encode([example("abc", "de", 2), example("f", "", 1)], TOKENIZER, 32)
    batch = batches.assemble(pairs, np.array([1, 0]), 32)
    assert batch.word_ids.tolist() == [
        [CLS, *ids("f"), SEP, SEP, *[PAD] * 4],
        [CLS, *ids("abc"), SEP, *ids("de"), SEP],
    ]
    assert batch.mask.tolist() == [[1, 1, 1, 1, 0, 0, 0, 0], [1] * 8]
    assert batch.type_ids.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
    assert batch.labels.tolist() == [1, 2]
    assert {array.dtype for array in (batch.word_ids, batch.mask, batch.type_ids, batch.labels)} == {np.dtype(np.int32)}


@pytest.mark.parametrize(("longest", "width"), [(8, 8), (9, 16), (19, 20)], ids=["exact", "rounded up", "capped"])
def test_a_batch_is_as_wide_as_its_longest_pair_needs(longest, width):
    pairs = batches.encode([example("a" * (longest - 4), "b"), example("a", "b")], TOKENIZER, 20)
    assert batches.assemble(pairs, np.array([0, 1]), 20).word_ids.shape == (2, width)


def cut_by_hand(first, second, room):
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def test_long_pairs_lose_tokens_of_the_longer_side_first():
    for room in range(1, 12):
        for first in range(15):
            for second in range(15):
                assert batches._kept(first, second, room) == cut_by_hand(first, second, room), (first, second, room)


def test_a_cut_pair_fits_and_keeps_the_beginnings():
    pairs = batches.encode([example("abcdefgh", "ij"), example("ab", "cdefghij")], TOKENIZER, 8)
    assert pairs.lengths.tolist() == [8, 8]
    assert pairs.tokens.tolist() == [CLS, *ids("abc"), SEP, *ids("ij"), SEP, CLS, *ids("ab"), SEP, *ids("cde"), SEP]
    assert pairs.firsts.tolist() == [5, 4]


def test_encoding_in_chunks_changes_nothing(monkeypatch):
    examples = [example(LETTERS[: 1 + n % 7], LETTERS[n % 5 :], n % 3) for n in range(25)]
    whole = batches.encode(examples, TOKENIZER, 12)
    monkeypatch.setattr(batches, "CHUNK", 4)
    parts = batches.encode(examples, TOKENIZER, 12)
    for name in ("tokens", "starts", "firsts", "labels"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1000, 5000])
def test_an_epoch_has_every_example_once_and_at_most_one_smaller_batch(count):
    order = batches.epoch(lengths_of(count), 32, seed=1, number=0)
    assert sorted(np.concatenate(order)) == list(range(count))
    assert sorted(map(len, order))[1:] == [32] * (-(-count // 32) - 1)


def test_batches_hold_pairs_of_nearly_one_length():
    lengths = lengths_of(3200)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches.epoch(lengths, 32, seed=1, number=0))
    assert padded / lengths.sum() < 1.03


def test_the_order_follows_from_seed_and_epoch():
    lengths = lengths_of(500)

    def order(seed, number):
        return [batch.tolist() for batch in batches.epoch(lengths, 32, seed, number)]

    assert order(1, 0) == order(1, 0)
    assert len({str(order(seed, number)) for seed in (1, 2) for number in (0, 1)}) == 4


def test_the_order_is_pinned():
    """A change here changes every result: it goes with EvaluateConfig.ALGORITHM_VERSION."""
    order = batches.epoch(lengths_of(500), 32, seed=1, number=2)
    digest = hashlib.sha256(str([batch.tolist() for batch in order]).encode()).hexdigest()
    assert digest[:16] == "ba12165f4ed6d297"
    assert batches.choice(1000, 5, seed=1).tolist() == [34, 150, 280, 803, 856]


def test_a_choice_of_examples_keeps_the_files_order():
    assert batches.choice(10, None, seed=1).tolist() == list(range(10))
    assert batches.choice(10, 20, seed=1).tolist() == list(range(10))
    chosen = batches.choice(1000, 100, seed=1).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 100
    assert chosen != batches.choice(1000, 100, seed=2).tolist()


def test_predicting_goes_from_long_to_short_and_leaves_nobody_out():
    lengths = lengths_of(100)
    order = batches.by_length(lengths, 32)
    assert sorted(np.concatenate(order)) == list(range(100))
    assert np.all(np.diff(lengths[np.concatenate(order)]) <= 0)
