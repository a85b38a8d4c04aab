"""The model in training: encoder, MLM and NSP heads, AdamW, and many steps in one call.

All randomness is a function of (seed, step): initial weights of the seed, dropout of (seed, step, place). So weights,
optimizer slots and the step are the whole state, and a resumed run gives the same result.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from bertline.experiment.specs import Model, Optimizer
from bertline.models import bert, clusters, encoders, flops
from bertline.models.adamw import AdamW
from bertline.models.bert import Bert
from bertline.models.dropouts import Dropout
from bertline.models.encoders import Arrays
from bertline.models.scales import LossScale
from bertline.pretrain.inputs import Batch

METRICS = ("loss", "mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy", "gradient_norm")
"""What a step measures, in this order: means over its batch, and the norm of the gradient before it is clipped."""

COMPILED_FROM = 4096
"""Least `batch_size · hidden` for compiling the work between products by XLA. Compiling takes 5 CPU seconds per attempt
and saves a tenth of a second in a step of 16,384, so it isn't worth it for the models of tests and demos."""


class Trainer:
    """One model. The encoder's own pooler is *the* pooler: NSP trains it, fine-tuning uses it."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        vocabulary_size: int,
        *,
        next_sentence: bool,
        seed: int,
        precision: str = "float32",
        xla: bool = False,
    ) -> None:
        self._model, self._pieces, self._next_sentence, self._seed = model, vocabulary_size, next_sentence, seed
        self.encoder_variables = bert.variables(bert.encoder_shapes(model, vocabulary_size))
        self.head_variables = bert.variables(bert.head_shapes(model, vocabulary_size, next_sentence=next_sentence))
        weights = self.encoder_variables | self.head_variables
        encoders.initialize(weights, model.initializer_range, seed)
        # Only NSP trains the pooler.
        self._trained = {name: weights[name] for name in weights if next_sentence or not name.startswith("pooler")}
        compiled = not xla and model.batch_size * model.hidden >= COMPILED_FROM
        self._bert = Bert(model, weights, tf.as_dtype(precision), compiled)
        # Measured once an epoch, in two shapes: not worth compiling.
        self._measured = Bert(model, weights, tf.as_dtype(precision), compiled=False)
        self._optimizer = AdamW(optimizer, self._trained, compiled=compiled)
        self._scale = LossScale() if precision == "float16" else None
        self.slot_variables = self._optimizer.slots | (self._scale.variables if self._scale else {})
        self._step = clusters.jitted(self._train_step) if xla else self._train_step
        self._compiles = compiled or xla
        features = {name: tf.TensorSpec([None, None, *shape], kind) for name, (shape, kind) in _FEATURES.items()}
        self._train = tf.function(
            self._train_steps,
            autograph=False,
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
        """Trace and compile, so that time measured afterwards is training's.

        XLA compiles on first use, so this takes a step and undoes it.
        """
        count = int(self._compiles)
        kept = encoders.arrays(self.encoder_variables | self.state) if count else {}
        self._train({name: values[:count] for name, values in batch.items()}, np.zeros(count, np.float32), np.int64(0))
        for name, variable in (self.encoder_variables | self.state).items() if count else ():
            variable.assign(kept[name])

    def train(self, batch: Batch, rates: Arrays | Any, step: int) -> np.ndarray[Any, Any]:
        """Take as many steps as the batch has, from `step` on.

        A step whose gradient isn't finite changes no weight and no slot. Shapes: features [steps, batch, …], rates
        [steps] float32 → [steps, metrics] float32, by `METRICS`.
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
        """Losses and accuracies by name; those of NSP only if it is trained."""
        values = {name: float(value) for name, value in zip(METRICS, metrics, strict=False)}
        return {
            name: value
            for name, value in values.items()
            if name != "gradient_norm" and (self._next_sentence or not name.startswith("nsp"))
        }

    @property
    def state(self) -> dict[str, tf.Variable]:
        """Variables to save besides the encoder: heads and optimizer slots, without the step."""
        return self.head_variables | self.slot_variables

    def _losses(self, model: Bert, batch: Mapping[str, Any], dropout: Dropout) -> Any:
        """Sums over the batch, [len(_SUMS)] float32."""
        ids, positions = batch["input_ids"], batch["masked_lm_positions"]
        read = tf.concat([tf.zeros_like(positions[:, :1]), positions], 1)  # [CLS], and what is to be predicted
        states = model.encode(ids, batch["input_mask"], batch["segment_ids"], dropout, read)
        weights = tf.reshape(batch["masked_lm_weights"], [-1])  # 0 is padding
        masked = tf.reshape(states[:, 1:], [-1, self._model.hidden])  # [batch · predictions, hidden]
        mlm, right = model.predict(masked, tf.reshape(batch["masked_lm_ids"], [-1]), weights)
        labels = batch["next_sentence_labels"][:, 0]
        nsp, right_order = tf.zeros([]), tf.zeros([])
        if self._next_sentence:
            orders = model.order(model.pool(states[:, 0]))  # [batch, 2]
            nsp = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, orders))
            right_order = tf.reduce_sum(tf.cast(tf.equal(tf.argmax(orders, -1, tf.int32), labels), tf.float32))
        examples = tf.cast(tf.size(labels), tf.float32)
        return tf.stack([mlm, right, tf.reduce_sum(weights), nsp, right_order, examples])

    def _metric_sums(self, batch: Mapping[str, Any]) -> Any:
        return self._losses(self._measured, batch, Dropout(0.0, self._seed, 0))

    def _train_steps(self, batches: Mapping[str, Any], rates: Any, first_step: Any) -> Any:
        """A loop on the device: nothing goes to the host until all steps are done."""
        count = tf.size(rates)

        def step(index: Any, metrics: Any) -> tuple[Any, Any]:
            batch = {name: values[index] for name, values in batches.items()}
            measured = self._step(batch, rates[index], first_step + tf.cast(index, tf.int64))
            return index + 1, metrics.write(index, measured)

        metrics = tf.TensorArray(tf.float32, size=count, element_shape=[len(METRICS)])
        return tf.while_loop(lambda index, _: index < count, step, (tf.constant(0), metrics))[1].stack()

    def _train_step(self, batch: Mapping[str, Any], rate: Any, step: Any) -> Any:
        """One update. Features [batch, …] → [metrics] float32."""
        whole = [tf.reduce_sum(batch["masked_lm_weights"]), tf.cast(tf.shape(batch["input_ids"])[0], tf.float32)]
        sums, gradients = self._gradients(batch, whole, step)
        norm = self._optimizer.apply(gradients, rate, step)
        if self._scale:
            norm = self._scale.adapt(norm)
        return tf.stack([*self._means(sums), norm])

    def _gradients(self, batch: Mapping[str, Any], whole: list[Any], step: Any) -> tuple[Any, list[Any]]:
        """`_losses` and the loss' gradient, one part of the batch after the other."""
        parts = self._model.accumulate
        if parts == 1:
            return self._gradients_of_part(batch, whole, step)
        apart = {
            name: tf.reshape(values, tf.concat([[parts, -1], tf.shape(values)[1:]], 0))
            for name, values in batch.items()
        }

        def add(part: Any, sums: Any, gradients: list[Any]) -> tuple[Any, Any, list[Any]]:
            features = {
                name: tf.ensure_shape(values[part], [None, *batch[name].shape[1:]]) for name, values in apart.items()
            }
            more, added = self._gradients_of_part(features, whole, step * parts + tf.cast(part, tf.int64))
            return part + 1, sums + more, [one + other for one, other in zip(gradients, added, strict=True)]

        nothing = [tf.zeros_like(variable) for variable in self._trained.values()]
        start = (tf.constant(0), tf.zeros([len(_SUMS)]), nothing)
        return tf.while_loop(lambda part, *_: part < parts, add, start)[1:]  # type: ignore[no-any-return]

    def _gradients_of_part(self, batch: Mapping[str, Any], whole: list[Any], draw: Any) -> tuple[Any, list[Any]]:
        """The gradients of a part's share in the loss of a batch with `whole` predictions and examples."""
        weights, examples = whole
        scale = self._scale.scale if self._scale else 1.0
        with tf.GradientTape() as tape:
            sums = self._losses(self._bert, batch, Dropout(self._model.dropout, self._seed, draw))
            share = sums[0] / weights + sums[3] / examples
            scaled = share * scale  # which is exact: a power of 2
        gradients = tape.gradient(scaled, list(self._trained.values()))
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return sums, [gradient / scale for gradient in gradients] if self._scale else gradients

    def _means(self, sums: Any) -> list[Any]:
        """`METRICS` but the norm, from `_SUMS`; a batch always has a masked position, so nothing is divided by 0."""
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
