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

Randomness. What is drawn for an instance depends on the instance alone, see `randomness`. Only which document is "a
random other one" depends on the bucket, as it must.

Speed. Plain Python only decides where segments begin and end (see `segments`). Copying, padding, choosing and replacing
pieces are numpy operations over thousands of instances.

Differences from ``create_pretraining_data.py``, none of which a statistic shows: a random document is never the
instance's own (there it is once in 2**10 times if a bucket has two documents), and n-gram sizes come from the seed,
where there they come from Python's global generator.
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


def make(
    documents: Sequence[Document], options: InstanceOptions, vocabulary: wordpiece.Vocabulary, *, bucket: int = 0
) -> Instances:
    """All instances of a bucket, shuffled by (seed, bucket).

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
        text, plan = segments.full_sentences(
            text,
            random,
            max_seq_length=options.max_seq_length,
            duplicates=options.dupe_factor,
            sep_id=vocabulary.sep_id,
        )
    count = plan.count
    made = Instances.zeros(count, options.max_seq_length, options.max_predictions_per_seq)
    # Row i of the plan goes to row destination[i]; written there at once, the shuffle costs no second copy.
    random.place(randomness.Stream.ORDER, 0, bucket)
    destination = np.argsort(np.argsort(random.words(count), kind="stable"), kind="stable")  # [instances]
    words_of = _mask_words(plan, options, random)
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        _fill(made, destination[rows], text, plan, rows, next(words_of), options, vocabulary)
    return made


def _mask_words(plan: Plan, options: InstanceOptions, random: randomness.Random) -> Iterator[UInt64s]:
    """Each instance's random words for masking, for `_ROWS` instances at a time. Shape [rows, words]."""
    width = masks.draws_width(options.max_seq_length, options.max_predictions_per_seq, options.max_ngram_size)
    parts: list[UInt64s] = []
    held = 0
    for duplicate, document_id, count in plan.sources:
        random.place(randomness.Stream.MASKS, duplicate, document_id)
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
    text: Text,
    plan: Plan,
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
