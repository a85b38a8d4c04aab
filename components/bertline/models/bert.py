"""BERT: the Model Garden's weights, by the Model Garden's names and shapes, under `layers`.

Sources: networks/bert_encoder.py and models/bert_pretrainer.py of tf-models-official 2.20; Devlin et al. 2018.
`tests/models/test_bert.py` compares outputs and gradients with the Model Garden's own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from bertline.experiment.specs import Model
from bertline.models import layers
from bertline.models.dropouts import Dropout

Shapes = dict[str, tuple[int, ...]]

_TABLE, _POOLER, _TRANSFORM = "word_embeddings/embeddings", "pooler_transform", "cls/predictions/transform"


def encoder_shapes(model: Model, pieces: int) -> Shapes:
    """Shapes of the encoder's weights, with its pooler's."""
    hidden, inner, size = model.hidden, model.intermediate, model.hidden // model.heads
    found: Shapes = {
        _TABLE: (pieces, hidden),
        "position_embedding/embeddings": (model.max_positions, hidden),
        "type_embeddings/embeddings": (2, hidden),
        **_norm("embeddings/layer_norm", hidden),
    }
    for number in range(model.layers):
        layer = f"transformer/layer_{number}"
        for part in ("query", "key", "value"):
            found[f"{layer}/self_attention/{part}/kernel"] = (hidden, model.heads, size)
            found[f"{layer}/self_attention/{part}/bias"] = (model.heads, size)
        found[f"{layer}/self_attention/attention_output/kernel"] = (model.heads, size, hidden)
        found[f"{layer}/self_attention/attention_output/bias"] = (hidden,)
        found |= _norm(f"{layer}/self_attention_layer_norm", hidden)
        found |= _dense(f"{layer}/intermediate", hidden, inner) | _dense(f"{layer}/output", inner, hidden)
        found |= _norm(f"{layer}/output_layer_norm", hidden)
    return found | _dense(_POOLER, hidden, hidden)


def head_shapes(model: Model, pieces: int, *, next_sentence: bool) -> Shapes:
    """Shapes of pre-training's heads; the MLM output's kernel is the embedding table."""
    hidden = model.hidden
    found = {"cls/predictions/output_bias/bias": (pieces,), **_dense(f"{_TRANSFORM}/dense", hidden, hidden)}
    found |= _norm(f"{_TRANSFORM}/LayerNorm", hidden)
    return found | (_dense("next_sentence/logits", hidden, 2) if next_sentence else {})


def _dense(name: str, before: int, after: int) -> Shapes:
    return {f"{name}/kernel": (before, after), f"{name}/bias": (after,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def variables(shapes: Shapes) -> dict[str, tf.Variable]:
    """Zeros, to be initialized or assigned."""
    return {name: tf.Variable(tf.zeros(shape), name=name) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Bert:
    """The functions of one model's weights."""

    model: Model
    weights: Mapping[str, Any]
    """Name → variable or tensor."""
    compute: Any
    """Type of the products: tf.float32, tf.bfloat16 or tf.float16."""
    compiled: bool
    """Whether XLA compiles what is between the products, see `clusters`."""

    def encode(self, ids: Any, mask: Any, types: Any, dropout: Dropout, positions: Any = None) -> Any:
        """Hidden states at all positions, or at some alone: then the last layer computes no others.

        Shapes: ids, mask, types [batch, length]; positions [batch, n] → [batch, length or n, hidden] float32.
        """
        batch, length = tf.unstack(tf.shape(ids))
        x = layers.embed(
            tf.gather(self.weights[_TABLE], tf.reshape(ids, [-1])),
            types,
            self.weights["position_embedding/embeddings"][:length],
            self.weights["type_embeddings/embeddings"],
            *self._norm("embeddings/layer_norm"),
            *dropout.noise(0, batch * length, self.model.hidden),
            dropout=dropout.rate,
            compiled=self.compiled,
        )
        for number in range(self.model.layers):
            last = number == self.model.layers - 1
            x = self._layer(number, x, mask, dropout, positions if last else None)
        return tf.reshape(x, [batch, -1, self.model.hidden])

    def pool(self, first: Any) -> Any:
        """The pooled output of [CLS], for heads over a sequence: [batch, hidden] → [batch, hidden] float32."""
        return tf.tanh(tf.matmul(first, self.weights[f"{_POOLER}/kernel"]) + self.weights[f"{_POOLER}/bias"])

    def order(self, pooled: Any) -> Any:
        """NSP's logits of `pool`'s output: [batch, 2] float32."""
        kernel, bias = self._dense("next_sentence/logits")
        return tf.matmul(pooled, kernel) + bias

    def predict(self, states: Any, ids: Any, weights: Any) -> tuple[Any, Any]:
        """MLM at some positions: `layers.predict`'s two sums.

        Shapes: states [rows, hidden], ids and weights [rows].
        """
        kernel, bias = self._dense(f"{_TRANSFORM}/dense")
        turned = layers.activate_and_norm(
            layers.product(states, kernel, self.compute),
            bias,
            *self._norm(f"{_TRANSFORM}/LayerNorm"),
            compiled=self.compiled,
        )
        table = tf.cast(self.weights[_TABLE], self.compute)
        logits = tf.matmul(tf.cast(turned, self.compute), table, transpose_b=True)  # [rows, pieces]
        bias = self.weights["cls/predictions/output_bias/bias"]
        return layers.predict(logits, bias, ids, weights, compiled=self.compiled)

    def _layer(self, number: int, x: Any, mask: Any, dropout: Dropout, positions: Any) -> Any:
        """One layer, [rows, hidden] → [rows, hidden] (Vaswani et al. 2017, 3.1)."""
        model, name, place = self.model, f"transformer/layer_{number}", 1 + 3 * number
        batch, length = tf.unstack(tf.shape(mask))
        constants: dict[str, Any] = {"dropout": dropout.rate, "compiled": self.compiled}
        if positions is None:
            queries = length
            query, key, value = self._project(name, ("query", "key", "value"), x, mask)
        else:
            queries = tf.shape(positions)[1]
            key, value = self._project(name, ("key", "value"), x, mask)
            x = tf.gather(x, tf.reshape(positions + length * tf.range(batch)[:, tf.newaxis], [-1]))
            (query,) = self._project(name, ("query",), x, positions)
        shares = layers.attend(
            tf.matmul(query, key, transpose_b=True),  # [batch, heads, queries, length]
            mask,
            *dropout.noise(place, batch * model.heads * queries, length),
            scale=1 / math.sqrt(model.hidden // model.heads),
            **constants,
        )
        context = tf.transpose(tf.matmul(shares, value), [0, 2, 1, 3])  # [batch, queries, heads, size]
        kernel, bias = self._dense(f"{name}/self_attention/attention_output")
        kernel = tf.reshape(kernel, [model.hidden, model.hidden])
        x = layers.add_and_norm(
            x,
            layers.product(tf.reshape(context, [-1, model.hidden]), kernel, self.compute),
            bias,
            *self._norm(f"{name}/self_attention_layer_norm"),
            *dropout.noise(place + 1, batch * queries, model.hidden),
            **constants,
        )
        kernel, bias = self._dense(f"{name}/intermediate")
        inner = layers.activate(layers.product(x, kernel, self.compute), bias, compiled=self.compiled)
        kernel, bias = self._dense(f"{name}/output")
        return layers.add_and_norm(
            x,
            layers.product(inner, kernel, self.compute),
            bias,
            *self._norm(f"{name}/output_layer_norm"),
            *dropout.noise(place + 2, batch * queries, model.hidden),
            **constants,
        )

    def _project(self, layer: str, parts: tuple[str, ...], x: Any, like: Any) -> Any:
        """Several projections as one product; each comes out as [batch, heads, length, size]."""
        hidden = self.model.hidden
        weights = [self._dense(f"{layer}/self_attention/{part}") for part in parts]
        kernel = tf.concat([tf.reshape(kernel, [hidden, hidden]) for kernel, _ in weights], 1)
        bias = tf.concat([tf.reshape(bias, [hidden]) for _, bias in weights], 0)
        values = layers.product(x, kernel, self.compute)
        return layers.split_heads(values, bias, like, heads=self.model.heads, parts=len(parts), compiled=self.compiled)

    def _dense(self, name: str) -> tuple[Any, Any]:
        return self.weights[f"{name}/kernel"], self.weights[f"{name}/bias"]

    def _norm(self, name: str) -> tuple[Any, Any]:
        return self.weights[f"{name}/gamma"], self.weights[f"{name}/beta"]
