"""One round of pre-training: inputs → restore → the loop → commit.

Results of the manifest (functions of the key, on one kind of processor):
    step, epochs: [{epoch, step, train: {metrics}, held_out: {metrics}}], vocabulary_size, parameters, sequences, tokens
Measurements:
    wall_clock_s, epoch_wall_clock_s (over the whole run: training only), round_wall_clock_s, sequences_per_s,
    tokens_per_s, data_wait_share, checkpoint_pause_s, threads, attempts, lost_steps, lost_s, and those of memory, see
    `metrics.memories.Memory.settle`
"""

import contextlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertline.errors import DamagedError, UserError
from bertline.examples import shards
from bertline.metrics import tasks
from bertline.metrics.gauges import Gauges
from bertline.models import rolling
from bertline.pretrain import inputs
from bertline.pretrain.config import PretrainConfig
from bertline.pretrain.inputs import Batch
from bertline.process import processors, progress, signals
from bertline.store import attempts
from bertline.store.attempts import RecordedAttempt
from bertline.store.objects import NotFoundError, ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, realize, require

if TYPE_CHECKING:
    from bertline.pretrain.checkpoints import Progress
    from bertline.pretrain.trainer import Trainer

ENCODER, STATE = "encoder.safetensors", "state.safetensors"
STEPS_A_CALL = {"cpu": 10, "gpu": 100}  # steps per call; the bits don't depend on it


def run(config: PretrainConfig, store: ObjectStore) -> Realization:
    """The milestone at `config.end_epoch`: found, or trained, continuing an earlier attempt.

    Raises:
        UserError: the batch is larger than the corpus, or the milestone has another architecture.
        Stopped: a signal came; a checkpoint was saved.
    """
    derivation = config.derivation()
    gauges = tasks.begin(config.STAGE, config.label, derivation.key)
    return realize(store, derivation, lambda build: _build(config, build, gauges))


def _build(config: PretrainConfig, build: Build, gauges: Gauges) -> Outcome:
    threads = processors.threads()
    signals.keeps(f"saved at step {rolling.step(build.store, build.prefix) or config.begin_step:,}")
    _introduce(config, build, gauges)
    corpus = require(build.store, "corpus", config.corpus)
    pieces = int(require(build.store, "vocabulary", config.vocabulary).manifest.results["pieces"])
    milestone = require(build.store, "pretrain", config.milestone) if config.milestone else None
    train = _shards(corpus, "train-")
    order = inputs.Order(train, config.seed)
    if order.examples < config.model.batch_size:
        raise UserError(
            f"batch_size {config.model.batch_size} of {config.label.run} is larger than the corpus, which has "
            f"{order.examples} examples; take a smaller batch, more duplicates or a larger dump"
        )
    local = dict(zip(train, corpus.stage(train, build.work, label="staging shards"), strict=True))
    held_out = _held_out(config, corpus, build)

    progress.say("starting TensorFlow")
    gauges.enter("starting")
    import tensorflow as tf

    from bertline.models import encoders
    from bertline.pretrain.checkpoints import Saver
    from bertline.pretrain.loop import Loop, bounds
    from bertline.pretrain.trainer import Trainer

    encoders.use_threads(threads)
    trainer = Trainer(
        config.model,
        config.optimizer,
        pieces,
        next_sentence=config.next_sentence,
        seed=config.seed,
        precision=config.precision,
        xla=config.xla,
    )
    saved = dict(trainer.encoder_variables) | dict(trainer.state)
    reached = _restore(config, build, milestone, trainer, saved)
    gauges.memory.attach(tf)  # TensorFlow has found its devices
    gauges.step, gauges.parameters = reached.step, trainer.parameters()["total"]
    gauges.epoch = reached.step // config.steps_per_epoch
    steps = bounds(config, reached.step, _steps_a_call())
    read = inputs.chunks(order, lambda shard: _features(local[shard]), config.model.batch_size, steps)
    with closing(Saver(build, config.checkpoints, gauges)) as saver, closing(inputs.ahead(read)) as chunks:
        Loop(config, build, trainer, reached, saver, saved, held_out, gauges).run(chunks)
        gauges.enter("finishing")

    encoders.save(build.payload / ENCODER, encoders.arrays(trainer.encoder_variables))
    encoders.save(build.payload / STATE, encoders.arrays(trainer.state))
    seconds = reached.wall_clock_s - _wall_clock(milestone)
    sequences = (config.end_step - config.begin_step) * config.model.batch_size
    results = {
        "step": reached.step,
        "epochs": reached.epochs,
        "vocabulary_size": pieces,
        "parameters": trainer.parameters(),
        "sequences": sequences,
        "tokens": reached.tokens,
    }
    measurements = {
        "wall_clock_s": reached.wall_clock_s,
        "epoch_wall_clock_s": reached.epoch_wall_clock_s,
        "round_wall_clock_s": seconds,
        "sequences_per_s": sequences / seconds,
        "tokens_per_s": reached.tokens / seconds,
        "data_wait_share": reached.waited_s / seconds,
        "checkpoint_pause_s": saver.paused_s,
        "threads": threads,
    }
    return Outcome(
        results,
        measurements
        | gauges.memory.settle()
        | {"attempts": build.attempt.number}
        | _lost(_earlier(build), config.begin_step, _wall_clock(milestone)),
    )


def _restore(
    config: PretrainConfig, build: Build, milestone: Realization | None, trainer: "Trainer", saved: dict[str, Any]
) -> "Progress":
    """Restore a rolling checkpoint of this round, else the previous milestone, else start from scratch."""
    from bertline.models import encoders
    from bertline.pretrain import checkpoints

    checkpoint = rolling.restore(build)
    if checkpoint:
        encoders.assign(saved, checkpoint.values, "the rolling checkpoint")
        reached = checkpoints.Progress(**checkpoint.document)
        progress.say(f"continuing at step {reached.step:,}")
        build.attempt.record("resume", step=reached.step)
    else:
        reached = checkpoints.Progress(config.begin_step, _wall_clock(milestone))
        if milestone:
            encoder, state = (encoders.load(path)[0] for path in milestone.stage([ENCODER, STATE], build.work))
            encoders.assign(saved, encoder | state, f"milestone {milestone.manifest.key[:12]}")
    return reached


def _wall_clock(milestone: Realization | None) -> float:
    return float(milestone.manifest.measurements["wall_clock_s"]) if milestone else 0.0


def _shards(corpus: Realization, kind: str) -> dict[str, int]:
    """Examples of each shard of a kind, `train-` or `held-out-`."""
    counts: dict[str, int] = corpus.manifest.results["shards"]
    return {path: count for path, count in counts.items() if path.startswith(kind)}


def _held_out(config: PretrainConfig, corpus: Realization, build: Build) -> list[Batch]:
    """Batches with the configured number of held-out examples, the same share of each shard."""
    counts = _shards(corpus, "held-out-")
    share = -(-config.held_out_examples // max(1, len(counts)))
    read = (_features(path) for path in corpus.stage(counts, build.work))
    parts = [{name: values[:share] for name, values in features.items()} for features in read]
    if not parts:
        return []
    together = {name: np.concatenate([part[name] for part in parts])[: config.held_out_examples] for name in parts[0]}
    size = config.model.batch_size
    return [
        {name: values[begin : begin + size] for name, values in together.items()}
        for begin in range(0, len(together["input_ids"]), size)
    ]


def _features(path: Path) -> Batch:
    """All examples of a shard, as features for the trainer."""
    examples = shards.read(path)
    return {name: getattr(examples, name) for name in shards.Instances.__dataclass_fields__}


def _steps_a_call() -> int:
    import tensorflow as tf

    return STEPS_A_CALL["gpu" if tf.config.list_physical_devices("GPU") else "cpu"]


def _introduce(config: PretrainConfig, build: Build, gauges: Gauges) -> None:
    """Set the metrics that are known before training, with those of earlier attempts."""
    gauges.first_step, gauges.last_step = config.begin_step, config.end_step
    gauges.batch_size, gauges.attempt = config.model.batch_size, build.attempt.number
    earlier = _earlier(build)
    gauges.repeated_steps = _lost(earlier, config.begin_step, 0.0)["lost_steps"]
    gauges.checkpoint_saved_at = max((moment for each in earlier for moment in each.saved_at), default=None)


def _earlier(build: Build) -> list[RecordedAttempt]:
    """Earlier attempts at this round; unreadable ones are left out, because they are only used for metrics."""
    found = []
    for number in attempts.numbers(build.store, build.prefix):
        if number < build.attempt.number:
            with contextlib.suppress(DamagedError, NotFoundError):
                found.append(attempts.read_one(build.store, build.prefix, number))
    return found


def _lost(earlier: Iterable[RecordedAttempt], begin_step: int, begin_s: float) -> dict[str, Any]:
    """Training of earlier attempts after their last checkpoints, which had to be repeated.

    It is computed from their events, so a killed attempt's work after its last event isn't included. Seconds are of
    training only, like `Progress.wall_clock_s`.
    """
    steps, seconds, kept, kept_s = 0, 0.0, begin_step, begin_s
    for each in earlier:
        kept = max(kept, int(each.highest("step", "checkpoint") or 0))
        kept_s = max(kept_s, each.highest("wall_clock_s", "checkpoint") or 0.0)
        steps += max(kept, int(each.highest("step") or 0)) - kept
        seconds += max(kept_s, each.highest("wall_clock_s") or 0.0) - kept_s
    return {"lost_steps": steps, "lost_s": seconds}
