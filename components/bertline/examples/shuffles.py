"""The one shuffle: orders that follow from numbers alone, the same bits with every version of numpy.

numpy promises the words of its bit generators for all versions, and nothing of the kind for what is above them, such as
`Generator.permutation`. So an order is a stable sort by Philox's raw words, whose key is a digest of what the order is
for.
"""

import hashlib

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


def shuffled(size: int, purpose: str, *numbers: int) -> Places:
    """A permutation of range(size) that follows from the arguments alone. Shape [size].

    Args:
        size: How many things there are to order.
        purpose: What the order is for: two purposes have nothing in common.
        numbers: Seed, epoch and so on, any whole numbers.
    """
    digest = hashlib.sha256(" ".join([purpose, *map(str, numbers)]).encode()).digest()
    draws = np.random.Philox(key=np.frombuffer(digest[:16], "<u8")).random_raw(size)  # [size], uint64
    return np.argsort(draws, kind="stable")
