import hashlib
from collections import Counter, defaultdict

import pytest

from bertline import samples
from bertline.errors import UserError
from bertline.evaluate import glue
from bertline.samples import nli


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    return {name: samples.write(name, folder) for name in ("nli/train", "nli/dev")}


@pytest.fixture(scope="module")
def train(files):
    return glue.read(files["nli/train"]).examples


@pytest.fixture(scope="module")
def dev(files):
    return glue.read(files["nli/dev"]).examples


def test_an_unknown_sample_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="no sample 'nli'; there are pydoc-topics, nli/train, nli/dev"):
        samples.write("nli", tmp_path)


def test_every_sample_is_a_file_in_the_directory(tmp_path):
    paths = [samples.write(name, tmp_path) for name in samples.NAMES]
    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == len(paths)
    assert all(path.stat().st_size > 10_000 for path in paths)


@pytest.mark.parametrize(("name", "digest"), [("nli/train", "a89e5c317cb2d406"), ("nli/dev", "ea9642259172f875")])
def test_the_bytes_are_pinned(files, name, digest):
    assert hashlib.sha256(files[name].read_bytes()).hexdigest()[:16] == digest


def test_the_layout_is_that_of_the_real_files(files, request):
    for name, columns in (("nli/train", 12), ("nli/dev", 16)):
        rows = [line.split("\t") for line in files[name].read_text().splitlines()]
        assert {len(row) for row in rows} == {columns}
        assert {row[rows[0].index("genre")] for row in rows[1:]} == {"sample grammar"}
        assert [row[0] for row in rows[1:]] == [str(index) for index in range(len(rows) - 1)]
        assert rows[0][0] == "index"
        assert rows[0][8:10] == ["sentence1", "sentence2"]
        assert rows[0][10:] == [*(f"label{number}" for number in range(1, columns - 10)), "gold_label"]


def test_labels_are_balanced(train, dev):
    for examples, count in ((train, 4002), (dev, 1002)):
        assert Counter(example.label for example in examples) == dict.fromkeys(range(3), count // 3)


def test_no_sentence_of_dev_is_in_train(train, dev):
    for side in ("premise", "hypothesis"):
        assert not {getattr(example, side) for example in train} & {getattr(example, side) for example in dev}


def test_no_premise_occurs_twice(train, dev):
    assert max(Counter(example.premise for example in [*train, *dev]).values()) == 1


def accuracy_of_counting(train, dev, words):
    """Of a naive count: which label's training examples have had the words of this one most often (smoothed)?"""
    counts = defaultdict(lambda: [1, 1, 1])
    for example in train:
        for word in words(example):
            counts[word][example.label] += 1
    right = 0
    for example in dev:
        scores = [1.0, 1.0, 1.0]
        for word in words(example):
            total = sum(counts[word])
            scores = [score * count / total for score, count in zip(scores, counts[word], strict=True)]
        right += scores.index(max(scores)) == example.label
    return right / len(dev)


def test_hypotheses_alone_say_nothing(train, dev):
    alone = accuracy_of_counting(train, dev, lambda example: example.hypothesis.lower().split())
    in_pairs = accuracy_of_counting(
        train, dev, lambda example: list(zip(*[iter(example.hypothesis.lower().split())] * 2, strict=False))
    )
    assert alone == pytest.approx(
        1 / 3, abs=1e-9
    )  # each hypothesis has each label once: whatever is guessed, one is right
    assert in_pairs == pytest.approx(1 / 3, abs=1e-9)


def test_premises_alone_say_much_but_not_all(train, dev):
    assert 0.7 < accuracy_of_counting(train, dev, lambda example: example.premise.lower().split()) < 0.87


def truth(quantity, world):
    """Whether so many of a world's things have the property."""
    return {nli.ALL: all(world), nli.SOME: any(world), nli.NOT_ALL: not all(world), nli.NO: not any(world)}[quantity]


def test_the_table_is_the_square_of_opposition():
    """By all small worlds: entailed is what holds wherever the premise does, contradicted what never does."""
    worlds = [[bool(number >> bit & 1) for bit in range(3)] for number in range(8)]
    for hypothesis, premises in nli.FOLLOWS.items():
        for premise in (nli.ALL, nli.SOME, nli.NOT_ALL, nli.NO):
            found = {truth(hypothesis, world) for world in worlds if truth(premise, world)}
            label = {(True,): "entailment", (False,): "contradiction"}.get(tuple(found), "neutral")
            assert premise in premises[label], (premise, hypothesis)
            opposite = [[not thing for thing in world] for world in worlds]
            assert [truth(premise, world) for world in worlds] == [
                truth(nli.OPPOSITE[premise], world) for world in opposite
            ]
