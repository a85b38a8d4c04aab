"""Pre-training instances for masked language model (MLM) and next sentence prediction (NSP), after the Model Garden.

Words:

* A *document* is an article: sentences in reading order, and an id that is unique in the corpus.
* A *sentence* is an array of piece ids without special tokens, at least one.
* A *bucket* is the documents that become one shard. Random next sentences come from the same bucket.
* A *duplicate* is one pass over the documents. Each cuts and masks them differently.
* A *chunk* is a run of a document's sentences that together reach the target length.
* A *segment* is one of an instance's two sides: A, some first sentences of a chunk, and B, either the rest of the chunk
  or sentences from a random other document.
* An *instance* is ``[CLS] A [SEP] B [SEP]`` with some pieces masked: one training example.
* A *gram* is what is masked or left as a whole: a piece, a word (whole-word masking), or up to n neighbouring words.

Randomness. What is drawn for an instance depends on the instance alone, see `randomness`. Only the choice of the
random other document depends on the bucket.

Speed and memory. First we plan where all segments begin and end (see `segments`), in about 30 bytes per instance. Then
numpy operations copy thousands of instances at a time out of the text, in their shuffled order, pad and mask them. So
no duplicate is ever complete in memory, and memory grows only with the plan and the text.

Differences from ``create_pretraining_data.py``, too small for statistics: a random document is never the instance's own
(there this happens once in 2**10 times if a bucket has two documents), and n-gram sizes come from the seed, not from
Python's global generator.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from bertline import errors
from bertline.corpus import masks, randomness, segments
from bertline.corpus.segments import Document, Plan, Text
from bertline.examples.shards import Instances
from bertline.text import wordpiece

_ROWS = 4096
"""Instances worked on at a time. 4,096 rows * 128 columns * 4 bytes = 2 MiB an array: it stays in the cache."""

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """Options of instances. The defaults are the original experiment's, which are BERT's."""

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
    """Seed of all randomness. The default is the original experiment's."""

    def __post_init__(self) -> None:
        """Refuse invalid options.

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


def make(
    documents: Sequence[Document], options: InstanceOptions, vocabulary: wordpiece.Vocabulary, *, bucket: int = 0
) -> Iterator[Instances]:
    """All instances of a bucket, shuffled by (seed, bucket), some thousands at a time.

    The order of ``documents`` doesn't matter. A bucket with a single document takes its random next sentences from
    that document, as the Model Garden does. Documents without a piece are passed over.

    Raises:
        UserError: two documents have one id, or a piece isn't of this vocabulary or special.
    """
    text = Text.of(documents, vocabulary)
    random = randomness.Random(options.seed)
    if options.next_sentence:
        plan = segments.pairs(
            text,
            random,
            max_seq_length=options.max_seq_length,
            short_seq_prob=options.short_seq_prob,
            duplicates=options.dupe_factor,
        )
    else:
        plan = segments.full_sentences(
            text, random, max_seq_length=options.max_seq_length, duplicates=options.dupe_factor
        )
    random.place(randomness.Stream.ORDER, 0, bucket)
    order = np.argsort(random.words(plan.count), kind="stable")  # [instances]
    for start in range(0, plan.count, _ROWS):
        rows = order[start : start + _ROWS]
        yield _made(text, plan, rows, _mask_words(plan, rows, options, random), options, vocabulary)


def _mask_words(plan: Plan, rows: Int64s, options: InstanceOptions, random: randomness.Random) -> UInt64s:
    """Each instance's random words for masking. Shape [rows, words]."""
    width = masks.draws_width(options.max_seq_length, options.max_predictions_per_seq, options.max_ngram_size)
    source = np.searchsorted(plan.source_begins, rows, side="right") - 1  # [rows]
    duplicates, documents = plan.duplicates[source].tolist(), plan.document_ids[source].tolist()
    words = np.empty((len(rows), width), np.uint64)
    numbers = (rows - plan.source_begins[source]).tolist()  # [rows]: within the source
    for row, (duplicate, document, number) in enumerate(zip(duplicates, documents, numbers, strict=True)):
        random.place(randomness.Stream.MASKS, duplicate, document, number * width)
        words[row] = random.words(width)
    return words


def _made(
    text: Text, plan: Plan, rows: Int64s, draws: UInt64s, options: InstanceOptions, vocabulary: wordpiece.Vocabulary
) -> Instances:
    """The plan's ``rows``."""
    width = options.max_seq_length
    a_begin, b_begin = plan.a_begin[rows, None], plan.b_begin[rows, None]  # [rows, 1]
    a_length, b_length = plan.a_end[rows, None] - a_begin, plan.b_end[rows, None] - b_begin  # [rows, 1]
    column = np.arange(width)  # [width]
    # [CLS] is column 0, A begins in column 1, its [SEP] is in column a_length + 1, B begins in a_length + 2.
    first_sep = a_length + 1
    last_sep = first_sep + b_length + 1 if plan.line is None else first_sep
    is_piece = (column <= last_sep) & (column != 0) & (column != first_sep) & (column != last_sep)  # [rows, width]
    in_b = column > first_sep  # [rows, width]
    source = np.where(in_b, b_begin - first_sep - 1, a_begin - 1) + column  # [rows, width]
    source = np.where(is_piece, source, a_begin)  # [rows, width]
    if plan.line is None:
        ids = text.pieces[source]  # [rows, width]
    else:
        ids = plan.line.pieces(text, source, vocabulary.sep_id)  # [rows, width]
        is_piece &= ids != vocabulary.sep_id  # between documents
    ids *= column < last_sep
    ids[:, 0] = vocabulary.cls_id
    np.put_along_axis(ids, first_sep, vocabulary.sep_id, axis=1)
    np.put_along_axis(ids, last_sep, vocabulary.sep_id, axis=1)
    used = column <= last_sep  # [rows, width]

    # The configured share of all used columns, with special ones. np.rint rounds halves to even, like Python.
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

    return Instances(
        input_ids=ids,
        input_mask=used.astype(np.int32),
        segment_ids=(used & in_b).astype(np.int32),
        masked_lm_positions=positions.astype(np.int32),
        masked_lm_ids=labels.astype(np.int32),
        masked_lm_weights=chosen.astype(np.float32),
        next_sentence_labels=plan.is_random[rows, None].astype(np.int32),
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise errors.UserError(message)
