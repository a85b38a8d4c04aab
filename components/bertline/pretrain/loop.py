"""The steps of one round: data → steps → measure → save → stop."""

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertline.errors import UserError
from bertline.metrics.gauges import Gauges
from bertline.pretrain.checkpoints import Progress, Saver
from bertline.pretrain.config import PretrainConfig
from bertline.pretrain.inputs import Batch
from bertline.pretrain.trainer import Trainer
from bertline.process import progress, signals
from bertline.store.realizations import Build

ALIVE_S = 15.0
"""Seconds between two updates of the step in the attempt's log."""


@dataclass
class Loop:
    """One attempt at a round. `run` advances `reached` to the round's end."""

    config: PretrainConfig
    build: Build
    trainer: Trainer
    reached: Progress
    saver: Saver
    saved: Mapping[str, Any]
    """Name → variable of a checkpoint."""
    held_out: list[Batch]
    gauges: Gauges
    _noted: tuple[int, float] = (0, 0.0)
    """Sequences and seconds at the log's last line."""

    def __post_init__(self) -> None:
        self.resumed_at = self.reached.step

    def run(self, chunks: Generator[Batch, None, None]) -> None:
        """Train on chunks of several steps, see `bounds`.

        Raises:
            Stopped: a signal came; a checkpoint was saved.
            UserError: the loss isn't finite.
            TransientError: another attempt has taken over.
        """
        config, reached, gauges = self.config, self.reached, self.gauges
        first, last = config.begin_epoch + 1, config.end_epoch
        label = f"epoch {last}" if first == last else f"epochs {first} to {last}"
        done, total = reached.step - config.begin_step, config.end_step - config.begin_step
        rates = learning_rates(config)
        heard = prepared = 0.0
        with progress.bar(label, total, "steps", done, self._note) as advance:
            while reached.step < config.end_step:
                begun = time.perf_counter()
                chunk = next(chunks)
                if not prepared:  # tracing is start-up, not training
                    self.trainer.prepare(chunk)
                    prepared = begun = time.perf_counter()
                    signals.postpone()  # from now on a checkpoint can be saved
                    gauges.enter("training")
                waited_s = time.perf_counter() - begun
                metrics = self.trainer.train(chunk, _of(chunk, rates, reached.step - config.begin_step), reached.step)
                seconds = time.perf_counter() - begun
                reached.waited_s += waited_s
                reached.wall_clock_s += seconds
                tokens = self._count(chunk, metrics, rates)
                self._show(chunk, metrics, rates, tokens=tokens, seconds=seconds, waited_s=waited_s)
                advance(len(metrics))
                if reached.step % config.steps_per_epoch == 0:
                    self._end_epoch(chunk, rates)
                self.build.check()
                if signals.told_to_stop():
                    self._save_and_stop()
                if reached.step < config.end_step and self.saver.due(reached.step):
                    self.saver.save(reached, self.saved)
                elif time.monotonic() - heard > ALIVE_S:
                    heard = time.monotonic()
                    self.build.attempt.alive(step=reached.step, wall_clock_s=reached.wall_clock_s)

    def _count(self, chunk: Batch, metrics: np.ndarray[Any, Any], rates: np.ndarray[Any, Any]) -> int:
        """Tokens of the chunk without padding."""
        reached = self.reached
        tokens = int(chunk["input_mask"].sum())
        reached.tokens += tokens
        for number, row in enumerate(metrics.astype(np.float64).tolist()):
            if not np.isfinite(row).all():
                self._skip(reached.step + number, metrics[number], rates)
                continue
            # One by one: the sum doesn't depend on where a chunk ends.
            reached.sums = [total + value for total, value in zip(reached.sums or [0.0] * len(row), row, strict=True)]
        reached.step += len(metrics)
        return tokens

    def _skip(self, step: int, measured: np.ndarray[Any, Any], rates: np.ndarray[Any, Any]) -> None:
        """A step whose loss or gradient isn't finite changed no weight. So many may be left out."""
        what = "the loss" if not np.isfinite(measured[0]) else "the gradient"
        if len(self.reached.skipped) >= self.config.skip_bad_steps:
            self.gauges.losses, self.gauges.accuracies = by_kind(self.trainer.named(measured))
            raise self._diverged(f"{what} isn't finite at", step, rates, float(measured[-1]))
        self.reached.skipped.append(step)
        self.build.attempt.record("skipped", step=step, loss=str(measured[0]), gradient_norm=str(measured[-1]))
        progress.say(
            f"step {step:,} is left out, {what} isn't finite; that is number {len(self.reached.skipped)} of "
            f"{self.config.skip_bad_steps} (pretrain.skip_bad_steps)"
        )

    def _diverged(self, what: str, step: int, rates: np.ndarray[Any, Any], norm: float | None = None) -> UserError:
        rate = float(rates[step - self.config.begin_step])
        self.gauges.await_scrape = True  # the alert needs to see it once
        self.saver.wait()  # what is kept was good
        self.build.attempt.record("diverged", step=step, learning_rate=rate, gradient_norm=str(norm))
        saved = self.saver.saved_step or self.resumed_at
        kept = f" The checkpoint of step {saved:,} is kept." if saved > self.config.begin_step else ""
        kept = kept or (" The last milestone is kept." if self.config.milestone else "")
        skip = (
            ""
            if norm is None
            else f", or leave such steps out: pretrain.skip_bad_steps, now {self.config.skip_bad_steps}"
        )
        gradient = "" if norm is None else f", gradient norm {norm:.3g}"
        return UserError(
            f"{what} step {step:,} (learning rate {rate:.2e}{gradient}).{kept} Lower pretrain.learning_rate.peak or "
            f"raise its warmup_steps{skip}"
        )

    def _note(self) -> str:
        """Text for a log line: values of the last call, and the speed since the last line."""
        gauges, counts = self.gauges, self.gauges.counts
        if not gauges.losses or gauges.learning_rate is None:
            return ""
        (sequences, seconds), self._noted = self._noted, (counts.sequences, counts.seconds)
        rate = (counts.sequences - sequences) / max(counts.seconds - seconds, 1e-9)
        losses = ", ".join(f"{kind.upper()} {loss:.3f}" for kind, loss in gauges.losses.items() if kind != "total")
        return (
            f"step {self.reached.step:,}, loss {gauges.losses['total']:.3f} ({losses}), "
            f"learning rate {gauges.learning_rate:.2e}, {rate:,.1f} sequences/s"
        )

    def _show(
        self,
        chunk: Batch,
        metrics: np.ndarray[Any, Any],
        rates: np.ndarray[Any, Any],
        *,
        tokens: int,
        seconds: float,
        waited_s: float,
    ) -> None:
        """Assign the values for the metrics; never waits."""
        gauges, config = self.gauges, self.config
        steps, size, length = chunk["input_ids"].shape
        gauges.step = self.reached.step
        gauges.learning_rate = float(rates[self.reached.step - config.begin_step - 1])
        good = metrics[np.isfinite(metrics).all(axis=1)]
        if len(good):
            gauges.losses, gauges.accuracies = by_kind(self.trainer.named(good.mean(axis=0)))
        gauges.count(
            steps=steps,
            sequences=steps * size,
            tokens=tokens,
            seconds=seconds,
            waited_s=waited_s,
            flops=steps * size * self.trainer.flops(length, chunk["masked_lm_positions"].shape[2]),
        )

    def _end_epoch(self, chunk: Batch, rates: np.ndarray[Any, Any]) -> None:
        reached = self.reached
        epoch = reached.step // self.config.steps_per_epoch
        if not reached.sums:
            raise self._diverged("no loss of the epoch was finite up to", reached.step - 1, rates)
        skipped = sum(step >= reached.step - self.config.steps_per_epoch for step in reached.skipped)
        means = self.trainer.named(np.array(reached.sums) / (self.config.steps_per_epoch - skipped))
        result: dict[str, Any] = {"epoch": epoch, "step": reached.step, "train": means}
        if self.held_out:
            self.gauges.enter("evaluating")
            result["held_out"] = self.trainer.measure(self.held_out)
            self.gauges.held_out_losses, self.gauges.held_out_accuracies = by_kind(result["held_out"])
            self.gauges.enter("training")
        # Each loss is measured before the step's update, so the last update hasn't been checked yet.
        after = result.get("held_out") or self.trainer.measure([{name: values[-1] for name, values in chunk.items()}])
        if not np.isfinite(after["loss"]):
            self.gauges.losses, self.gauges.accuracies = by_kind(after)
            raise self._diverged("the loss isn't finite after", reached.step - 1, rates)
        held_out = f", held-out MLM loss {result['held_out']['mlm_loss']:.3f}" if self.held_out else ""
        progress.say(f"epoch {epoch} of {self.config.end_epoch}: loss {means['loss']:.3f}{held_out}")
        reached.epochs.append(result)
        self.gauges.epoch = epoch
        reached.epoch_wall_clock_s.append(reached.wall_clock_s)
        reached.sums = []
        self.build.attempt.record("epoch", epoch=epoch, step=reached.step, wall_clock_s=reached.wall_clock_s)

    def _save_and_stop(self) -> None:
        self.saver.save(self.reached, self.saved)
        self.gauges.enter("saving")
        step = self.reached.step
        if self.saver.wait():
            raise signals.Stopped(f"told to stop; saved at step {step:,}; the same command continues")
        raise signals.Stopped(
            f"told to stop at step {step:,}, which couldn't be saved: {self.saver.problem or 'that took too long'}; "
            f"the same command continues from step {self.saver.saved_step or self.resumed_at:,}"
        )


def by_kind(named: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Losses and accuracies of `Trainer.named` by their kind: mlm, nsp, and total of the losses."""
    losses, accuracies = (
        {name.removesuffix(ending): value for name, value in named.items() if name.endswith(ending)}
        for ending in ("_loss", "_accuracy")
    )
    return {**losses, "total": named["loss"]}, accuracies


def bounds(config: PretrainConfig, step: int, size: int) -> list[int]:
    """Ends of calls of at most `size` steps, from `step` on; calls also end at epochs and checkpoints."""
    found = [step]
    while step < config.end_step:
        ends = [step - step % every + every for every in (config.steps_per_epoch, config.checkpoints.every_steps)]
        step = min(step + size, *ends)
        found.append(step)
    return found


def learning_rates(config: PretrainConfig) -> np.ndarray[Any, Any]:
    """Learning rate of each of the round's steps: [steps] float32."""
    return np.array(
        [piece.at(step) for piece in config.learning_rate for step in range(piece.begin, piece.end)], np.float32
    )


def _of(chunk: Batch, rates: np.ndarray[Any, Any], begin: int) -> np.ndarray[Any, Any]:
    """The chunk's learning rates."""
    return rates[begin : begin + len(chunk["input_ids"])]
