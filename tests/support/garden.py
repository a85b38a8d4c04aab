"""The Model Garden's BERT with our weights: what ours is compared with."""

import numpy as np
import tensorflow as tf
import tf_keras
from official.nlp.modeling import layers, models
from official.nlp.optimization import AdamWeightDecay

from bertline.models import encoders


class Garden:
    """Encoder, MLM and NSP heads, by the Model Garden's own classes; dropout is what the model says."""

    def __init__(self, model, pieces, weights=None):
        self.encoder = encoders.build(model, pieces)
        self._pretrainer = models.BertPretrainerV2(
            self.encoder, mlm_activation=lambda value: tf_keras.activations.gelu(value, approximate=True)
        )
        self._classify = layers.ClassificationHead(inner_dim=0, num_classes=2, name="next_sentence")
        nothing = tf.zeros([1, 2], tf.int32)
        self._heads(self._encode(nothing, nothing, nothing, training=False), nothing)
        found = [*self.encoder.trainable_variables, *self._pretrainer.masked_lm.trainable_variables]
        found += self._classify.trainable_variables
        self.weights = encoders.named({id(variable): variable for variable in found}.values())
        if weights is not None:
            encoders.assign(self.weights, encoders.arrays(weights), "ours")

    def _encode(self, ids, mask, types, training):
        inputs = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}
        return self.encoder(inputs, training=training)

    def _heads(self, encoded, positions, training=False):
        masked = self._pretrainer.masked_lm(encoded["sequence_output"], positions)
        return masked, self._classify(encoded["pooled_output"], training=training)

    def states(self, batch):
        """[batch, length, hidden], and pooled [batch, hidden]."""
        encoded = self._encode(batch["input_ids"], batch["input_mask"], batch["segment_ids"], training=False)
        return encoded["sequence_output"], encoded["pooled_output"]

    def loss(self, batch, training):
        """MLM + NSP, as pre-training takes them."""
        encoded = self._encode(batch["input_ids"], batch["input_mask"], batch["segment_ids"], training=training)
        masked, orders = self._heads(encoded, batch["masked_lm_positions"], training)
        weights = batch["masked_lm_weights"]
        mlm = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["masked_lm_ids"], masked)
        nsp = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["next_sentence_labels"][:, 0], orders)
        return tf.reduce_sum(mlm * weights) / tf.reduce_sum(weights) + tf.reduce_mean(nsp)

    def optimizer(self, rate):
        """Its AdamW, with BERT's settings."""
        return AdamWeightDecay(
            learning_rate=rate,
            beta_1=0.9,
            beta_2=0.999,
            epsilon=1e-6,
            weight_decay_rate=0.01,
            exclude_from_weight_decay=[r"/(bias|gamma|beta):0$"],
            gradient_clip_norm=1.0,
        )


def batch(size, length, pieces, predictions, seed=1):
    """Random examples; half of them have padding at their end, and one prediction in three counts nothing."""
    draw = np.random.default_rng(seed)
    mask = np.ones((size, length), np.int32)
    mask[::2, length - length // 4 :] = 0
    segments = np.zeros((size, length), np.int32)
    segments[:, length // 2 :] = 1
    weights = np.ones((size, predictions), np.float32)
    weights[:, ::3] = 0
    return {
        "input_ids": draw.integers(5, pieces, (size, length), np.int32),
        "input_mask": mask,
        "segment_ids": segments,
        "masked_lm_positions": draw.integers(1, length // 2, (size, predictions), np.int32),
        "masked_lm_ids": draw.integers(5, pieces, (size, predictions), np.int32),
        "masked_lm_weights": weights,
        "next_sentence_labels": draw.integers(0, 2, (size, 1), np.int32),
    }
