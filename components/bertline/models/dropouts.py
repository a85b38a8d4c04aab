"""Dropout as a function of (seed, step, place in the model, element): no generator, no state, no stored mask.

A mask's rows and columns draw a number each, by Philox; an element's number is a hash of their sum. So a mask costs a
few integer operations an element, within the loop that needs it, and comes out the same forwards and backwards, with
and without XLA, on any device.
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

PLACES = 2**15
"""Largest number of places in a model; 1,000 layers have 3,001."""


@dataclass(frozen=True)
class Dropout:
    """The dropout of one step."""

    rate: float
    """Share that is set to 0; 0 drops nothing, as outside of training."""
    seed: int
    """Below 2^47: see `stage.configs.TrainingSeed`."""
    step: Any
    """Scalar int64."""

    def noise(self, place: int, rows: Any, columns: Any) -> tuple[Any, Any]:
        """What `drop` makes a mask of, for a place in the model: [rows] and [columns] uint32."""
        return self._draw(2 * place, rows), self._draw(2 * place + 1, columns)

    def _draw(self, stream: int, count: Any) -> Any:
        if not self.rate:
            return tf.zeros([1], tf.uint32)
        seed = tf.stack([tf.constant(self.seed * 2 * PLACES + stream, tf.int64), tf.cast(self.step, tf.int64)])
        return tf.random.stateless_uniform([count], seed, None, None, tf.uint32, "philox")


def drop(values: Any, rows: Any, columns: Any, rate: float) -> Any:
    """`values` with a share of `rate` set to 0 and the others scaled up, so that the mean stays.

    Shapes: values [..., columns], of which the leading axes are the rows → as values.
    """
    if not rate:
        return values
    leading = tf.concat([tf.shape(values)[:-1], [1]], 0)
    kept = _hashed(tf.reshape(rows, leading) + columns) >= tf.constant(round(rate * 2**32), tf.uint32)
    return tf.where(kept, values * (1 / (1 - rate)), tf.zeros([], values.dtype))


def _hashed(x: Any) -> Any:
    """A permutation of the 32-bit numbers: each bit that changes, changes half the others (`lowbias32`, Wellons)."""
    x = (x ^ _shifted(x, 16)) * tf.constant(0x7FEB352D, tf.uint32)
    x = (x ^ _shifted(x, 15)) * tf.constant(0x846CA68B, tf.uint32)
    return x ^ _shifted(x, 16)


def _shifted(x: Any, bits: int) -> Any:
    return tf.bitwise.right_shift(x, tf.constant(bits, tf.uint32))
