"""Shuffles that depend only on numbers, with the same result in every version of numpy.

numpy guarantees the words of its bit generators for all versions, but not functions such as `Generator.permutation`. So
an order is a stable sort by Philox's raw words; their key is a digest of the order's purpose and numbers.
"""

import hashlib

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


def shuffled(size: int, purpose: str, *numbers: int) -> Places:
    """A permutation of range(size) that depends only on the arguments. Shape [size].

    Args:
        size: Number of things.
        purpose: Name of the order's purpose; different purposes give independent orders.
        numbers: Seed, epoch and so on, any whole numbers.
    """
    digest = hashlib.sha256(" ".join([purpose, *map(str, numbers)]).encode()).digest()
    draws = np.random.Philox(key=np.frombuffer(digest[:16], "<u8")).random_raw(size)  # [size], uint64
    return np.argsort(draws, kind="stable")
