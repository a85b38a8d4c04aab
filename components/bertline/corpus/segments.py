"""Where instances begin and end: a bucket's text is cut into pairs of segments, or packed with full sentences.

Plain Python, and so only four integers an instance. Sentences lie end to end in one array: a segment is a slice of it,
and bisection in the sentence offsets finds the end of a chunk. What the words mean is in `instances`.
"""

import bisect
import dataclasses
import itertools
import typing
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from bertline import errors
from bertline.corpus import randomness
from bertline.text import wordpiece

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """An article as piece ids."""

    id: int
    """Unique in the corpus, 0 to 2**64 - 1: all randomness of the document depends on it."""
    sentences: list[npt.NDArray[typing.Any]]
    """Integer arrays, in reading order. Empty ones are passed over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A bucket's documents end to end, by ascending id."""

    pieces: Int32s
    """Shape [pieces]."""
    sentence_offsets: list[int]
    """Where each sentence begins in ``pieces``; one more says where the last ends. [sentences + 1]"""
    document_offsets: list[int]
    """Where each document begins among the sentences; one more as above. [documents + 1]"""
    ids: list[int]
    """[documents]"""

    @classmethod
    def of(cls, documents: Sequence[Document], vocabulary: wordpiece.Vocabulary) -> "Text":
        """Checks the documents and lays them end to end.

        Raises:
            UserError: two documents have one id, or a piece isn't of this vocabulary or special.
        """
        ordered = sorted(documents, key=lambda document: document.id)
        for one, other in itertools.pairwise(ordered):
            _require(one.id != other.id, f"two documents of a bucket have the id {one.id}")
        if ordered:
            first, last = ordered[0].id, ordered[-1].id
            _require(first >= 0, f"ids of documents must be in [0, 2**64), found {first}")
            _require(last < 2**64, f"ids of documents must be in [0, 2**64), found {last}")
        sentences: list[npt.NDArray[typing.Any]] = []
        document_offsets, ids = [0], []
        for document in ordered:
            sentences.extend(sentence for sentence in document.sentences if len(sentence))
            if len(sentences) > document_offsets[-1]:
                document_offsets.append(len(sentences))
                ids.append(document.id)
        if not sentences:
            return cls(np.zeros(0, np.int32), [0], [0], [])
        pieces = np.concatenate(sentences)  # [pieces]
        lowest, highest = int(pieces.min()), int(pieces.max())
        _require(
            lowest >= 0 and highest < vocabulary.size,
            f"pieces must be in [0, {vocabulary.size}), the vocabulary's size; found {lowest} to {highest}: "
            "was the text tokenized with another vocabulary?",
        )
        special = np.zeros(vocabulary.size, np.bool_)  # [vocabulary]
        special[[vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id]] = True
        for piece in pieces[special[pieces]][:1]:
            raise errors.UserError(f"a document contains {vocabulary.pieces[piece]}; text must not have special tokens")
        offsets = np.cumsum([0, *map(len, sentences)])  # [sentences + 1]
        return cls(pieces.astype(np.int32, copy=False), offsets.tolist(), document_offsets, ids)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Where each instance's segments lie in the text. All of shape [instances], but ``sources``."""

    a_begin: Int64s
    a_end: Int64s
    b_begin: Int64s
    b_end: Int64s
    is_random: Bools
    sources: list[tuple[int, int, int]]
    """(duplicate, document id, instances) in the order of the instances: whose random numbers mask them."""
    has_b: bool

    @property
    def count(self) -> int:
        """How many instances there are."""
        return len(self.a_begin)


def pairs(
    text: Text, random: randomness.Random, *, max_seq_length: int, short_seq_prob: float, duplicates: int
) -> Plan:
    """Cuts all documents into pairs of segments. The options are those of `InstanceOptions`."""
    longest = max_seq_length - 3  # [CLS], [SEP] and [SEP]
    rows: list[tuple[int, int, int, int, bool]] = []
    sources: list[tuple[int, int, int]] = []
    for duplicate in range(duplicates):
        for index, document_id in enumerate(text.ids):
            random.place(randomness.Stream.PAIRS, duplicate, document_id)
            before = len(rows)
            rows.extend(_pairs_of_document(text, index, longest, short_seq_prob, _uniform(random)))
            sources.append((duplicate, document_id, len(rows) - before))
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 5)  # [instances, 5]
    return Plan(
        a_begin=table[:, 0],
        a_end=table[:, 1],
        b_begin=table[:, 2],
        b_end=table[:, 3],
        is_random=table[:, 4] != 0,
        sources=sources,
        has_b=True,
    )


def _pairs_of_document(
    text: Text, index: int, longest: int, short_seq_prob: float, words: Iterator[int]
) -> Iterator[tuple[int, int, int, int, bool]]:
    """(begin of A, end of A, begin of B, end of B, whether B is random) of a document's instances."""
    offsets = text.sentence_offsets
    first, last = text.document_offsets[index], text.document_offsets[index + 1]
    others = len(text.ids) - 1
    target = longest
    if next(words) < short_seq_prob * 2**64:
        target = 2 + _below(longest - 1, next(words))  # 2..longest
    start = first
    while start < last:
        # The chunk is sentences [start, stop): the fewest that reach the target, or all that are left.
        stop = min(bisect.bisect_left(offsets, offsets[start] + target, start + 1, last), last)
        size = stop - start
        # Six words an instance, needed or not: how long another document is mustn't shift what this one draws later.
        cut_word, coin, other_word, sentence_word, a_word, b_word = itertools.islice(words, 6)
        cut = start + (1 + _below(size - 1, cut_word) if size > 1 else 1)
        a_begin, a_end = offsets[start], offsets[cut]
        is_random = size == 1 or coin < 2**63
        if is_random:
            other = index
            if others:
                other = _below(others, other_word)
                other += other >= index
            other_first, other_last = text.document_offsets[other], text.document_offsets[other + 1]
            b_start = other_first + _below(other_last - other_first, sentence_word)
            enough = offsets[b_start] + target - (a_end - a_begin)
            b_stop = min(bisect.bisect_left(offsets, enough, b_start + 1, other_last), other_last)
            b_begin, b_end = offsets[b_start], offsets[b_stop]
            # The sentences that B would have had are put back.
            start = cut
        else:
            b_begin, b_end = a_end, offsets[stop]
            start = stop
        surplus = (a_end - a_begin) + (b_end - b_begin) - longest
        if surplus > 0:
            a_surplus, b_surplus = _shares(a_end - a_begin, b_end - b_begin, surplus)
            # Each piece goes from the front or the back, by coin. Heads of n coins = bits set of n random bits.
            a_front, b_front = _heads(a_surplus, a_word), _heads(b_surplus, b_word)
            a_begin, a_end = a_begin + a_front, a_end - (a_surplus - a_front)
            b_begin, b_end = b_begin + b_front, b_end - (b_surplus - b_front)
        yield a_begin, a_end, b_begin, b_end, is_random


def _shares(a_length: int, b_length: int, surplus: int) -> tuple[int, int]:
    """How many pieces A and B lose, if the longer one always loses the next, and B when they are equal."""
    ahead = min(surplus, abs(a_length - b_length))  # the longer one's loss until they are equal
    from_a, from_b = (ahead, 0) if a_length > b_length else (0, ahead)
    rest = surplus - ahead  # then B, A, B, A, …
    return from_a + rest // 2, from_b + (rest + 1) // 2


def _uniform(random: randomness.Random) -> Iterator[int]:
    """Random 64-bit words without end."""
    while True:
        yield from random.words(32).tolist()


def _below(limit: int, word: int) -> int:
    """Uniform in [0, limit): the bias of at most limit / 2**64 is of no account."""
    return word * limit >> 64


def _heads(coins: int, word: int) -> int:
    """How many of so many coins show heads."""
    heads = 0
    while coins > 64:
        heads += word.bit_count()
        coins -= 64
        # The next 64 coins, for the rare sentence of hundreds of pieces: SplitMix64's step, which scrambles all bits.
        word = (word + 0x9E37_79B9_7F4A_7C15) % 2**64
        word = (word ^ word >> 30) * 0xBF58_476D_1CE4_E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D0_49BB_1331_11EB % 2**64
        word ^= word >> 31
    return heads + (word >> 64 - coins).bit_count()


def full_sentences(
    text: Text, random: randomness.Random, *, max_seq_length: int, duplicates: int, sep_id: int
) -> tuple[Text, Plan]:
    """Packs the documents of each duplicate, in random order, into instances of whole sentences.

    The new text is what a reader of all duplicates would see: documents in that order, a [SEP] after each. An instance
    is a slice of it; a sentence longer than an instance is cut.
    """
    longest = max_seq_length - 2  # [CLS] and [SEP]
    sep = np.array([sep_id], np.int32)
    parts: list[Int32s] = []
    begins: list[int] = []  # of each sentence in the new text
    ends: list[int] = []  # the same, without the [SEP] after the last sentence of a document
    owners: list[int] = []
    at = 0
    rows: list[tuple[int, int]] = []
    sources: list[tuple[int, int, int]] = []
    for duplicate in range(duplicates):
        first = len(begins)
        for index in _shuffled_documents(text, duplicate, random):
            offsets = text.sentence_offsets[text.document_offsets[index] : text.document_offsets[index + 1] + 1]
            for sentence, following in itertools.pairwise(offsets):
                for cut in range(sentence, following, longest):
                    begins.append(at + cut - offsets[0])
                    ends.append(at + min(cut + longest, following) - offsets[0])
                    owners.append(text.ids[index])
            parts += (text.pieces[offsets[0] : offsets[-1]], sep)
            at += offsets[-1] - offsets[0] + 1
        start = first
        while start < len(begins):
            stop = bisect.bisect_right(ends, begins[start] + longest, start)
            rows.append((begins[start], ends[stop - 1]))
            # An instance is masked by the document that it begins in, and its number there.
            if sources and sources[-1][:2] == (duplicate, owners[start]):
                sources[-1] = (duplicate, owners[start], sources[-1][2] + 1)
            else:
                sources.append((duplicate, owners[start], 1))
            start = stop
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 2)  # [instances, 2]
    end = table[:, 1]
    plan = Plan(
        a_begin=table[:, 0],
        a_end=end,
        b_begin=end,
        b_end=end,
        is_random=np.zeros(len(rows), np.bool_),
        sources=sources,
        has_b=False,
    )
    return dataclasses.replace(text, pieces=np.concatenate(parts) if parts else text.pieces), plan


def _shuffled_documents(text: Text, duplicate: int, random: randomness.Random) -> list[int]:
    keys: list[tuple[int, int]] = []
    for index, document_id in enumerate(text.ids):
        random.place(randomness.Stream.PACKING, duplicate, document_id)
        keys.append((int(random.words(1)[0]), index))
    return [index for _, index in sorted(keys)]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise errors.UserError(message)
