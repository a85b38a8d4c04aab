"""The model in training: encoder, MLM and NSP heads, AdamW, and many steps in one call.

Everything random is a function of (seed, step): initial weights of the seed, dropout of (seed, step, layer). So
weights, optimizer slots and the step are the whole state, and a resumed run is the same run.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.nlp.modeling import layers, models
from official.nlp.optimization import AdamWeightDecay

from bertline.experiment.specs import Model, Optimizer
from bertline.models import encoders, flops
from bertline.models.encoders import Arrays
from bertline.pretrain.inputs import Batch

METRICS = ("loss", "mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy")
"""What a step measures, means over its batch, in this order."""

NOT_DECAYED = r"/(bias|gamma|beta):0$"
"""AdamWeightDecay searches this in variable names. The original's 'layer_norm' missed the variables named LayerNorm."""


class Trainer:
    """One model. The encoder's own pooler is *the* pooler: NSP trains it, fine-tuning uses it."""

    def __init__(
        self, model: Model, optimizer: Optimizer, vocabulary_size: int, *, next_sentence: bool, seed: int
    ) -> None:
        self._model, self._pieces, self._next_sentence, self._seed = model, vocabulary_size, next_sentence, seed
        self.encoder = encoders.build(model, vocabulary_size)
        self._pretrainer = models.BertPretrainerV2(
            self.encoder, mlm_activation=lambda value: tf_keras.activations.gelu(value, approximate=True)
        )
        self._classify = layers.ClassificationHead(inner_dim=0, num_classes=2, name="next_sentence")
        self._forward(_empty_batch(), training=False)  # makes the heads' variables
        self.encoder_variables = encoders.named(self.encoder.trainable_variables)
        heads = self._pretrainer.masked_lm.trainable_variables
        if next_sentence:
            heads = heads + self._classify.trainable_variables
        self.head_variables = {
            name: variable
            for name, variable in encoders.named(heads).items()
            if name not in self.encoder_variables  # the MLM output is tied to the embedding table
        }
        self._trained = self.encoder_variables | self.head_variables
        if not next_sentence:  # nothing trains the pooler then
            self._trained = {name: value for name, value in self._trained.items() if not name.startswith("pooler")}
        encoders.initialize(self.encoder_variables | self.head_variables, model.initializer_range, seed)
        self._generators = encoders.generators([self._pretrainer, self._classify])
        self._rate = tf.Variable(0.0, trainable=False, name="learning_rate")
        self._optimizer = AdamWeightDecay(
            learning_rate=self._rate,
            beta_1=optimizer.beta_1,
            beta_2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            weight_decay_rate=optimizer.weight_decay,
            exclude_from_weight_decay=[NOT_DECAYED],
            gradient_clip_norm=optimizer.clip_norm,
        )
        self._optimizer.iterations  # noqa: B018 - makes the variable, outside of any graph
        self._optimizer._create_all_weights(list(self._trained.values()))
        self.slot_variables = {
            f"{slot}/{name}": self._optimizer.get_slot(variable, slot)
            for name, variable in self._trained.items()
            for slot in ("m", "v")
        }
        features = {name: tf.TensorSpec([None, None, *shape], kind) for name, (shape, kind) in _FEATURES.items()}
        self._train = tf.function(
            self._train_steps,
            autograph=False,  # converting all of Keras and the Model Garden takes longer than tracing it
            input_signature=[features, tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int64)],
        )
        flat = {name: tf.TensorSpec([None, *shape], kind) for name, (shape, kind) in _FEATURES.items()}
        self._measure = tf.function(self._metric_sums, autograph=False, input_signature=[flat])

    def parameters(self) -> dict[str, int]:
        """Numbers of weights."""
        encoder = sum(int(np.prod(variable.shape)) for variable in self.encoder_variables.values())
        heads = sum(int(np.prod(variable.shape)) for variable in self.head_variables.values())
        return {"encoder": encoder, "heads": heads, "total": encoder + heads}

    def flops(self, length: int, predictions: int) -> float:
        """Operations to train on one sequence with so many masked positions, see `metrics.flops`."""
        return flops.pretraining(self._model, length, predictions, self._pieces, next_sentence=self._next_sentence)

    def prepare(self, batch: Batch) -> None:
        """Trace and compile with zero steps of `batch`'s shape, so that time measured afterwards is training's."""
        nothing = {name: values[:0] for name, values in batch.items()}
        self._train(nothing, np.zeros(0, np.float32), np.int64(0))

    def train(self, batch: Batch, rates: Arrays | Any, step: int) -> np.ndarray[Any, Any]:
        """Take as many steps as the batch has, from `step` on.

        Shapes: features [steps, batch, …], rates [steps] float32 → [steps, metrics] float32, by `METRICS`.
        """
        result: np.ndarray[Any, Any] = self._train(batch, rates, np.int64(step)).numpy()
        return result

    def measure(self, batches: list[Batch]) -> dict[str, float]:
        """The metrics over all examples of the batches, without dropout."""
        sums = np.zeros(len(_SUMS), np.float64)
        for batch in batches:
            sums += self._measure(batch).numpy().astype(np.float64)
        return self.named(np.array(self._means(sums)))

    def named(self, metrics: np.ndarray[Any, Any]) -> dict[str, float]:
        """Metrics by name; those of NSP only where it is trained."""
        values = {name: float(value) for name, value in zip(METRICS, metrics, strict=True)}
        return {name: value for name, value in values.items() if self._next_sentence or not name.startswith("nsp")}

    @property
    def state(self) -> Mapping[str, tf.Variable]:
        """What has to be saved beside the encoder: heads and optimizer slots. The step is the caller's."""
        return self.head_variables | self.slot_variables

    def resume_at(self, step: int) -> None:
        """Tell the optimizer how many steps it has done: its bias correction counts them."""
        self._optimizer.iterations.assign(step)

    def _forward(self, batch: Mapping[str, Any], *, training: bool) -> tuple[Any, Any]:
        """Logits: [batch, predictions, vocabulary] and [batch, 2]."""
        encoded = self.encoder(
            {
                "input_word_ids": batch["input_ids"],
                "input_mask": batch["input_mask"],
                "input_type_ids": batch["segment_ids"],
            },
            training=training,
        )
        masked = self._pretrainer.masked_lm(encoded["sequence_output"], batch["masked_lm_positions"])
        return masked, self._classify(encoded["pooled_output"], training=training)

    def _losses(self, batch: Mapping[str, Any], *, training: bool) -> Any:
        """Sums over the batch, [len(_SUMS)] float32."""
        masked, sentences = self._forward(batch, training=training)
        weights = batch["masked_lm_weights"]  # [batch, predictions], 0 is padding
        ids, labels = batch["masked_lm_ids"], batch["next_sentence_labels"][:, 0]
        mlm = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, masked)  # [batch, predictions]
        nsp = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, sentences)  # [batch]
        right = tf.cast(tf.equal(tf.argmax(masked, -1, tf.int32), ids), tf.float32)
        right_order = tf.cast(tf.equal(tf.argmax(sentences, -1, tf.int32), labels), tf.float32)
        return tf.stack(
            [
                tf.reduce_sum(mlm * weights),
                tf.reduce_sum(right * weights),
                tf.reduce_sum(weights),
                tf.reduce_sum(nsp),
                tf.reduce_sum(right_order),
                tf.cast(tf.size(labels), tf.float32),
            ]
        )

    def _metric_sums(self, batch: Mapping[str, Any]) -> Any:
        return self._losses(batch, training=False)

    def _train_steps(self, batches: Mapping[str, Any], rates: Any, first_step: Any) -> Any:
        """A loop on the device: nothing goes to the host until all steps are done."""
        count = tf.size(rates)
        variables = list(self._trained.values())

        def step(index: Any, metrics: Any) -> tuple[Any, Any]:
            encoders.seed_generators(self._generators, self._seed, first_step + tf.cast(index, tf.int64))
            self._rate.assign(rates[index])
            batch = {name: values[index] for name, values in batches.items()}
            with tf.GradientTape() as tape:
                means = self._means(self._losses(batch, training=True))
            gradients = tape.gradient(means[0], variables)
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return index + 1, metrics.write(index, tf.stack(means))

        metrics = tf.TensorArray(tf.float32, size=count, element_shape=[len(METRICS)])
        return tf.while_loop(lambda index, _: index < count, step, (tf.constant(0), metrics))[1].stack()

    def _means(self, sums: Any) -> list[Any]:
        """`METRICS` from `_SUMS`; a batch always has a masked position, so nothing is divided by 0."""
        mlm, right, weights, nsp, right_order, examples = (sums[index] for index in range(len(_SUMS)))
        loss = mlm / weights + nsp / examples if self._next_sentence else mlm / weights
        return [loss, mlm / weights, right / weights, nsp / examples, right_order / examples]


_SUMS = ("mlm_loss", "mlm_right", "mlm_weights", "nsp_loss", "nsp_right", "examples")

# Shape of one example's feature and its type; None is the corpus' sequence length or predictions.
_FEATURES: dict[str, tuple[list[int | None], Any]] = {
    "input_ids": ([None], tf.int32),
    "input_mask": ([None], tf.int32),
    "segment_ids": ([None], tf.int32),
    "masked_lm_positions": ([None], tf.int32),
    "masked_lm_ids": ([None], tf.int32),
    "masked_lm_weights": ([None], tf.float32),
    "next_sentence_labels": ([1], tf.int32),
}


def _empty_batch() -> dict[str, Any]:
    """One example of zeros."""
    return {name: tf.zeros([1, *(size or 1 for size in shape)], kind) for name, (shape, kind) in _FEATURES.items()}
