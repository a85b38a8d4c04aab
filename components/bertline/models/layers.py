"""BERT's layers as functions of tensors, equal to those of the Model Garden.

Sources: official/nlp/modeling/layers/transformer_encoder_block.py, layers/masked_lm.py and networks/bert_encoder.py of
tf-models-official 2.20; MultiHeadAttention of tf_keras; Vaswani et al. 2017; Devlin et al. 2018.

Activations are flat, [rows, width] with rows = batch · length, so that a product over them is one product of two
matrices. Products have inputs and outputs of the given type and sum in float32; sums, LayerNorm, softmax, losses and
the residual are float32. `rows` and `columns` after an activation are `Dropout.noise` for it.
"""

import math
from typing import Any

import tensorflow as tf

from bertline.models import dropouts
from bertline.models.clusters import fused, jitted

EPSILON = 1e-12  # of LayerNorm, as in BERT
ABSENT = -1e9  # added to the score of a padded position, as in Keras


def product(values: Any, kernel: Any, compute: Any) -> Any:
    """[rows, in] · [in, out] → [rows, out] of type `compute`."""
    return tf.matmul(tf.cast(values, compute), tf.cast(kernel, compute))


@fused
def embed(
    words: Any, ids: Any, positions: Any, types: Any, gamma: Any, beta: Any, rows: Any, columns: Any, *, dropout: float
) -> Any:
    """The sum of three embeddings, LayerNorm, dropout (Devlin et al., section 3).

    Shapes: words [rows, hidden], ids of the types [batch, length], positions [length, hidden], types [2, hidden],
    gamma and beta [hidden] → [rows, hidden].
    """
    chosen = tf.where(ids[..., tf.newaxis] == 1, types[1], types[0])  # [batch, length, hidden]
    summed = words + tf.reshape(positions + chosen, tf.shape(words))
    return dropouts.drop(_normal(summed, gamma, beta), rows, columns, dropout)


@fused
def split_heads(values: Any, bias: Any, like: Any, *, heads: int, parts: int) -> list[Any]:
    """Add the bias, and transpose each of `parts` projections for attention's products.

    Shapes: values [rows, parts · hidden], bias [parts · hidden], like [batch, length] (for its shape alone) →
    `parts` times [batch, heads, length, hidden / heads].
    """
    batch, length = tf.unstack(tf.shape(like))
    summed = tf.cast(values, tf.float32) + bias
    apart = tf.reshape(summed, [batch, length, parts, heads, bias.shape[0] // (parts * heads)])
    turned = tf.transpose(apart, [2, 0, 3, 1, 4])
    return [tf.cast(each, values.dtype) for each in tf.unstack(turned, parts)]


@fused
def attend(scores: Any, mask: Any, rows: Any, columns: Any, *, scale: float, dropout: float) -> Any:
    """Softmax over the positions that aren't padding, dropout (Vaswani et al., 3.2.1).

    Shapes: scores [batch, heads, queries, length], mask [batch, length] (0 is padding) → as scores.
    """
    absent = ABSENT * (1 - tf.cast(mask, tf.float32))[:, tf.newaxis, tf.newaxis, :]
    shares = tf.nn.softmax(scale * tf.cast(scores, tf.float32) + absent)
    return tf.cast(dropouts.drop(shares, rows, columns, dropout), scores.dtype)


@fused
def add_and_norm(
    residual: Any, values: Any, bias: Any, gamma: Any, beta: Any, rows: Any, columns: Any, *, dropout: float
) -> Any:
    """LayerNorm(residual + dropout(values + bias)) (Vaswani et al., 5.4).

    Shapes: residual and values [rows, hidden]; bias, gamma, beta [hidden] → [rows, hidden] float32.
    """
    branch = dropouts.drop(tf.cast(values, tf.float32) + bias, rows, columns, dropout)
    return _normal(residual + branch, gamma, beta)


@fused
def activate(values: Any, bias: Any) -> Any:
    """GELU(values + bias). Shapes: values [rows, width], bias [width] → as values."""
    return tf.cast(_gelu(tf.cast(values, tf.float32) + bias), values.dtype)


@fused
def activate_and_norm(values: Any, bias: Any, gamma: Any, beta: Any) -> Any:
    """LayerNorm(GELU(values + bias)): the MLM head's transform. [rows, hidden] → [rows, hidden] float32."""
    return _normal(_gelu(tf.cast(values, tf.float32) + bias), gamma, beta)


def predict(logits: Any, bias: Any, ids: Any, weights: Any, *, compiled: bool) -> tuple[Any, Any]:
    """Cross-entropy in nats, and the number of right predictions, each a sum weighted by `weights`.

    If several logits are the largest, each counts as predicted. Shapes: logits [rows, pieces], bias [pieces], ids and
    weights [rows] → two scalars. The gradient computes the softmax from the logarithms of the sums, so the
    model's largest activation isn't summed again.
    """

    def operation(logits: Any, bias: Any) -> Any:
        surprise, right, logarithms = (_score_compiled if compiled else _score)(logits, bias, ids, weights)

        def gradient(upstream: Any, _: Any) -> Any:
            back = _score_back_compiled if compiled else _score_back
            return back(logits, bias, ids, weights, logarithms, upstream)

        return (surprise, right), gradient

    return tf.custom_gradient(operation)(logits, tf.convert_to_tensor(bias))  # type: ignore[no-any-return]


def _score(logits: Any, bias: Any, ids: Any, weights: Any) -> tuple[Any, Any, Any]:
    """The two sums of `predict`, and log Σ exp of each row [rows]."""
    logits = tf.cast(logits, tf.float32) + bias
    largest = tf.reduce_max(logits, 1)
    picked = tf.reduce_sum(tf.where(_wanted(logits, ids), logits, 0.0), 1)  # [rows]
    logarithms = largest + tf.math.log(tf.reduce_sum(tf.exp(logits - largest[:, tf.newaxis]), 1))
    right = tf.cast(picked >= largest, tf.float32)
    return tf.reduce_sum((logarithms - picked) * weights), tf.reduce_sum(right * weights), logarithms


def _score_back(logits: Any, bias: Any, ids: Any, weights: Any, logarithms: Any, upstream: Any) -> tuple[Any, Any]:
    """(softmax - one) · weight, of the logits and summed for the bias."""
    shares = tf.exp(tf.cast(logits, tf.float32) + bias - logarithms[:, tf.newaxis])
    gradient = (shares - tf.cast(_wanted(logits, ids), tf.float32)) * (upstream * weights)[:, tf.newaxis]
    return tf.cast(gradient, logits.dtype), tf.reduce_sum(gradient, 0)


def _wanted(logits: Any, ids: Any) -> Any:
    """[rows, pieces]: true at each row's id."""
    return tf.range(tf.shape(logits)[1])[tf.newaxis] == ids[:, tf.newaxis]


_score_compiled, _score_back_compiled = jitted(_score), jitted(_score_back)


def _normal(values: Any, gamma: Any, beta: Any) -> Any:
    """LayerNorm over the last axis (Ba et al. 2016)."""
    centred = values - tf.reduce_mean(values, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    return centred * tf.math.rsqrt(variance + EPSILON) * gamma + beta


def _gelu(values: Any) -> Any:
    """The approximation by tanh, as in the Model Garden (Hendrycks and Gimpel 2016, section 2)."""
    inner = math.sqrt(2 / math.pi) * values * (1 + 0.044715 * tf.square(values))
    return 0.5 * values * (1 + tf.tanh(inner))
