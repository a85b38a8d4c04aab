"""The trainer of vocabularies is deterministic, and what it makes fits its text."""

import os
import subprocess
import sys

import pytest

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
