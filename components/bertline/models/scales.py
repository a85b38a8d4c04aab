"""The loss scale of float16, which has no numbers between 0 and 6e-8 (Micikevicius et al. 2018, section 3.2).

The loss is multiplied before the way back, and the gradient divided after it. The scale halves when the gradient isn't
finite, and doubles when it was finite for long; a step whose gradient isn't finite changes nothing (`adamw`).
"""

from typing import Any

import tensorflow as tf

FIRST, MOST = 2.0**15, 2.0**24
PATIENCE = 2000.0
"""Steps with a finite gradient before the scale doubles."""


class LossScale:
    """A power of 2, and how many steps it has held."""

    def __init__(self) -> None:
        self.scale = tf.Variable(FIRST, trainable=False, name="loss_scale/scale")
        self._held = tf.Variable(0.0, trainable=False, name="loss_scale/held")
        self.variables = {"loss_scale/scale": self.scale, "loss_scale/held": self._held}
        """What a checkpoint has to hold."""

    def adapt(self, norm: Any) -> Any:
        """After a step. Its gradient's norm, or 0 where it wasn't finite but a smaller scale may help."""
        fine = tf.math.is_finite(norm)
        helps = self.scale > 1
        held = tf.where(fine, self._held + 1, 0.0)
        grows = held >= PATIENCE
        scale = tf.where(fine, tf.where(grows, tf.minimum(self.scale * 2, MOST), self.scale), self.scale / 2)
        self.scale.assign(tf.maximum(scale, 1.0))
        self._held.assign(tf.where(grows, 0.0, held))
        return tf.where(fine | ~helps, norm, 0.0)
