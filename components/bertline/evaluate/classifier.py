"""The milestone's encoder with a head, its fine-tuning, and its logits.

No global generator is used: the head's first weights, dropout and the order of the examples (`batches`) depend only on
the seed. So a seed gives the same bits in a new process and after another seed's run.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras
from official.modeling.optimization import legacy_adamw
from official.nlp.modeling import layers, models

from bertline.errors import UserError
from bertline.evaluate import batches
from bertline.evaluate.batches import Batch, Pairs
from bertline.evaluate.checkpoints import Keeper
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment import schedules
from bertline.experiment.specs import Model
from bertline.metrics.gauges import Gauges
from bertline.models import encoders, flops

UNDECAYED = (r"(bias|gamma|beta):0$",)
"""Patterns of variables' names without weight decay."""

LOOK_STEPS = 100
"""Steps between two reads of the loss, for which the host waits for the device."""

PREDICTION_BATCH = 64
"""A fixed size, because a batch's size may change a logit's last bit, and results shouldn't depend on that."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """An encoder with a head."""

    encoder: Any
    """Model Garden's `BertEncoder`."""
    head: Any
    """Model Garden's `ClassificationHead`."""
    network: Any
    """The two together, Model Garden's `BertClassifier`: the encoder's inputs to logits [batch, classes]."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """Speed of a fine-tuning."""

    sequences: int
    """Sequences from the second step on, because TensorFlow traces during the first one."""
    seconds: float

    @property
    def sequences_per_s(self) -> float | None:
        """Sequences a second; None if there was no second step."""
        return self.sequences / self.seconds if self.sequences else None


def build(model: Model, vocabulary_size: int, classes: int, seed: int) -> Classifier:
    """Build a classifier; only the head is initialized: assign a milestone's weights to the encoder.

    Dropout is applied once, before the projection, as in BERT. `BertClassifier` itself would apply it twice, before its
    head and in it.
    """
    tf_keras.backend.clear_session()  # otherwise a process' second model gets other layer names and other first weights
    encoder = encoders.build(model, vocabulary_size)
    head = layers.ClassificationHead(
        inner_dim=0, num_classes=classes, dropout_rate=model.dropout, name="sentence_prediction"
    )
    network = models.BertClassifier(network=encoder, num_classes=classes, dropout_rate=0.0, cls_head=head)
    encoders.initialize(encoders.named(head.trainable_variables), model.initializer_range, seed)
    return Classifier(encoder, head, network)


def learning_rates(peak: float, warmup_share: float, steps: int) -> npt.NDArray[np.float32]:
    """Rise from 0 over the first share of the steps, then fall to 0, as BERT did. Shape [steps]."""
    line = schedules.Linear(schedule="linear", peak=peak, warmup_steps=round(steps * warmup_share))
    return np.array(
        [piece.at(step) for piece in line.of_round(0, steps, [steps]) for step in range(piece.begin, piece.end)],
        np.float32,
    )


def fine_tune(
    classifier: Classifier,
    pairs: Pairs,
    config: EvaluateConfig,
    advance: Callable[[], None] = lambda: None,
    gauges: Gauges | None = None,
    keeper: Keeper | None = None,
) -> Pace:
    """Train for `config.epochs` passes over the pairs, continuing from `keeper`'s checkpoint.

    Calls `advance` after each step, and updates `gauges`.

    Raises:
        UserError: the loss became NaN or infinite.
        Stopped: a signal came; the message says what is saved.
    """
    orders = [batches.epoch(pairs.lengths, config.batch_size, config.seed, number) for number in range(config.epochs)]
    steps = sum(map(len, orders))
    optimizer = optimizer_of(config, steps)
    train, losses = _train_step(classifier, optimizer, config.seed)
    resumed = keeper.restore(_state(classifier, optimizer)) if keeper else 0
    optimizer.iterations.assign(resumed)  # learning rate, bias correction and dropout depend on it
    show = _Show(gauges, classifier, config, resumed, steps) if gauges else None
    sequences, since, first = 0, time.perf_counter(), True
    begun, done, seen = since, 0, (resumed, 0.0)
    for number, order in enumerate(orders, start=1):
        for place, places in enumerate(order, start=1):
            done += 1
            if done <= resumed:
                continue
            batch = batches.assemble(pairs, places, config.sequence_length)
            assembled = time.perf_counter()
            train(batch.word_ids, batch.mask, batch.type_ids, batch.labels)
            advance()
            if keeper:
                keeper.look(done)
            if first:
                losses.numpy()  # waits for the device
                since, first = time.perf_counter(), False
            else:
                sequences += len(places)
            ended = time.perf_counter()
            if show:
                show.step(batch, ended - begun, assembled - begun)
            begun = ended
            if done % LOOK_STEPS == 0 or place == len(order):
                total = float(losses.numpy())  # a sum over all steps, so it stays NaN
                if show:
                    show.loss((total - seen[1]) / (done - seen[0]))
                if not np.isfinite(total):
                    raise UserError(
                        f"fine-tuning on {config.task} diverged: between step {seen[0] + 1:,} and step {done:,} of "
                        f"{steps:,} the loss became infinite or no number; lower evaluate.learning_rate, which is "
                        f"{config.learning_rate}"
                    )
                seen = done, total
        if show:
            show.epoch(number)
    return Pace(sequences, time.perf_counter() - since)


def _state(classifier: Classifier, optimizer: Any) -> dict[str, Any]:
    """Name → variable of a fine-tuning's state, without the optimizer's step."""
    weights = encoders.named(classifier.network.trainable_variables)
    slots = {
        f"{slot}/{name}": optimizer.get_slot(variable, slot)
        for name, variable in weights.items()
        for slot in ("m", "v")
    }
    return weights | slots


class _Show:
    """Updates the metrics of a fine-tuning."""

    def __init__(
        self, gauges: Gauges, classifier: Classifier, config: EvaluateConfig, resumed: int, steps: int
    ) -> None:
        self._figures, self._resumed, self._config, self._classes = (
            gauges,
            resumed,
            config,
            classifier.head.num_classes,
        )
        self._rates = learning_rates(config.learning_rate, config.warmup_share, steps)  # [steps]
        gauges.step, gauges.first_step, gauges.epoch = resumed, 0, 0
        gauges.last_step, gauges.batch_size = steps, config.batch_size
        gauges.parameters = classifier.network.count_params()

    def step(self, batch: Batch, seconds: float, waited_s: float) -> None:
        """Count a step. The time of the first one isn't counted, because TensorFlow traces."""
        gauges, done = self._figures, self._figures.step or 0
        first = done == self._resumed
        size, length = batch.word_ids.shape
        gauges.learning_rate, gauges.step = float(self._rates[done]), done + 1
        gauges.count(
            steps=1,
            sequences=size,
            tokens=int(batch.mask.sum()),
            seconds=0.0 if first else seconds,
            waited_s=0.0 if first else waited_s,
            flops=0.0 if first else size * flops.fine_tuning(self._config.model, length, self._classes),
        )
        if first:
            gauges.enter("training")

    def loss(self, mean: float) -> None:
        """Set the mean loss of the last steps."""
        self._figures.losses = {"total": mean}
        self._figures.await_scrape = not np.isfinite(mean)  # the alert needs one scrape of it

    def epoch(self, number: int) -> None:
        """Count an epoch."""
        self._figures.epoch = number


def optimizer_of(config: EvaluateConfig, steps: int) -> Any:
    """Model Garden's AdamW as in BERT: the whole gradient's norm is clipped; some variables have no weight decay."""
    rates = tf.constant(learning_rates(config.learning_rate, config.warmup_share, steps))  # [steps]
    optimizer: Any = legacy_adamw.AdamWeightDecay(
        learning_rate=lambda: tf.gather(rates, optimizer.iterations),
        beta_1=config.optimizer.beta_1,
        beta_2=config.optimizer.beta_2,
        epsilon=config.optimizer.epsilon,
        weight_decay_rate=config.optimizer.weight_decay,
        exclude_from_weight_decay=list(UNDECAYED),
        gradient_clip_norm=config.optimizer.clip_norm,
    )
    return optimizer


def _train_step(classifier: Classifier, optimizer: Any, seed: int) -> tuple[Any, Any]:
    """The step as one graph for batches of all shapes, and the variable that the losses are summed in."""
    network, variables = classifier.network, classifier.network.trainable_variables
    generators = encoders.generators([network])
    losses = tf.Variable(0.0, trainable=False, name="losses")
    optimizer._create_all_weights(variables)  # otherwise the first step creates them, and TensorFlow traces twice

    def train(word_ids: tf.Tensor, mask: tf.Tensor, type_ids: tf.Tensor, labels: tf.Tensor) -> None:
        encoders.seed_generators(generators, seed, optimizer.iterations)
        with tf.GradientTape() as tape:
            logits = network(_inputs(word_ids, mask, type_ids), training=True)  # [batch, classes]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        losses.assign_add(loss)

    return tf.function(train, autograph=False, input_signature=[*_SIGNATURE, tf.TensorSpec([None], tf.int32)]), losses


def logits(
    classifier: Classifier, pairs: Pairs, sequence_length: int, advance: Callable[[int], None] = lambda examples: None
) -> npt.NDArray[np.float32]:
    """Logits of every pair, in the order of the pairs. Shape [pairs, classes]."""

    def network(word_ids: tf.Tensor, mask: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        return classifier.network(_inputs(word_ids, mask, type_ids), training=False)

    predict = tf.function(network, autograph=False, input_signature=_SIGNATURE)
    found = np.full((len(pairs), classifier.head.num_classes), np.nan, np.float32)  # [pairs, classes]
    for places in batches.by_length(pairs.lengths, PREDICTION_BATCH):
        batch: Batch = batches.assemble(pairs, places, sequence_length)
        found[places] = predict(batch.word_ids, batch.mask, batch.type_ids).numpy()
        advance(len(places))
    return found


def mean_cross_entropy(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> float:
    """Mean cross-entropy of logits [examples, classes], in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)  # [examples, classes]
    surprises = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]  # [examples]
    return float(surprises.mean())


_SIGNATURE = [tf.TensorSpec([None, None], tf.int32)] * 3  # batch and length vary; one trace serves all


def _inputs(word_ids: tf.Tensor, mask: tf.Tensor, type_ids: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"input_word_ids": word_ids, "input_mask": mask, "input_type_ids": type_ids}
