"""Random numbers of the corpus.

What is drawn for an instance is a function of (seed, document id, duplicate, number of the instance within them): not
of the bucket's other documents, of the order they came in, or of the number of workers. It comes from a Philox
generator, placed before each use: its 128-bit key is (seed, a constant), its 256-bit counter starts at (0, stream,
duplicate, document id) and goes up in the first word as numbers are drawn. Only raw 64-bit words are taken, whose
sequence numpy guarantees; the rest is integer arithmetic, the same on every processor.
"""

import enum
import typing

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]

_PHILOX_KEY = 0x6265_7274_6C69_6E65
"""The second half of the generator's key: "bertline"."""


class Stream(enum.IntEnum):
    """The purpose of random numbers."""

    PAIRS = 0
    MASKS = 1
    ORDER = 2
    PACKING = 3


class Random:
    """The generator, positioned by (stream, duplicate, document)."""

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

    def place(self, stream: Stream, duplicate: int, document: int, word: int = 0) -> None:
        """Go to the numbers of a stream, duplicate and document, from `word` on."""
        self._counter[:] = (word // 4, stream, duplicate, document)
        self._philox.state = self._state
        if word % 4:
            self._philox.random_raw(word % 4, output=False)

    def words(self, count: int) -> UInt64s:
        """The next random 64-bit words. Shape [count]."""
        words: UInt64s = self._philox.random_raw(count)
        return words
