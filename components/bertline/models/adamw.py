"""AdamW as BERT used it, one pass over each weight and its two slots (Loshchilov and Hutter 2017; Kingma and Ba 2014).

Equal to AdamWeightDecay of tf-models-official: the norm of the whole gradient is clipped, weights decay before they
are updated, epsilon is added to the uncorrected root ("epsilon hat" of Kingma and Ba, section 2).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from bertline.experiment.specs import Optimizer
from bertline.models import encoders
from bertline.models.clusters import jitted


class AdamW:
    """The two slots of each variable, and their update."""

    def __init__(self, settings: Optimizer, variables: Mapping[str, tf.Variable], *, compiled: bool) -> None:
        self._settings, self._variables = settings, variables
        self._update = jitted(_update) if compiled else _update
        self._decayed = set(encoders.decayed(variables))
        self.slots = {
            f"{slot}/{name}": tf.Variable(tf.zeros_like(variable), trainable=False, name=f"{slot}/{name}")
            for name, variable in variables.items()
            for slot in ("m", "v")
        }
        """Means of the gradient and of its square, by `m/` and `v/` and the variable's name."""

    def apply(self, gradients: Sequence[Any], rate: Any, step: Any) -> Any:
        """Update all variables, in the order they were given, by the gradients of step `step` (from 0).

        A gradient that isn't finite changes nothing. Returns its norm, a scalar.
        """
        settings = self._settings
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        done = tf.cast(step + 1, tf.float32)
        correction = tf.sqrt(1 - tf.pow(settings.beta_2, done)) / (1 - tf.pow(settings.beta_1, done))
        scale = tf.where(tf.math.is_finite(norm), settings.clip_norm / tf.maximum(norm, settings.clip_norm), math.nan)
        for (name, weight), gradient in zip(self._variables.items(), gradients, strict=True):
            mean, square = self.slots[f"m/{name}"], self.slots[f"v/{name}"]
            values = self._update(
                tf.convert_to_tensor(weight),
                tf.convert_to_tensor(mean),
                tf.convert_to_tensor(square),
                gradient,
                tf.stack([scale, rate * correction, rate * settings.weight_decay * (name in self._decayed)]),
                beta_1=settings.beta_1,
                beta_2=settings.beta_2,
                epsilon=settings.epsilon,
            )
            for variable, value in zip((weight, mean, square), values, strict=True):
                variable.assign(value)
        return norm


def _update(
    weight: Any, mean: Any, square: Any, gradient: Any, factors: Any, *, beta_1: float, beta_2: float, epsilon: float
) -> tuple[Any, Any, Any]:
    """The new weight and slots; the old ones if clipping's factor is no number.

    Shapes: all as the weight; factors [3]: clipping's, the corrected learning rate, decay's.
    """
    clip, rate, decay = tf.unstack(factors)
    clipped = gradient * clip
    new_mean = mean + (clipped - mean) * (1 - beta_1)
    new_square = square + (tf.square(clipped) - square) * (1 - beta_2)
    new_weight = weight * (1 - decay) - rate * new_mean / (tf.sqrt(new_square) + epsilon)
    fine = tf.math.is_finite(clip)
    return (
        tf.where(fine, new_weight, weight),
        tf.where(fine, new_mean, mean),
        tf.where(fine, new_square, square),
    )
