"""Pre-training instances for masked language model (MLM) and next sentence prediction (NSP), after the Model Garden.

Words:

* A *document* is an article: sentences in reading order, and an id that says which article it is in the whole corpus.
* A *sentence* is an array of piece ids without special tokens, at least one.
* A *bucket* is the documents that become one shard. Random next sentences come from the same bucket.
* A *duplicate* is one pass over the documents. Each cuts and masks them differently.
* A *chunk* is a run of a document's sentences that together reach the target length.
* A *segment* is one of an instance's two sides: A, some first sentences of a chunk, and B, either the rest of the chunk
  or sentences from a random other document.
* An *instance* is ``[CLS] A [SEP] B [SEP]`` with some pieces masked: one training example.
* A *gram* is what is masked or left as a whole: a piece, a word (whole-word masking), or up to n neighbouring words.

Randomness. What is drawn for an instance is a function of (seed, document id, duplicate, number of the instance within
them): not of the bucket's other documents, of the order they came in, or of the number of workers. It comes from a
Philox generator, placed before each use: its 128-bit key is (seed, a constant), its 256-bit counter starts at (0,
stream, duplicate, document id) and goes up in the first word as numbers are drawn. Only raw 64-bit words are taken,
whose sequence numpy guarantees; what is made of them is integer arithmetic, the same on every processor. Only which
document is "a random other one" depends on the bucket, as it must.

Speed. Plain Python only decides where segments begin and end: four integers an instance. Sentences lie end to end in
one array, so a segment is a slice of it, and bisection in the sentence offsets finds the end of a chunk. Copying,
padding, choosing and replacing pieces are numpy operations over thousands of instances.

Differences from ``create_pretraining_data.py``, none of which a statistic shows: a random document is never the
instance's own (there it is once in 2**10 times if a bucket has two documents), and n-gram sizes come from the seed,
where there they come from Python's global generator.
"""

import bisect
import dataclasses
import itertools
import typing
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from bertline import errors, wordpiece
from bertline.corpus import masks

ALGORITHM_VERSION = 1
"""Goes up whenever the same documents and options give other instances. A test pins a digest of what is made."""

_PHILOX_KEY = 0x6265_7274_6C69_6E65
"""The second half of the generator's key: "bertline"."""
_PAIRS, _MASKS, _ORDER, _PACKING = range(4)
"""The streams: what the numbers drawn are for."""

_ROWS = 4096
"""Instances worked on at a time. 4,096 rows * 128 columns * 4 bytes = 2 MiB an array: it stays in the cache."""

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """What an instance looks like. The defaults are the original experiment's, those of BERT."""

    max_seq_length: int = 128
    """Pieces in an instance, [CLS] and [SEP] included; shorter ones are padded."""
    max_predictions_per_seq: int = 20
    """At most so many pieces are masked."""
    masked_lm_prob: float = 0.15
    """The share of an instance's pieces that is masked, special tokens counted, if `max_predictions_per_seq` allows."""
    short_seq_prob: float = 0.1
    """The share of the documents that are cut into chunks of a random shorter length. Without effect if
    `next_sentence` is False."""
    dupe_factor: int = 10
    """How many duplicates are made. The original experiment has 2 for English."""
    whole_word_masking: bool = False
    """Mask all pieces of a word or none."""
    max_ngram_size: int = 1
    """Mask up to so many neighbouring words together, n of them with weight 1/n. Above 1 only with whole words."""
    next_sentence: bool = True
    """False packs instances with full sentences, over the ends of documents, without segment B and without NSP
    (RoBERTa's FULL-SENTENCES)."""
    seed: int = 17
    """Of all randomness. The default is the original experiment's."""

    def __post_init__(self) -> None:
        """Refuses what can't be made.

        Raises:
            UserError: with the option's name, its value and what is accepted.
        """
        # 2**12 columns leave 20 of 32 random bits to order them by.
        _require(5 <= self.max_seq_length <= 4096, f"max_seq_length must be in [5, 4096], not {self.max_seq_length}")
        _require(
            1 <= self.max_predictions_per_seq <= self.max_seq_length - 3,
            f"max_predictions_per_seq must be in [1, max_seq_length - 3 = {self.max_seq_length - 3}], "
            f"not {self.max_predictions_per_seq}",
        )
        _require(0 < self.masked_lm_prob < 1, f"masked_lm_prob must be in (0, 1), not {self.masked_lm_prob}")
        _require(0 <= self.short_seq_prob <= 1, f"short_seq_prob must be in [0, 1], not {self.short_seq_prob}")
        _require(1 <= self.dupe_factor <= 2**32, f"dupe_factor must be at least 1, not {self.dupe_factor}")
        _require(
            1 <= self.max_ngram_size <= masks.MAX_NGRAM_SIZE,
            f"max_ngram_size must be in [1, {masks.MAX_NGRAM_SIZE}], not {self.max_ngram_size}",
        )
        _require(
            self.max_ngram_size == 1 or self.whole_word_masking,
            f"max_ngram_size is {self.max_ngram_size}, but n-grams are of whole words: set whole_word_masking to true",
        )
        _require(0 <= self.seed < 2**64, f"seed must be in [0, 2**64), not {self.seed}")


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """An article as piece ids."""

    id: int
    """Unique in the corpus, 0 to 2**64 - 1: all randomness of the document depends on it."""
    sentences: list[npt.NDArray[typing.Any]]
    """Integer arrays, in reading order. Empty ones are passed over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Instances:
    """Training examples, a row each. The fields are the features that the Model Garden's data loader reads."""

    input_ids: Int32s
    """Pieces, some masked, then zeros. Shape [instances, max_seq_length]."""
    input_mask: Int32s
    """1 where there is a piece, 0 where there is padding. Shape [instances, max_seq_length]."""
    segment_ids: Int32s
    """1 for B and its [SEP], else 0. Shape [instances, max_seq_length]."""
    masked_lm_positions: Int32s
    """Columns to predict, ascending, then zeros. Shape [instances, max_predictions_per_seq]."""
    masked_lm_ids: Int32s
    """The pieces that were there, then zeros. Shape [instances, max_predictions_per_seq]."""
    masked_lm_weights: npt.NDArray[np.float32]
    """1.0 for each position to predict, then zeros. Shape [instances, max_predictions_per_seq]."""
    next_sentence_labels: Int32s
    """1 where B is random. Shape [instances, 1]."""

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    @classmethod
    def zeros(cls, count: int, max_seq_length: int, max_predictions_per_seq: int) -> typing.Self:
        """So many rows of nothing but zeros."""
        return cls(
            input_ids=np.zeros((count, max_seq_length), np.int32),
            input_mask=np.zeros((count, max_seq_length), np.int32),
            segment_ids=np.zeros((count, max_seq_length), np.int32),
            masked_lm_positions=np.zeros((count, max_predictions_per_seq), np.int32),
            masked_lm_ids=np.zeros((count, max_predictions_per_seq), np.int32),
            masked_lm_weights=np.zeros((count, max_predictions_per_seq), np.float32),
            next_sentence_labels=np.zeros((count, 1), np.int32),
        )

    def rows(self, start: int, stop: int) -> typing.Self:
        """Some of the rows, as views."""
        return type(self)(*(getattr(self, field.name)[start:stop] for field in dataclasses.fields(self)))


def make(
    documents: Sequence[Document], options: InstanceOptions, vocabulary: wordpiece.Vocabulary, *, bucket: int = 0
) -> Instances:
    """All instances of a bucket, shuffled by (seed, bucket).

    The order of ``documents`` doesn't matter. A bucket with a single document takes its random next sentences from
    that document, as the Model Garden does. Documents without a piece are passed over.

    Raises:
        UserError: two documents have one id, or a piece isn't of this vocabulary or special.
    """
    text = _Text.of(documents, vocabulary)
    random = _Random(options.seed)
    if options.next_sentence:
        plan = _plan_pairs(text, options, random)
    else:
        text, plan = _plan_full_sentences(text, options, random, vocabulary)
    count = plan.count
    made = Instances.zeros(count, options.max_seq_length, options.max_predictions_per_seq)
    # Row i of the plan goes to row destination[i]; written there at once, the shuffle costs no second copy.
    random.place(_ORDER, 0, bucket)
    destination = np.argsort(np.argsort(random.words(count), kind="stable"), kind="stable")  # [instances]
    draws_of = _draws(plan, options, random)
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        _fill(made, destination[rows], text, plan, rows, next(draws_of), options, vocabulary)
    return made


class _Random:
    """The generator, placed by (stream, duplicate, document)."""

    def __init__(self, seed: int) -> None:
        self._key = np.array([seed, _PHILOX_KEY], dtype=np.uint64)
        self._philox = np.random.Philox(key=self._key)
        self._counter = np.zeros(4, dtype=np.uint64)
        self._state: typing.Any = {
            "bit_generator": "Philox",
            "state": {"counter": self._counter, "key": self._key},
            # Philox makes four words at a time; position 4 = none left over.
            "buffer": np.zeros(4, dtype=np.uint64),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }

    def place(self, stream: int, duplicate: int, document: int) -> None:
        """To the beginning of the numbers for this."""
        self._counter[:] = (0, stream, duplicate, document)
        self._philox.state = self._state

    def words(self, count: int) -> UInt64s:
        """The next random 64-bit words. Shape [count]."""
        words: UInt64s = self._philox.random_raw(count)
        return words


@dataclasses.dataclass(frozen=True, slots=True)
class _Text:
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
    def of(cls, documents: Sequence[Document], vocabulary: wordpiece.Vocabulary) -> "_Text":
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
class _Plan:
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
        return len(self.a_begin)


def _plan_pairs(text: _Text, options: InstanceOptions, random: _Random) -> _Plan:
    """Cuts all documents into pairs of segments."""
    rows: list[tuple[int, int, int, int, bool]] = []
    sources: list[tuple[int, int, int]] = []
    for duplicate in range(options.dupe_factor):
        for index, document_id in enumerate(text.ids):
            random.place(_PAIRS, duplicate, document_id)
            before = len(rows)
            rows.extend(_pairs_of_document(text, index, options, _uniform(random)))
            sources.append((duplicate, document_id, len(rows) - before))
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 5)  # [instances, 5]
    return _Plan(
        a_begin=table[:, 0],
        a_end=table[:, 1],
        b_begin=table[:, 2],
        b_end=table[:, 3],
        is_random=table[:, 4] != 0,
        sources=sources,
        has_b=True,
    )


def _pairs_of_document(
    text: _Text, index: int, options: InstanceOptions, words: Iterator[int]
) -> Iterator[tuple[int, int, int, int, bool]]:
    """(begin of A, end of A, begin of B, end of B, whether B is random) of a document's instances."""
    offsets = text.sentence_offsets
    first, last = text.document_offsets[index], text.document_offsets[index + 1]
    others = len(text.ids) - 1
    longest = options.max_seq_length - 3  # [CLS], [SEP] and [SEP]
    target = longest
    if next(words) < options.short_seq_prob * 2**64:
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


def _uniform(random: _Random) -> Iterator[int]:
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


def _plan_full_sentences(
    text: _Text, options: InstanceOptions, random: _Random, vocabulary: wordpiece.Vocabulary
) -> tuple[_Text, _Plan]:
    """Packs the documents of each duplicate, in random order, into instances of whole sentences.

    The new text is what a reader of all duplicates would see: documents in that order, a [SEP] after each. An instance
    is a slice of it; a sentence longer than an instance is cut.
    """
    longest = options.max_seq_length - 2  # [CLS] and [SEP]
    sep = np.array([vocabulary.sep_id], np.int32)
    parts: list[Int32s] = []
    begins: list[int] = []  # of each sentence in the new text
    ends: list[int] = []  # the same, without the [SEP] after the last sentence of a document
    owners: list[int] = []
    at = 0
    rows: list[tuple[int, int]] = []
    sources: list[tuple[int, int, int]] = []
    for duplicate in range(options.dupe_factor):
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
    plan = _Plan(
        a_begin=table[:, 0],
        a_end=end,
        b_begin=end,
        b_end=end,
        is_random=np.zeros(len(rows), np.bool_),
        sources=sources,
        has_b=False,
    )
    return dataclasses.replace(text, pieces=np.concatenate(parts) if parts else text.pieces), plan


def _shuffled_documents(text: _Text, duplicate: int, random: _Random) -> list[int]:
    keys: list[tuple[int, int]] = []
    for index, document_id in enumerate(text.ids):
        random.place(_PACKING, duplicate, document_id)
        keys.append((int(random.words(1)[0]), index))
    return [index for _, index in sorted(keys)]


def _draws(plan: _Plan, options: InstanceOptions, random: _Random) -> Iterator[UInt64s]:
    """Each instance's random words for masking, for `_ROWS` instances at a time. Shape [rows, words]."""
    width = masks.draws_width(options.max_seq_length, options.max_predictions_per_seq, options.max_ngram_size)
    parts: list[UInt64s] = []
    held = 0
    for duplicate, document_id, count in plan.sources:
        random.place(_MASKS, duplicate, document_id)
        parts.append(random.words(count * width))
        held += count
        if held >= _ROWS:
            words = np.concatenate(parts).reshape(held, width)  # [held, words]
            while held >= _ROWS:
                yield words[:_ROWS]
                words = words[_ROWS:]
                held -= _ROWS
            parts = [words.reshape(-1)]
    if held:
        yield np.concatenate(parts).reshape(held, width)


def _fill(
    made: Instances,
    destination: Int64s,
    text: _Text,
    plan: _Plan,
    rows: slice,
    draws: UInt64s,
    options: InstanceOptions,
    vocabulary: wordpiece.Vocabulary,
) -> None:
    """Makes the plan's ``rows`` and writes them to rows ``destination``."""
    width = options.max_seq_length
    a_begin, b_begin = plan.a_begin[rows, None], plan.b_begin[rows, None]  # [rows, 1]
    a_length, b_length = plan.a_end[rows, None] - a_begin, plan.b_end[rows, None] - b_begin  # [rows, 1]
    column = np.arange(width)  # [width]
    # [CLS] is column 0, A begins in column 1, its [SEP] is in column a_length + 1, B begins in a_length + 2.
    first_sep = a_length + 1
    last_sep = first_sep + b_length + 1 if plan.has_b else first_sep
    is_piece = (column <= last_sep) & (column != 0) & (column != first_sep) & (column != last_sep)  # [rows, width]
    in_b = column > first_sep  # [rows, width]
    source = np.where(in_b, b_begin - first_sep - 1, a_begin - 1) + column  # [rows, width]
    ids = text.pieces[np.where(is_piece, source, 0)]  # [rows, width]
    if not plan.has_b:
        is_piece &= ids != vocabulary.sep_id  # between documents
    ids *= column < last_sep
    ids[:, 0] = vocabulary.cls_id
    np.put_along_axis(ids, first_sep, vocabulary.sep_id, axis=1)
    np.put_along_axis(ids, last_sep, vocabulary.sep_id, axis=1)
    used = column <= last_sep  # [rows, width]

    # As many as asked for, of all columns used, special ones too. np.rint rounds halves to even, as Python does.
    wanted = np.rint((last_sep[:, 0] + 1) * options.masked_lm_prob).astype(np.int64)  # [rows]
    wanted = np.clip(wanted, 1, options.max_predictions_per_seq)
    most = options.max_predictions_per_seq
    if options.whole_word_masking:
        words = masks.find_words(is_piece, vocabulary.starts_word[ids])
        positions, is_first = masks.choose_words(words, wanted, most, draws, options.max_ngram_size)
    else:
        positions, is_first = masks.choose_pieces(is_piece, wanted, most, draws)
    chosen = positions > 0  # [rows, predictions]
    labels = np.take_along_axis(ids, positions, axis=1) * chosen  # [rows, predictions]
    replaced = masks.replace(labels, is_first, draws, vocabulary)
    # Beyond the chosen ones, column 0 is "replaced" by what is in it.
    np.put_along_axis(ids, positions, np.where(chosen, replaced, vocabulary.cls_id), axis=1)

    made.input_ids[destination] = ids
    made.input_mask[destination] = used
    made.segment_ids[destination] = used & in_b
    made.masked_lm_positions[destination] = positions
    made.masked_lm_ids[destination] = labels
    made.masked_lm_weights[destination] = chosen
    made.next_sentence_labels[destination, 0] = plan.is_random[rows]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise errors.UserError(message)
