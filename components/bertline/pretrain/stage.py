"""One round of pre-training: restore → data → steps → measure → save → commit.

Results of the manifest (functions of the key, on one kind of processor):
    step, epochs: [{epoch, step, train: {metrics}, held_out: {metrics}}], vocabulary_size, parameters, sequences, tokens
Measurements:
    wall_clock_s, epoch_wall_clock_s (over the whole run: training only), round_wall_clock_s, sequences_per_s,
    tokens_per_s, data_wait_share, checkpoint_pause_s, host_memory_peak_bytes, gpu_present, gpu_memory_peak_bytes,
    threads, attempts, lost_steps, lost_s
"""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertline import progress, shards
from bertline.errors import PreemptedError, UserError
from bertline.pretrain import inputs
from bertline.pretrain.config import PretrainConfig
from bertline.pretrain.inputs import Batch
from bertline.store import attempts
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, realize, require

if TYPE_CHECKING:
    from bertline.pretrain.checkpoints import Progress
    from bertline.pretrain.trainer import Trainer

THREADS = "BERTLINE_THREADS"
ENCODER, STATE = "encoder.safetensors", "state.safetensors"
STEPS_A_CALL = {"cpu": 10, "gpu": 100}  # steps between two looks at the clock; the bits don't depend on it
ALIVE_S = 15.0


def run(config: PretrainConfig, store: ObjectStore) -> Realization:
    """The milestone at `config.end_epoch`: found, or trained from where an earlier attempt left off.

    Raises:
        UserError: the batch is larger than the corpus, the milestone is another architecture's.
        PreemptedError: SIGTERM; a checkpoint was saved.
    """
    return realize(store, config.derivation(), lambda build: _build(config, build))


def _build(config: PretrainConfig, build: Build) -> Outcome:
    store = build.store
    corpus = require(store, "corpus", config.corpus)
    pieces = int(require(store, "vocabulary", config.vocabulary).manifest.results["pieces"])
    milestone = require(store, "pretrain", config.milestone) if config.milestone else None
    train = {path: count for path, count in corpus.manifest.results["shards"].items() if path.startswith("train-")}
    order = inputs.Order(train, config.seed)
    if order.examples < config.model.batch_size:
        raise UserError(
            f"batch_size {config.model.batch_size} of {config.label.run} is larger than the corpus, which has "
            f"{order.examples} examples; take a smaller batch, more duplicates or a larger dump"
        )
    local = dict(zip(train, corpus.stage(train, build.work, label="staging shards"), strict=True))

    with _preemption() as stop:
        progress.say("starting TensorFlow")
        from bertline import encoders
        from bertline.pretrain import checkpoints
        from bertline.pretrain.trainer import Trainer

        encoders.use_threads(int(os.environ.get(THREADS, 0)) or None)
        trainer = Trainer(config.model, config.optimizer, pieces, next_sentence=config.next_sentence, seed=config.seed)
        saved = dict(trainer.encoder_variables) | dict(trainer.state)
        checkpoint = checkpoints.restore(build)
        if checkpoint:
            encoders.assign(saved, checkpoint.values, "the rolling checkpoint")
            reached = checkpoint.progress
            progress.say(f"goes on at step {reached.step:,}")
            build.attempt.record("resume", step=reached.step)
        elif milestone:
            files = [encoders.load(path)[0] for path in milestone.stage([ENCODER, STATE], build.work)]
            encoders.assign(saved, files[0] | files[1], f"milestone {milestone.manifest.key[:12]}")
            reached = checkpoints.Progress(config.begin_step, milestone.manifest.measurements["wall_clock_s"])
        else:
            reached = checkpoints.Progress(0, 0.0)
        trainer.resume_at(reached.step)
        saver = checkpoints.Saver(build, config.checkpoints)
        try:
            _train(config, build, trainer, reached, saver, saved, order, local, _held_out(config, corpus, build), stop)
        finally:
            saver.close()

        encoders.save(build.payload / ENCODER, encoders.arrays(trainer.encoder_variables))
        encoders.save(build.payload / STATE, encoders.arrays(trainer.state))
    began = milestone.manifest.measurements["wall_clock_s"] if milestone else 0.0
    seconds = reached.wall_clock_s - began
    sequences = (config.end_step - config.begin_step) * config.model.batch_size
    return Outcome(
        {
            "step": reached.step,
            "epochs": reached.epochs,
            "vocabulary_size": pieces,
            "parameters": trainer.parameters(),
            "sequences": sequences,
            "tokens": reached.tokens,
        },
        {
            "wall_clock_s": reached.wall_clock_s,
            "epoch_wall_clock_s": reached.epoch_wall_clock_s,
            "round_wall_clock_s": seconds,
            "sequences_per_s": sequences / seconds,
            "tokens_per_s": reached.tokens / seconds,
            "data_wait_share": reached.waited_s / seconds,
            "checkpoint_pause_s": saver.paused_s,
            "threads": int(os.environ.get(THREADS, 0)) or os.cpu_count(),
        }
        | _memory()
        | _lost(build, config.begin_step),
    )


def _train(
    config: PretrainConfig,
    build: Build,
    trainer: "Trainer",
    reached: "Progress",
    saver: Any,
    saved: dict[str, Any],
    order: inputs.Order,
    local: dict[str, Path],
    held_out: list[Batch],
    stop: list[int],
) -> None:
    """Steps until the round's end; changes `reached`."""
    rates = _rates(config)
    bounds = _bounds(config, reached.step, _steps_a_call())
    chunks = inputs.ahead(inputs.chunks(order, lambda name: _features(local[name]), config.model.batch_size, bounds))
    alive = 0.0
    try:
        with progress.bar(
            f"epochs {config.begin_epoch + 1} to {config.end_epoch}"
            if config.end_epoch - config.begin_epoch > 1
            else f"epoch {config.end_epoch}",
            config.end_step - config.begin_step,
            "steps",
            reached.step - config.begin_step,
        ) as advance:
            prepared = False
            while reached.step < config.end_step:
                begun = time.perf_counter()
                chunk = next(chunks)
                waited = time.perf_counter() - begun
                if not prepared:
                    trainer.prepare(chunk)
                    prepared, begun, waited = True, time.perf_counter(), 0.0
                steps = len(chunk["input_ids"])
                metrics = trainer.train(chunk, rates[reached.step - config.begin_step :][:steps], reached.step)
                _require_finite(metrics, reached.step, config, build)
                reached.wall_clock_s += time.perf_counter() - begun
                reached.waited_s += waited
                reached.tokens += int(chunk["input_mask"].sum())
                for row in metrics.astype(np.float64):  # one by one: the sum doesn't depend on where a chunk ends
                    reached.sums = [
                        total + value
                        for total, value in zip(reached.sums or [0.0] * len(row), row.tolist(), strict=True)
                    ]
                reached.step += steps
                advance(steps)
                if reached.step % config.steps_per_epoch == 0:
                    _end_epoch(config, build, trainer, reached, held_out)
                if stop:
                    saver.save(reached, saved)
                    saver.close()
                    raise PreemptedError(
                        f"told to stop by signal {stop[0]} at step {reached.step:,}; saved, run it again to go on"
                    )
                if reached.step < config.end_step and saver.due(reached.step):
                    build.check()
                    saver.save(reached, saved)
                elif time.monotonic() - alive > ALIVE_S:
                    alive = time.monotonic()
                    build.attempt.alive(step=reached.step)
    finally:
        chunks.close()


def _end_epoch(
    config: PretrainConfig, build: Build, trainer: "Trainer", reached: "Progress", held_out: list[Batch]
) -> None:
    epoch = reached.step // config.steps_per_epoch
    means = trainer.named(np.array(reached.sums) / config.steps_per_epoch)
    result: dict[str, Any] = {"epoch": epoch, "step": reached.step, "train": means}
    if held_out:
        result["held_out"] = trainer.measure(held_out)
        progress.say(f"epoch {epoch}: held-out MLM loss {result['held_out']['mlm_loss']:.3f}")
    reached.epochs.append(result)
    reached.epoch_wall_clock_s.append(reached.wall_clock_s)
    reached.sums = []
    build.attempt.record("epoch", epoch=epoch, step=reached.step, wall_clock_s=reached.wall_clock_s)


def _bounds(config: PretrainConfig, step: int, size: int) -> list[int]:
    """Where calls end: at ends of epochs and multiples of the checkpoints' cadence too."""
    bounds = [step]
    while step < config.end_step:
        stops = (
            step + size,
            *(step - step % every + every for every in (config.steps_per_epoch, config.checkpoints.every_steps)),
        )
        step = min(stops)
        bounds.append(step)
    return bounds


def _rates(config: PretrainConfig) -> np.ndarray[Any, Any]:
    """Learning rate of each of the round's steps: [steps] float32."""
    return np.concatenate(
        [[piece.at(step) for step in range(piece.begin, piece.end)] for piece in config.learning_rate]
    ).astype(np.float32)


def _held_out(config: PretrainConfig, corpus: Realization, build: Build) -> list[Batch]:
    """Batches of held-out examples: as many as asked for, the same share of each shard."""
    counts = {path: count for path, count in corpus.manifest.results["shards"].items() if path.startswith("held-out-")}
    wanted = min(config.held_out_examples, sum(counts.values()))
    parts: list[Batch] = []
    for local in corpus.stage(counts, build.work):
        features, left = _features(local), wanted - sum(len(part["input_ids"]) for part in parts)
        share = -(-config.held_out_examples // len(counts))
        parts.append({name: values[: min(share, left)] for name, values in features.items()})
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    size = config.model.batch_size
    return [
        {name: values[begin : begin + size] for name, values in together.items()}
        for begin in range(0, len(together.get("input_ids", ())), size)
    ]


def _features(path: Path) -> Batch:
    """All examples of a shard as the trainer takes them."""
    examples = shards.read(path)
    return {
        name: getattr(examples, name)
        for name in (
            "input_ids",
            "input_mask",
            "segment_ids",
            "masked_lm_positions",
            "masked_lm_ids",
            "masked_lm_weights",
            "next_sentence_labels",
        )
    }


def _require_finite(metrics: np.ndarray[Any, Any], step: int, config: PretrainConfig, build: Build) -> None:
    """Stop at a loss that isn't a number: nothing good comes after it."""
    bad = np.flatnonzero(~np.isfinite(metrics[:, 0]))
    if len(bad):
        at = step + int(bad[0])
        rate = float(_rates(config)[at - config.begin_step])
        build.attempt.record("diverged", step=at, learning_rate=rate)
        raise UserError(
            f"the loss isn't finite at step {at:,} (learning rate {rate:.2e}); lower pretrain.learning_rate.peak or "
            "raise its warmup_steps. The last milestone is kept"
        )


def _steps_a_call() -> int:
    import tensorflow as tf

    return STEPS_A_CALL["gpu" if tf.config.list_physical_devices("GPU") else "cpu"]


def _memory() -> dict[str, Any]:
    """Peaks of this process; of the GPU only if there is one."""
    import tensorflow as tf

    found: dict[str, Any] = {"host_memory_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    gpus = tf.config.list_physical_devices("GPU")
    found["gpu_present"] = int(bool(gpus))
    if gpus:
        found["gpu_memory_peak_bytes"] = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return found


def _lost(build: Build, begin_step: int) -> dict[str, Any]:
    """Work that earlier attempts did and that had to be done again: what came after their last checkpoint."""
    steps, seconds, kept = 0, 0.0, begin_step
    logs = list(attempts.read(build.store, build.prefix))
    for events in logs[:-1]:
        saved = [event for event in events if event["event"] == "checkpoint"]
        kept = max([kept, *(event["step"] for event in saved)])
        last = max([kept, *(event.get("step", 0) for event in events)])
        steps += last - kept
        seconds += events[-1]["time"] - (saved or events)[-1 if saved else 0]["time"]
    return {"attempts": len(logs), "lost_steps": steps, "lost_s": seconds}


@contextmanager
def _preemption() -> Iterator[list[int]]:
    """Collects SIGTERM, so that training can save and stop between two calls."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)
