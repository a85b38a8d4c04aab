"""Fine-tune one milestone on one task with one seed, and report every example of the dev set.

Results: see `EvaluateConfig`; they follow from the key. Measurements: `seconds` (the whole attempt), `sequences_per_s`
(fine-tuning, from the second step on), and those of memory, see `metrics.memories.Memory.settle`; the host's is of the
whole process.

The input is checked first, in one or two seconds; only then TensorFlow is imported.
"""

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bertline.errors import UserError
from bertline.evaluate import batches, checkpoints, glue
from bertline.evaluate.batches import Ints, Pairs
from bertline.evaluate.config import EvaluateConfig
from bertline.evaluate.glue import Example, Examples
from bertline.metrics import tasks
from bertline.metrics.gauges import Gauges
from bertline.models import rolling
from bertline.plurals import counted
from bertline.process import processors, progress, signals
from bertline.sources import files
from bertline.sources.files import Obtained, Source
from bertline.store import realizations
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization
from bertline.text import wordpiece

if TYPE_CHECKING:
    from bertline.evaluate.classifier import Pace


def run(config: EvaluateConfig, store: ObjectStore) -> Realization:
    """The evaluation: found, or made.

    Raises:
        UserError: a task file has a wrong format, the milestone has another vocabulary, or fine-tuning diverges.
    """
    derivation = config.derivation()
    gauges = tasks.begin(config.STAGE, config.label, derivation.key, config.task)
    return realizations.realize(store, derivation, functools.partial(_build, config, gauges))


def _build(config: EvaluateConfig, gauges: Gauges, build: Build) -> Outcome:
    began = time.monotonic()
    signals.keeps(checkpoints.where(config.task, rolling.step(build.store, build.prefix) or 0))
    gauges.attempt = build.attempt.number
    milestone = realizations.require(build.store, "pretrain", config.milestone)
    tokenizer = _tokenizer(config, milestone, build)
    wanted = [(config.files.train, build.work / "train"), (config.files.dev, build.work / "dev")]
    obtained = [(source, _obtain(source, directory, build.store)) for source, directory in wanted]
    train, dev = (glue.read(each.path) for _, each in obtained)
    chosen = batches.choice(len(train.examples), config.max_train_examples, config.seed)  # [train examples]
    _say_what_is_left_out(train, dev)
    training = batches.encode([train.examples[place] for place in chosen], tokenizer, config.sequence_length)
    testing = batches.encode(dev.examples, tokenizer, config.sequence_length)
    [weights] = milestone.stage(["encoder.safetensors"], build.work / "milestone", label="fetching the milestone")

    predictions, loss, pace = _fine_tune(config, build, gauges, weights, tokenizer.vocabulary.size, training, testing)
    gauges.enter("finishing")

    _write(build.payload / "predictions.tsv", dev.examples, predictions)
    correct = int((predictions == testing.labels).sum())
    gauges.evaluation_accuracies[str(config.seed)] = correct / len(testing)
    gauges.await_scrape = True  # the accuracy comes at the very end
    confusion = _confusion(testing.labels, predictions)  # [gold, predicted]
    right = f"{config.task}: {correct / len(testing):.1%} of {len(testing):,} right (seed {config.seed})"
    progress.say("; ".join(filter(None, (right, _warning(confusion)))))
    results = {
        "task": config.task,
        "labels": list(glue.LABELS),
        "examples": len(testing),
        "correct": correct,
        "accuracy": correct / len(testing),
        "loss": loss,
        "train_examples": len(training),
        "dropped": dev.dropped,
        "confusion": confusion.tolist(),
    }
    seconds = time.monotonic() - began
    measurements = {"seconds": seconds, "sequences_per_s": pace.sequences_per_s}
    return Outcome(results, measurements | gauges.memory.settle() | files.measurements(*obtained))


def _tokenizer(config: EvaluateConfig, milestone: Realization, build: Build) -> wordpiece.Tokenizer:
    """The tokenizer of the milestone's vocabulary."""
    realization = realizations.require(build.store, "vocabulary", config.vocabulary)
    [path] = realization.stage(["vocab.txt"], build.work / "vocabulary")
    vocabulary = wordpiece.read(path)
    expected = milestone.manifest.results.get("vocabulary_size")
    if vocabulary.size != expected:
        raise UserError(
            f"vocabulary {config.vocabulary[:12]}… has {vocabulary.size} pieces, but milestone "
            f"{config.milestone[:12]}… was pre-trained with {expected}; evaluate it with its own vocabulary"
        )
    return wordpiece.Tokenizer(vocabulary, config.lower_case)


def _obtain(source: Source, directory: Path, store: ObjectStore) -> Obtained:
    directory.mkdir()  # one folder for each, because two files may have the same name
    return source.obtain(directory, store, archives=directory.parent / "archives")


def _say_what_is_left_out(train: Examples, dev: Examples) -> None:
    for name, examples in (("train", train), ("dev", dev)):
        if examples.dropped:
            progress.say(
                f"left out of the {name} file, because they have no gold label: {counted(examples.dropped, 'row')}"
            )


def _fine_tune(
    config: EvaluateConfig,
    build: Build,
    gauges: Gauges,
    weights: Path,
    vocabulary_size: int,
    training: Pairs,
    testing: Pairs,
) -> tuple[Ints, float, "Pace"]:
    """Predicted labels of the testing pairs [pairs], their loss, and the speed of training."""
    gauges.enter("starting")
    import tensorflow as tf

    from bertline.evaluate import classifier
    from bertline.models import encoders

    encoders.use_threads(processors.threads())
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")  # an earlier seed in this process may have used more
    gauges.memory.attach(tf)

    model = classifier.build(config.model, vocabulary_size, len(glue.LABELS), config.seed)
    values, _ = encoders.load(weights)
    encoders.assign(encoders.named(model.encoder.trainable_variables), values, f"milestone {config.milestone[:12]}…")
    steps = -(-len(training) // config.batch_size) * config.epochs

    keeper = checkpoints.Keeper(build, config.task)

    def note() -> str:
        return f"loss {gauges.losses['total']:.3f}" if gauges.losses else ""

    with progress.bar(f"fine-tuning on {config.task}", steps, "steps", keeper.saved, note) as advance:
        pace = classifier.fine_tune(model, training, config, lambda: advance(1), gauges, keeper)
    gauges.enter("evaluating")
    with progress.bar(f"evaluating on {config.task}", len(testing), "examples") as advance:

        def batch(examples: int) -> None:
            advance(examples)
            keeper.look(steps)

        logits = classifier.logits(model, testing, config.sequence_length, batch)  # [pairs, classes]
    predictions = logits.argmax(axis=1).astype(np.int32)  # [pairs]
    loss = classifier.mean_cross_entropy(logits, testing.labels)
    if not np.isfinite(loss):  # the last step may have diverged
        raise UserError(
            f"fine-tuning on {config.task} diverged: after step {steps:,}, the last one, the loss "
            f"is NaN or infinite; lower evaluate.learning_rate, which is {config.learning_rate}"
        )
    return predictions, loss, pace


def _confusion(labels: Ints, predictions: Ints) -> Ints:
    """Number of examples for each gold class and predicted class: [gold classes, predicted classes]."""
    classes = len(glue.LABELS)
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes).astype(np.int32)


def _warning(confusion: Ints) -> str:
    """A warning if the accuracy says nothing about the model; else empty."""
    predicted, correct, examples = confusion.sum(axis=0), int(np.trace(confusion)), int(confusion.sum())
    majority = int(confusion.sum(axis=1).max())
    if np.count_nonzero(predicted) == 1:
        return (
            f"every example is taken for {glue.LABELS[int(predicted.argmax())]}: the model has collapsed to one class"
        )
    if correct <= majority:
        return f"that isn't above the largest class, which {majority / examples:.1%} of the examples belong to"
    return ""


def _write(path: Path, examples: tuple[Example, ...], predictions: Ints) -> None:
    lines = ["index\tlabel\tprediction"]
    for example, prediction in zip(examples, predictions, strict=True):
        lines.append(f"{example.index}\t{glue.LABELS[example.label]}\t{glue.LABELS[prediction]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
