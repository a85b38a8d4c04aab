"""Pairs as token ids, and batches of pairs of similar length.

MNLI's pairs have 38 pieces on average and 290 at most. A batch is as long as its longest pair, so batches have pairs
of similar length, sorted within a window of shuffled examples. All randomness depends on (seed, epoch), see `shuffles`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bertline.evaluate.glue import Example
from bertline.examples.shuffles import Places, shuffled
from bertline.text.wordpiece import Tokenizer

Ints = npt.NDArray[np.int32]

WINDOW = 50
"""Batches that are sorted by length together: enough that lengths are nearly equal (MNLI: 3 % padding)."""

ROUND_UP = 8
"""Batches are padded to a multiple of this: this gives few shapes, and suits a GPU's matrix units. On MNLI padding
grows from 3 % to 11 %."""

CHUNK = 10_000
"""Pairs that are tokenized at a time: token lists of Python integers are ten times the arrays they end in."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs as [CLS] premise [SEP] hypothesis [SEP], one after the other."""

    tokens: Ints
    """Shape [tokens of all pairs]."""
    starts: Places
    """Where each pair begins, and the end of the last one. Shape [pairs + 1]."""
    firsts: Ints
    """Tokens of each pair that are of type 0: [CLS], the premise and its [SEP]. Shape [pairs]."""
    labels: Ints
    """Shape [pairs]."""
    pad_id: int

    @property
    def lengths(self) -> Places:
        """Tokens of each pair. Shape [pairs]."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Batch:
    """The encoder's inputs, each [batch, length] int32, and the labels, [batch] int32."""

    word_ids: Ints
    mask: Ints
    type_ids: Ints
    labels: Ints


def encode(examples: Sequence[Example], tokenizer: Tokenizer, sequence_length: int) -> Pairs:
    """Tokenize; pairs of more than `sequence_length` tokens are cut, the longer side first."""
    vocabulary = tokenizer.vocabulary
    cls, sep = np.array([vocabulary.cls_id], np.int32), np.array([vocabulary.sep_id], np.int32)
    tokens: list[npt.NDArray[np.int32]] = []
    lengths, firsts = [0], []
    for begin in range(0, len(examples), CHUNK):
        chunk = examples[begin : begin + CHUNK]
        premises = tokenizer.encode_batch([example.premise for example in chunk])
        hypotheses = tokenizer.encode_batch([example.hypothesis for example in chunk])
        for premise, hypothesis in zip(premises, hypotheses, strict=True):
            first, second = _kept(len(premise), len(hypothesis), sequence_length - 3)
            tokens += (cls, premise[:first], sep, hypothesis[:second], sep)
            lengths.append(first + second + 3)
            firsts.append(first + 2)
    return Pairs(
        tokens=np.concatenate([np.zeros(0, np.int32), *tokens]),  # [tokens of all pairs]
        starts=np.cumsum(lengths),  # [pairs + 1]
        firsts=np.array(firsts, np.int32),  # [pairs]
        labels=np.array([example.label for example in examples], np.int32),  # [pairs]
        pad_id=vocabulary.pad_id,
    )


def _kept(first: int, second: int, room: int) -> tuple[int, int]:
    """Tokens to keep of both sides: the longer side (if equal, the second) loses tokens until both fit."""
    kept = min(first, max(room - second, (room + 1) // 2))
    return kept, min(second, room - kept)


def choice(size: int, at_most: int | None, seed: int) -> Places:
    """Places of `at_most` random examples, in the file's order; None means all. Shape [min(size, at_most)]."""
    return np.sort(shuffled(size, "choice", seed, 0)[:at_most])


def epoch(lengths: Places, batch_size: int, seed: int, number: int) -> list[Places]:
    """The batches of one epoch, as places of examples. Each example is in one batch; one batch may be smaller."""
    order = shuffled(len(lengths), "examples", seed, number)  # [examples]
    batches: list[Places] = []
    for begin in range(0, len(order), WINDOW * batch_size):
        window = order[begin : begin + WINDOW * batch_size]
        batches += _cut(window[np.argsort(lengths[window], kind="stable")], batch_size)
    return [batches[place] for place in shuffled(len(batches), "batches", seed, number)]


def by_length(lengths: Places, batch_size: int) -> list[Places]:
    """Batches of all examples from the longest to the shortest, so that too little memory is found at once."""
    return _cut(np.argsort(-lengths, kind="stable"), batch_size)


def _cut(places: Places, batch_size: int) -> list[Places]:
    return [places[begin : begin + batch_size] for begin in range(0, len(places), batch_size)]


def assemble(pairs: Pairs, places: Places, sequence_length: int) -> Batch:
    """A batch as long as its longest pair, rounded up to a multiple of `ROUND_UP` but never above `sequence_length`."""
    lengths = pairs.lengths[places]  # [batch]
    length = min(-(-int(lengths.max()) // ROUND_UP) * ROUND_UP, sequence_length)
    positions = np.arange(length)  # [length]
    mask = positions < lengths[:, None]  # [batch, length]
    word_ids = np.full(mask.shape, pairs.pad_id, np.int32)  # [batch, length]
    word_ids[mask] = np.concatenate([pairs.tokens[pairs.starts[place] : pairs.starts[place + 1]] for place in places])
    type_ids = mask & (positions >= pairs.firsts[places][:, None])  # [batch, length]
    return Batch(word_ids, mask.astype(np.int32), type_ids.astype(np.int32), pairs.labels[places])
