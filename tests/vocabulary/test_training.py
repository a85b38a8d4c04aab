"""The trainer of vocabularies is deterministic, and what it makes fits its text."""

import collections
import itertools
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertline import errors
from bertline.text import wordpiece
from bertline.vocabulary import training

POEM = ["The rain in Spain stays mainly in the plain.", "Дождь, дождь; the rain again and again!"] * 3


@pytest.mark.parametrize("size", [30, 40, 60])
def test_a_trained_vocabulary_has_special_tokens_first_and_knows_its_text(size):
    vocabulary = training.train(iter(POEM), size, lower_case=True, min_frequency=2)
    assert vocabulary.pieces[:5] == wordpiece.SPECIAL_TOKENS
    assert 20 < vocabulary.size <= size
    assert "the" in vocabulary.pieces
    tokenizer = wordpiece.Tokenizer(vocabulary, lower_case=True)
    assert wordpiece.parse(vocabulary.text, "again") == vocabulary
    assert tokenizer.encode("The the") == [vocabulary.ids["the"]] * 2


def test_a_piece_is_as_frequent_as_asked_for():
    vocabulary = training.train(iter(["aaab " * 9, "ccc"]), 40, lower_case=True, min_frequency=2)
    assert "aaab" in vocabulary.pieces
    assert "##c" in vocabulary.pieces  # twice
    assert "c" not in vocabulary.pieces  # once


def test_training_is_the_same_in_every_process_and_for_any_order_of_texts():
    # A pinned digest: what is trained may only change together with the vocabulary stage's ALGORITHM_VERSION.
    expected = "c595ab9535b4456991c00d6fbcecc316f34aa0f65aaa8b39ef3c22923f1e3cb5"
    program = (
        "import sys; from bertline.vocabulary import training;"
        "print(training.train(iter(sys.argv[1:]), 60, lower_case=True, min_frequency=2).sha256)"
    )
    for seed, texts in (("0", POEM), ("1", POEM[::-1]), ("2", POEM)):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", program, *texts], env=environment, capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() == expected


def test_training_without_text_or_room_is_refused():
    with pytest.raises(errors.UserError, match="no text"):
        training.train(iter([" "]), 100, lower_case=True)
    with pytest.raises(errors.UserError, match="at least 25 pieces, not 7"):
        training.train(iter(POEM), 7, lower_case=True)


def _slowly(words, size):
    """Byte-pair encoding by the book: all neighbours are counted anew for each piece."""
    letters = sorted(
        {piece for word in words for piece in (word[0], *(f"##{letter}" for letter in word[1:]))},
        key=lambda piece: (piece[-1], len(piece)),
    )
    pieces = [*wordpiece.SPECIAL_TOKENS, *letters]
    cuts = {word: [pieces.index(word[0]), *(pieces.index(f"##{letter}") for letter in word[1:])] for word in words}
    while len(pieces) < size:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(cuts[word]):
                pairs[pair] += count
        if not pairs or max(pairs.values()) < 2:
            break
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        joined = pieces[first] + pieces[second].removeprefix("##")
        if joined not in pieces:
            pieces.append(joined)
        for cut in cuts.values():
            at = 0
            while at + 1 < len(cut):
                if cut[at : at + 2] == [first, second]:
                    cut[at : at + 2] = [pieces.index(joined)]
                at += 1
    return tuple(pieces)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=9), st.integers(2, 9), min_size=1, max_size=12))
def test_pieces_are_those_of_counting_all_neighbours_anew(words):
    """Words of three letters have many neighbours that overlap: "aaaa"."""
    text = " ".join(" ".join([word] * count) for word, count in words.items())
    assert training.train(iter([text]), 60, lower_case=True).pieces == _slowly(words, 60)
