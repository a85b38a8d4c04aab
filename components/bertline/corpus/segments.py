"""Plans instances: cuts a bucket's text into pairs of segments, or packs it into full sentences.

Sentences lie end to end in one array: a segment is a slice of it, and a binary search in the sentence offsets finds the
end of a chunk. A document's chunks depend on each other, but documents are independent, so numpy operations do the i-th
step of all documents together. `instances` defines the terms.
"""

import bisect
import dataclasses
import itertools
import math
import typing
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bertline import errors
from bertline.corpus import randomness
from bertline.text import wordpiece

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[typing.Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """An article as piece ids."""

    id: int
    """Unique in the corpus, 0 to 2**64 - 1: all randomness of the document depends on it."""
    pieces: npt.NDArray[typing.Any]
    """All sentences end to end, in reading order. Integers, shape [pieces]."""
    lengths: npt.NDArray[typing.Any]
    """Number of pieces of each sentence; empty sentences are skipped. Integers, shape [sentences]."""


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A bucket's documents end to end, by ascending id."""

    pieces: Int32s
    """Shape [pieces]."""
    sentence_offsets: Int64s
    """Where each sentence begins in ``pieces``; one more says where the last ends. Shape [sentences + 1]."""
    document_offsets: Int64s
    """Where each document begins among the sentences; one more as above. Shape [documents + 1]."""
    ids: UInt64s
    """Shape [documents]."""

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
        ordered = [document for document in ordered if len(document.pieces)]
        if not ordered:
            return cls(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(0, np.uint64))
        pieces = np.concatenate([document.pieces for document in ordered])  # [pieces]
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
        lengths = np.concatenate([document.lengths for document in ordered])  # [sentences]
        counts = [np.count_nonzero(document.lengths) for document in ordered]
        return cls(
            pieces.astype(np.int32, copy=False),
            np.concatenate([[0], np.cumsum(lengths[lengths > 0], dtype=np.int64)]),
            np.cumsum([0, *counts]),
            np.array([document.id for document in ordered], np.uint64),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """The documents of all duplicates in one line: each duplicate in random order, with a [SEP] after each document.

    The line isn't stored, because it is as long as the text times the duplicates; only the documents' begins are.
    """

    begins: Int64s
    """Where each document of each duplicate begins in the line. Shape [duplicates * documents]."""
    sources: Int64s
    """Where it begins in the text. Shape [duplicates * documents]."""
    ends: Int64s
    """Where its [SEP] is in the line. Shape [duplicates * documents]."""

    def pieces(self, text: Text, places: Int64s, sep_id: int) -> Int32s:
        """The pieces at some places of the line. Any shape."""
        document = np.searchsorted(self.begins, places, side="right") - 1
        is_sep = places == self.ends[document]
        source = np.where(is_sep, 0, places - self.begins[document] + self.sources[document])
        return np.where(is_sep, np.int32(sep_id), text.pieces[source])


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Where each instance's segments lie in the text, in the order of (duplicate, document, number within both)."""

    a_begin: Ints
    a_end: Ints
    b_begin: Ints
    b_end: Ints
    """The four have shape [instances]; 4 bytes a number if the text isn't too long for that."""
    is_random: Bools
    """Whether B is random. Shape [instances]."""
    duplicates: Int64s
    """A *source* is a run of instances that one document's random numbers mask. Of which duplicate, shape [sources]."""
    document_ids: UInt64s
    """Document id of each source. Shape [sources]."""
    source_begins: Int64s
    """Which instance each source begins with, and how many instances there are. Shape [sources + 1]."""
    line: "Line | None" = None
    """The line that the segments are in; None means the text itself. With a line there is no B."""

    @property
    def count(self) -> int:
        """How many instances there are."""
        return len(self.a_begin)


_WORDS = 1 << 22
"""Random words held at a time, if a single duplicate doesn't need more: 32 MiB."""


def pairs(
    text: Text, random: randomness.Random, *, max_seq_length: int, short_seq_prob: float, duplicates: int
) -> Plan:
    """Cuts all documents into pairs of segments. The options are those of `InstanceOptions`."""
    documents = len(text.ids)
    # Six words an instance of at most as many instances as sentences, and two words before.
    at_once = max(1, _WORDS // (6 * len(text.sentence_offsets) + 2 * documents))
    parts = [
        _pairs(text, random, range(first, min(first + at_once, duplicates)), max_seq_length - 3, short_seq_prob)
        for first in range(0, duplicates, at_once)
    ]
    counts = np.concatenate([counts for _, counts in parts])  # [duplicates * documents]
    a_begin, a_end, b_begin, b_end, is_random = (
        np.concatenate(field) for field in zip(*(fields for fields, _ in parts), strict=True)
    )
    return Plan(
        a_begin=a_begin,
        a_end=a_end,
        b_begin=b_begin,
        b_end=b_end,
        is_random=is_random,
        duplicates=np.repeat(np.arange(duplicates), documents),
        document_ids=np.tile(text.ids, duplicates),
        source_begins=np.concatenate([[0], np.cumsum(counts)]),
    )


def _pairs(
    text: Text, random: randomness.Random, duplicates: range, longest: int, short_seq_prob: float
) -> tuple[list[Ints], Int64s]:
    """The first five fields of some duplicates' plan, and how many instances each document of each duplicate has.

    Each document of each duplicate has a lane.
    """
    offsets, documents = text.sentence_offsets, len(text.ids)
    begins, ends = text.document_offsets[:-1], text.document_offsets[1:]  # [documents]
    others = documents - 1
    words, cursor = _words(text, random, duplicates)  # [words], [lanes]
    # Compared as whole numbers: word < probability * 2**64.
    threshold = math.ceil(short_seq_prob * 2.0**64)
    is_short = words[cursor] <= np.uint64(threshold - 1) if threshold else np.zeros(len(cursor), np.bool_)  # [lanes]
    target = np.where(is_short, 2 + _below(np.int64(longest - 1), words[cursor + 1]), longest)  # [lanes]
    cursor += 1 + is_short
    lane = np.arange(len(cursor))  # [going], as all below: the lanes that aren't at their document's end
    start = np.tile(begins, len(duplicates))
    counts = np.zeros(len(lane), np.int64)  # [lanes]
    dtype = np.int32 if len(text.pieces) < 2**31 else np.int64
    steps: list[tuple[Int64s, Ints, Ints, Ints, Ints, Bools]] = []
    while len(lane):
        document = lane % max(1, documents)
        # The chunk is sentences [start, stop): the fewest that reach the target, or all that are left.
        stop = np.minimum(np.searchsorted(offsets, offsets[start] + target), ends[document])
        size = stop - start
        # Six words an instance, needed or not: how long another document is mustn't shift what this one draws later.
        cut_word, coin, other_word, sentence_word, a_word, b_word = (words[cursor + number] for number in range(6))
        cut = start + 1 + _below(size - 1, cut_word)
        a_begin, a_end = offsets[start], offsets[cut]
        is_random = (size == 1) | (coin < np.uint64(2**63))
        other = document
        if others:
            other = _below(np.int64(others), other_word)
            other += other >= document
        b_start = begins[other] + _below(ends[other] - begins[other], sentence_word)
        enough = offsets[b_start] + target - (a_end - a_begin)
        b_stop = np.clip(np.searchsorted(offsets, enough), b_start + 1, ends[other])
        b_begin = np.where(is_random, offsets[b_start], a_end)
        b_end = np.where(is_random, offsets[b_stop], offsets[stop])
        # The sentences that a random B displaces are put back.
        start = np.where(is_random, cut, stop)
        a_surplus, b_surplus = _shares(a_end - a_begin, b_end - b_begin, longest)
        # Each piece goes from the front or the back, by coin. Heads of n coins = bits set of n random bits.
        a_front, b_front = _heads(a_surplus, a_word), _heads(b_surplus, b_word)
        fields = (a_begin + a_front, a_end - a_surplus + a_front, b_begin + b_front, b_end - b_surplus + b_front)
        steps.append((lane, *(field.astype(dtype) for field in fields), is_random))
        counts[lane] += 1
        going = start < ends[document]
        lane, start, target, cursor = lane[going], start[going], target[going], cursor[going] + 6
    firsts = np.cumsum(counts) - counts  # [lanes]
    planned: list[Ints] = [
        np.empty(int(counts.sum()), field_type) for field_type in (dtype, dtype, dtype, dtype, np.bool_)
    ]
    for number, (step_lane, *step_fields) in enumerate(steps):
        for field, values in zip(planned, step_fields, strict=True):
            field[firsts[step_lane] + number] = values
    return planned, counts


def _words(text: Text, random: randomness.Random, duplicates: range) -> tuple[UInt64s, Int64s]:
    """The random words of all documents of some duplicates, and where each one's begin. Shapes [words], [lanes]."""
    counts = (2 + 6 * np.diff(text.document_offsets)).tolist()  # [documents]
    parts: list[UInt64s] = []
    for duplicate in duplicates:
        for document_id, count in zip(text.ids.tolist(), counts, strict=True):
            random.place(randomness.Stream.PAIRS, duplicate, document_id)
            parts.append(random.words(count))
    ends = np.cumsum(counts * len(duplicates), dtype=np.int64)  # [lanes]
    return np.concatenate([np.zeros(0, np.uint64), *parts]), np.concatenate([[0], ends])[:-1]


def _shares(a_length: Int64s, b_length: Int64s, longest: int) -> tuple[Int64s, Int64s]:
    """How many pieces A and B lose to fit, if the longer one always loses the next, and B when they are equal."""
    surplus = np.maximum(a_length + b_length - longest, 0)
    ahead = np.minimum(surplus, np.abs(a_length - b_length))  # the longer one's loss until they are equal
    rest = surplus - ahead  # then B, A, B, A, …
    from_a = np.where(a_length > b_length, ahead, 0)
    return from_a + rest // 2, ahead - from_a + (rest + 1) // 2


def _below(limit: Int64s | np.int64, word: UInt64s) -> Int64s:
    """Uniform in [0, limit): the bias of at most limit / 2**64 is of no account. This is limit * word >> 64."""
    factor = limit.astype(np.uint64)  # below 2**32, so that no product has more than 64 bits
    half = np.uint64(32)
    product = factor * (word >> half) + (factor * (word & np.uint64(2**32 - 1)) >> half)
    return (product >> half).astype(np.int64)


def _heads(coins: Int64s, word: UInt64s) -> Int64s:
    """How many of so many coins show heads."""
    heads = np.zeros(len(coins), np.int64)
    more = np.flatnonzero(coins > 64)
    if len(more):
        coins, word = coins.copy(), word.copy()
    while len(more):
        heads[more] += np.bitwise_count(word[more])
        coins[more] -= 64
        # The next 64 coins, for the rare sentence of hundreds of pieces: SplitMix64's step, which scrambles all bits.
        scrambled = word[more] + np.uint64(0x9E37_79B9_7F4A_7C15)
        scrambled = (scrambled ^ scrambled >> np.uint64(30)) * np.uint64(0xBF58_476D_1CE4_E5B9)
        scrambled = (scrambled ^ scrambled >> np.uint64(27)) * np.uint64(0x94D0_49BB_1331_11EB)
        word[more] = scrambled ^ scrambled >> np.uint64(31)
        more = more[coins[more] > 64]
    shift = np.minimum(64 - coins, 63).astype(np.uint64)
    return heads + np.where(coins > 0, np.bitwise_count(word >> shift), 0)


def full_sentences(text: Text, random: randomness.Random, *, max_seq_length: int, duplicates: int) -> Plan:
    """Packs the documents of each duplicate, in random order, into instances of whole sentences.

    An instance is a part of a :class:`Line`; a sentence longer than an instance is cut.
    """
    longest = max_seq_length - 2  # [CLS] and [SEP]
    orders = [_shuffled_documents(text, duplicate, random) for duplicate in range(duplicates)]  # [documents] each
    order = np.concatenate([np.zeros(0, np.int64), *orders])  # [duplicates * documents]
    sources = text.sentence_offsets[text.document_offsets]  # [documents + 1]
    lengths = np.diff(sources)[order] + 1  # [duplicates * documents], with [SEP]
    line_ends = np.cumsum(lengths)
    line = Line(line_ends - lengths, sources[order], line_ends - 1)
    rows: list[Int64s] = []  # [instances, 2] of each duplicate
    owners: list[Int64s] = []  # of each instance: the place in `order` of the document that it begins in
    for duplicate in range(duplicates):
        part = slice(duplicate * len(text.ids), (duplicate + 1) * len(text.ids))
        begins, ends = _sentences(text, orders[duplicate], line.begins[part], longest)
        found: list[tuple[int, int]] = []
        start = 0
        while start < len(begins):
            stop = bisect.bisect_right(ends, begins[start] + longest, start)
            found.append((begins[start], ends[stop - 1]))
            start = stop
        rows.append(np.array(found, np.int64).reshape(len(found), 2))
        owners.append(np.searchsorted(line.begins, rows[-1][:, 0], side="right") - 1)
    table = np.concatenate([np.zeros((0, 2), np.int64), *rows])  # [instances, 2]
    owner = np.concatenate([np.zeros(0, np.int64), *owners])  # [instances]
    # An instance is masked by the document that it begins in, and its number there.
    firsts = np.flatnonzero(np.diff(owner, prepend=-1))  # [sources]
    end = table[:, 1]
    return Plan(
        a_begin=table[:, 0],
        a_end=end,
        b_begin=end,
        b_end=end,
        is_random=np.zeros(len(table), np.bool_),
        duplicates=owner[firsts] // max(1, len(text.ids)),
        document_ids=text.ids[order[owner[firsts]]],
        source_begins=np.append(firsts, len(table)),
        line=line,
    )


def _sentences(text: Text, order: Int64s, line_begins: Int64s, longest: int) -> tuple[list[int], list[int]]:
    """Where each sentence of one duplicate begins and ends in the line; long ones are cut into several."""
    counts = np.diff(text.document_offsets)[order]  # [documents]
    firsts = np.cumsum(counts) - counts
    sentence = np.arange(counts.sum()) + np.repeat(text.document_offsets[:-1][order] - firsts, counts)  # [sentences]
    shift = np.repeat(line_begins - text.sentence_offsets[text.document_offsets[:-1][order]], counts)  # [sentences]
    begins, ends = text.sentence_offsets[sentence] + shift, text.sentence_offsets[sentence + 1] + shift
    cuts = -(-(ends - begins) // longest)  # [sentences]
    number = np.arange(cuts.sum()) - np.repeat(np.cumsum(cuts) - cuts, cuts)  # [parts of sentences]
    begins = np.repeat(begins, cuts) + number * longest
    return begins.tolist(), np.minimum(begins + longest, np.repeat(ends, cuts)).tolist()


def _shuffled_documents(text: Text, duplicate: int, random: randomness.Random) -> Int64s:
    keys = np.empty(len(text.ids), np.uint64)
    for index, document_id in enumerate(text.ids.tolist()):
        random.place(randomness.Stream.PACKING, duplicate, document_id)
        keys[index] = random.words(1)[0]
    return np.argsort(keys, kind="stable")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise errors.UserError(message)
