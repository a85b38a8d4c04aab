"""Which pieces of an instance are masked, and what stands in their place.

All functions work on many instances at once, a row each, and take their random words as an array, so that each row's
outcome depends on its own words only. A *gram* is what is masked or left as a whole: a piece, a word, or up to n
neighbouring words. The words of a row are used as follows::

    for each size of n-gram: 32 bits a column      the order of the n-grams of this size
    the same again, if there are several sizes     which size is drawn next
    64 bits a prediction                           what happens to it (upper half), a random piece (lower half)
"""

import dataclasses
import itertools
import math

import numpy as np
import numpy.typing as npt

from bertline.text import wordpiece

_MASKED = int(0.8 * 2**32)
_MASKED_OR_KEPT = int(0.9 * 2**32)
"""Thresholds on 32 random bits: 80 % of the grams chosen become [MASK], 10 % stay, 10 % become random pieces."""

MAX_NGRAM_SIZE = 16

_NGRAM_WEIGHTS = math.lcm(*range(1, MAX_NGRAM_SIZE + 1))
"""720,720: divided by 1 to 16, the weights of n-gram sizes as whole numbers."""

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


def draws_width(columns: int, predictions: int, max_ngram_size: int) -> int:
    """Random 64-bit words a row. By default (128 columns, 20 predictions, single pieces) 128 / 2 + 20 = 84."""
    orders = _order_words(columns) * max_ngram_size
    return orders * (2 if max_ngram_size > 1 else 1) + predictions


def choose_pieces(is_piece: Bools, wanted: Int64s, most: int, draws: UInt64s) -> tuple[Int64s, Bools]:
    """A random sample of each row's pieces.

    Shapes: ``is_piece`` [rows, columns], not special; ``wanted`` [rows], at most ``most``; ``draws`` [rows, words].

    Returns:
        The columns chosen, ascending, then zeros, and whether each begins a gram: all do. Both [rows, most].
    """
    columns = is_piece.shape[1]
    keys = _keys(draws[:, : _order_words(columns)], is_piece)  # [rows, columns]
    # The columns with the smallest keys, by ascending key: a random sample, in random order.
    smallest = np.sort(np.partition(keys, most - 1, axis=1)[:, :most], axis=1)  # [rows, most]
    chosen = np.arange(most) < np.minimum(wanted, is_piece.sum(axis=1))[:, None]  # [rows, most]
    positions = _ascending(np.where(chosen, _columns_of(smallest, columns), columns), columns)
    return positions, np.ones(positions.shape, np.bool_)


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """The words of each row, numbered from 0."""

    is_piece: Bools
    """Shape [rows, columns]."""
    of_piece: Int64s
    """The number of the word that a piece belongs to. Shape [rows, columns]."""
    begin: Int64s
    end: Int64s
    """Columns from ``begin`` to before ``end``; 0 where there is no such word. Shapes [rows, columns]."""
    count: Int64s
    """Shape [rows]."""


def find_words(is_piece: Bools, starts_word: Bools) -> Words:
    """Finds the words. Both shapes [rows, columns]; the second says which pieces don't begin with ##."""
    # A word begins where its first piece is, and after [CLS] and [SEP]: truncation may have cut its beginning off.
    begins = is_piece.copy()  # [rows, columns]
    begins[:, 1:] &= starts_word[:, 1:] | ~is_piece[:, :-1]
    ends = is_piece.copy()  # [rows, columns], the last piece of a word
    ends[:, :-1] &= begins[:, 1:] | ~is_piece[:, 1:]
    count = begins.sum(axis=1)  # [rows]
    is_word = np.arange(is_piece.shape[1]) < count[:, None]  # [rows, columns]
    begin, end = np.zeros(is_piece.shape, np.int64), np.zeros(is_piece.shape, np.int64)  # [rows, columns]
    begin[is_word] = np.nonzero(begins)[1]
    end[is_word] = np.nonzero(ends)[1] + 1
    return Words(is_piece, np.maximum(np.cumsum(begins, axis=1) - 1, 0), begin, end, count)


def choose_words(words: Words, wanted: Int64s, most: int, draws: UInt64s, max_ngram_size: int) -> tuple[Int64s, Bools]:
    """Like :func:`choose_pieces`, but whole words, or n-grams of up to ``max_ngram_size`` words.

    For each size n, the n-grams are put in random order. Again and again a size is drawn, with weight 1/n, and its next
    n-gram is masked, if it isn't longer than what is left to mask and none of it is masked yet. All rows do their i-th
    step together.
    """
    rows_count, columns = words.is_piece.shape
    sizes = np.arange(1, max_ngram_size + 1)  # [sizes]
    orders, left = _ngram_orders(words, draws, max_ngram_size)  # [rows, sizes, columns], [rows, sizes]
    nexts = np.zeros_like(left)  # [rows, sizes]
    # A gram at a row's end looks at words beyond it, which are never masked.
    is_masked = np.zeros((rows_count, columns + max_ngram_size), np.bool_)  # [rows, columns + sizes], of words
    begins_gram = np.zeros((rows_count, columns), np.bool_)  # [rows, columns], of columns
    masked = np.zeros(rows_count, np.int64)  # [rows]: pieces so far
    size_draws = _halves(draws[:, max_ngram_size * _order_words(columns) : -most]).astype(np.int64)
    rows = np.arange(rows_count)  # those that still go on
    for step in itertools.count():
        room = wanted[rows] - masked[rows]  # [going]
        # A size that has no n-gram left, or is too long even if each word is one piece, isn't drawn any more.
        is_open = (left[rows] > 0) & (sizes <= room[:, None])  # [going, sizes]
        going = is_open.any(axis=1)
        rows, room, is_open = rows[going], room[going], is_open[going]
        if not len(rows):
            break
        more = np.zeros(len(rows), np.int64)  # [going]: words after the first
        if max_ngram_size > 1:
            bounds = np.cumsum(_NGRAM_WEIGHTS // sizes * is_open, axis=1)  # [going, sizes]
            drawn = size_draws[rows, step] * bounds[:, -1] >> 32  # [going], uniform in [0, sum of the weights)
            more = (drawn[:, None] >= bounds).sum(axis=1)
        first = orders[rows, more, nexts[rows, more]]  # [going], of words
        nexts[rows, more] += 1
        left[rows, more] -= 1
        begin, end = words.begin[rows, first], words.end[rows, first + more]  # [going]
        members = sizes - 1 <= more[:, None]  # [going, sizes], of words from the first on
        overlaps = is_masked[rows[:, None], first[:, None] + sizes - 1] & members  # [going, sizes]
        fits = (end - begin <= room) & ~overlaps.any(axis=1)  # [going]
        in_going, in_gram = np.nonzero(members & fits[:, None])
        is_masked[rows[in_going], first[in_going] + in_gram] = True
        masked[rows] += (end - begin) * fits
        begins_gram[rows[fits], begin[fits]] = True

    is_chosen = np.take_along_axis(is_masked, words.of_piece, axis=1) & words.is_piece  # [rows, columns]
    chosen = np.where(is_chosen, np.arange(columns), columns)  # [rows, columns]
    positions = _ascending(np.partition(chosen, most - 1, axis=1)[:, :most], columns)
    return positions, np.take_along_axis(begins_gram, positions, axis=1)


def replace(labels: Int32s, begins_gram: Bools, draws: UInt64s, vocabulary: wordpiece.Vocabulary) -> Int32s:
    """What stands where a piece is to be predicted. All shapes [rows, most], but ``draws`` [rows, words]."""
    most = labels.shape[1]
    actions = draws[:, -most:]  # [rows, most]
    # What happens to a gram is drawn with its first piece; each piece has its own random replacement.
    first = np.maximum.accumulate(np.where(begins_gram, np.arange(most), 0), axis=1)  # [rows, most]
    action = np.take_along_axis(actions, first, axis=1) >> np.uint64(32)
    choice = actions & np.uint64(2**32 - 1)
    any_piece = (choice * np.uint64(vocabulary.size) >> np.uint64(32)).astype(np.int32)
    kept = np.where(action < _MASKED_OR_KEPT, labels, any_piece)
    replaced: Int32s = np.where(action < _MASKED, np.int32(vocabulary.mask_id), kept)
    return replaced


def _ngram_orders(words: Words, draws: UInt64s, max_ngram_size: int) -> tuple[Int64s, Int64s]:
    """The first words of the n-grams of each size, in random order, and how many there are."""
    count, columns = words.is_piece.shape
    order_words = _order_words(columns)
    orders = np.empty((count, max_ngram_size, columns), np.int64)  # [rows, sizes, columns]
    left = np.empty((count, max_ngram_size), np.int64)  # [rows, sizes]
    pieces_before = np.zeros((count, columns + 1), np.int64)  # [rows, columns + 1]
    np.cumsum(words.is_piece, axis=1, out=pieces_before[:, 1:])
    for more in range(max_ngram_size):  # words after the first
        end = np.zeros_like(words.end)  # [rows, columns]
        end[:, : columns - more] = words.end[:, more:]
        # There are so many words, and no [SEP] among them: as many pieces as columns.
        pieces = np.take_along_axis(pieces_before, end, 1) - np.take_along_axis(pieces_before, words.begin, 1)
        exists = (np.arange(columns) + more < words.count[:, None]) & (pieces == end - words.begin)  # [rows, columns]
        keys = _keys(draws[:, more * order_words : (more + 1) * order_words], exists)
        orders[:, more] = _columns_of(np.sort(keys, axis=1), columns)
        left[:, more] = exists.sum(axis=1)
    return orders, left


def _order_words(columns: int) -> int:
    return (columns + 1) // 2


def _ascending(positions: Int64s, columns: int) -> Int64s:
    """Sorted, with ``columns``, which stands for none, made zeros at the end: column 0 is [CLS], so it is none, too."""
    positions = np.sort(positions, axis=1)
    positions[positions == columns] = 0
    return positions


def _keys(words: UInt64s, exists: Bools) -> UInt32s:
    """A random key for each column that exists, the largest number for the others. Shape [rows, columns].

    The lowest bits are the column: so no two keys of a row are equal, their order doesn't depend on how a processor
    sorts equals, and a key tells its column.
    """
    columns = exists.shape[1]
    bits = np.uint32(_column_bits(columns))
    keys: UInt32s = (_halves(words)[:, :columns] >> bits << bits) | np.arange(columns, dtype=np.uint32)
    keys[~exists] = np.iinfo(np.uint32).max
    return keys


def _columns_of(keys: UInt32s, columns: int) -> Int64s:
    found: Int64s = (keys & np.uint32(2 ** _column_bits(columns) - 1)).astype(np.int64)
    return found


def _column_bits(columns: int) -> int:
    return (columns - 1).bit_length()


def _halves(words: UInt64s) -> UInt32s:
    """Each word as two, the lower half first. Shape [rows, 2 * words]."""
    halves: UInt32s = np.ascontiguousarray(words).astype("<u8", copy=False).view("<u4").astype(np.uint32, copy=False)
    return halves
