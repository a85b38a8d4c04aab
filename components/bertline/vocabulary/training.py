"""Training of a WordPiece vocabulary: byte-pair encoding over the words that the tokenizer would see."""

import collections
import heapq
import itertools
from collections.abc import Iterable, Iterator

from bertline import errors
from bertline.text import words
from bertline.text.wordpiece import CONTINUATION, MAX_WORD_CHARACTERS, SPECIAL_TOKENS, Vocabulary

_ALPHABET = 2_000
"""Largest number of pieces of one character: 1,000 characters, each as first of a word and as continuation."""


def train(texts: Iterator[str], size: int, lower_case: bool, min_frequency: int = 2) -> Vocabulary:
    """Makes a vocabulary of at most ``size`` pieces from texts, the same for the same texts in any order.

    Starts with the characters, as first of a word and as continuation, and joins the neighbours that are most frequent,
    again and again (byte-pair encoding, as other trainers of WordPiece vocabularies do). Ties go to the pair whose
    pieces were made first; characters are in the order of their code points. So the result is a function of the
    words' counts alone. Memory grows with the number of different words, not with the texts.

    Args:
        texts: read once.
        size: special tokens included. Fewer pieces come out if there are no more frequent ones.
        lower_case: for an uncased vocabulary.
        min_frequency: a piece occurs at least so many times.

    Raises:
        UserError: ``size`` is too small for a tenth of an alphabet, or there is no text.
    """
    if size < len(SPECIAL_TOKENS) + 20:
        raise errors.UserError(f"a vocabulary has at least {len(SPECIAL_TOKENS) + 20} pieces, not {size}")
    parts: collections.Counter[str] = collections.Counter()
    for text in texts:
        parts.update(*words.split_all([text]))
    frequencies: collections.Counter[str] = collections.Counter()
    for part, count in parts.items():
        for word in words.of(part, lower_case):
            if len(word) <= MAX_WORD_CHARACTERS:
                frequencies[word] += count
    del parts
    if not frequencies:
        raise errors.UserError("there is no text to train a vocabulary on")
    alphabet = _alphabet(frequencies, min((size - len(SPECIAL_TOKENS)) // 2, _ALPHABET), min_frequency)
    pieces = [*SPECIAL_TOKENS, *alphabet]
    _join_neighbours(frequencies, pieces, size, min_frequency)
    return Vocabulary(tuple(pieces))


def _letters(word: str) -> Iterable[str]:
    """The word as the smallest pieces."""
    return itertools.chain(word[:1], (CONTINUATION + letter for letter in word[1:]))


def _alphabet(words: collections.Counter[str], limit: int, min_frequency: int) -> list[str]:
    """The most frequent pieces of one character, in the order of code points, first of a word before continuation."""
    counts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for letter in _letters(word):
            counts[letter] += count
    frequent = sorted((-count, letter) for letter, count in counts.items() if count >= min_frequency)
    chosen = {letter for _, letter in frequent[:limit]}
    return sorted(chosen, key=lambda letter: (letter[-1], len(letter)))


def _join_neighbours(words: collections.Counter[str], pieces: list[str], size: int, min_frequency: int) -> None:
    """Adds to ``pieces`` the joined neighbours, most frequent first, until there are ``size``."""
    ids = {piece: index for index, piece in enumerate(pieces)}
    cuts: list[list[int]] = []  # of each word: its pieces
    counts: list[int] = []  # of each word
    pairs: collections.Counter[tuple[int, int]] = collections.Counter()
    places: dict[tuple[int, int], list[int]] = collections.defaultdict(list)  # in which words a pair is, or was
    for word, count in words.items():
        cut = [ids.get(letter, -1) for letter in _letters(word)]
        if len(cut) < 2 or -1 in cut:  # a word with a rare character will be [UNK]
            continue
        place = len(cuts)
        for pair in itertools.pairwise(cut):
            pairs[pair] += count
            places[pair].append(place)
        cuts.append(cut)
        counts.append(count)
    # (-count, pair): the most frequent first, then the pair of the oldest pieces. An entry whose count has changed
    # is passed over: whenever a count changes, an entry with the new one is added.
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    while queue and len(pieces) < size:
        negative, pair = heapq.heappop(queue)
        if pairs[pair] != -negative:
            continue
        if -negative < min_frequency:
            break
        joined = pieces[pair[0]] + pieces[pair[1]].removeprefix(CONTINUATION)
        new = ids.get(joined)
        if new is None:  # "a" + "##bc" may have made the same piece as "ab" + "##c"
            new = ids[joined] = len(pieces)
            pieces.append(joined)
        changed: set[tuple[int, int]] = set()
        for place in places.pop(pair):
            cut, count = cuts[place], counts[place]
            for old, fresh in _joined(cut, pair, new):
                pairs[old] -= count
                pairs[fresh] += count
                places[fresh].append(place)
                changed.update((old, fresh))
        del pairs[pair]  # what of it overlapped is gone as well: there is none any more
        for other in changed:
            if pairs.get(other, 0) > 0:
                heapq.heappush(queue, (-pairs[other], other))


def _joined(cut: list[int], pair: tuple[int, int], new: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Joins a pair wherever it is in a word; the neighbours that this separates, and those that come of it.

    Only the pieces beside the pair are looked at, not the whole word.
    """
    first, second = pair
    at = -1
    while first in cut[at + 1 :]:
        at = cut.index(first, at + 1)
        if cut[at + 1 : at + 2] != [second]:
            continue
        if at:
            yield (cut[at - 1], first), (cut[at - 1], new)
        if at + 2 < len(cut):
            yield (second, cut[at + 2]), (new, cut[at + 2])
        cut[at : at + 2] = [new]
