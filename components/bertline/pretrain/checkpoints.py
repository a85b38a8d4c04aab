"""Checkpoints of a pretrain attempt, so that a kill costs only minutes: see `bertline.models.rolling`.

A checkpoint's arrays are the weights of encoder and heads, and the optimizer slots; its document is `Progress`. A
thread writes and uploads the files; training waits only for the copy of the variables to host memory. If a checkpoint
can't be saved, because the store can't be reached or the disk is full, the thread tries again until it succeeds or a
newer checkpoint replaces it. So at most two copies are in memory: one that waits and one that is being written.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bertline.experiment.specs import Checkpoints
from bertline.metrics.gauges import Gauges
from bertline.models import encoders, rolling
from bertline.models.encoders import Arrays
from bertline.process import progress, signals
from bertline.store import outages
from bertline.store.objects import OutageError
from bertline.store.realizations import Build

AGAIN_S = 5.0
"""Seconds from a failed try to the next one, unless a newer checkpoint comes first."""
STOP_S = 30.0
"""Seconds that a stopped attempt waits for its checkpoint."""


@dataclass
class Progress:
    """An attempt's progress, besides the weights, as JSON values."""

    step: int
    """Steps done, over the whole run."""
    wall_clock_s: float
    """Seconds of training, over the whole run: no start-up, checkpoints, measuring or staging."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Results of this round's finished epochs."""
    epoch_wall_clock_s: list[float] = field(default_factory=list)
    """`wall_clock_s` at the end of each of these epochs."""
    sums: list[float] = field(default_factory=list)
    """Sums of metrics over the steps of the current epoch; Python floats, so JSON keeps every bit."""
    tokens: int = 0
    """Tokens of this round without padding."""
    waited_s: float = 0.0
    """Seconds of this round that training waited for data."""
    skipped: list[int] = field(default_factory=list)
    """Steps of this round that were left out, because their loss or gradient wasn't finite."""


@dataclass
class _Job:
    """A checkpoint to save."""

    document: dict[str, Any]
    """A copy of `Progress`."""
    values: Arrays
    tries: int = 0

    @property
    def step(self) -> int:
        return int(self.document["step"])


class Saver:
    """Saves in the background by steps and by minutes, whichever comes first."""

    def __init__(
        self, build: Build, policy: Checkpoints, gauges: Gauges, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._build, self._policy, self._figures, self._now = build, policy, gauges, now
        counts = gauges.counts
        counts.checkpoints, counts.checkpoint_failures, counts.checkpoint_pause_s = 0, 0, 0.0
        gauges.checkpoint_interval_s = 60.0 * policy.every_minutes
        self._saved_at = now()
        self._changed = threading.Condition()
        self._waiting: _Job | None = None
        self._at_work, self._closing, self._gave_up = False, False, False
        self._said_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()
        self.paused_s = 0.0
        """Seconds that training waited for checkpoints."""
        self.saved_step: int | None = None
        """Step of the last saved checkpoint; None if this attempt has saved none."""
        self.problem: Exception | None = None
        """Why the last try failed; None if it didn't."""

    def due(self, step: int) -> bool:
        """True at a multiple of `every_steps`, or `every_minutes` after the last one."""
        return step % self._policy.every_steps == 0 or self._now() - self._saved_at >= 60 * self._policy.every_minutes

    def save(self, reached: Progress, values: Mapping[str, Any]) -> None:
        """Copy `values` (variables) now, and save them in the background; replaces a waiting checkpoint."""
        begun = self._now()
        self._figures.enter("saving")
        with self._changed:
            self._waiting = None  # before the copy is made: two in memory are enough
        job = _Job(asdict(reached), encoders.arrays(values))  # copies, because training changes them
        with self._changed:
            self._waiting = job
            self._changed.notify_all()
        self._saved_at = self._now()
        self.paused_s += self._saved_at - begun
        self._figures.counts.checkpoint_pause_s = self.paused_s
        self._figures.enter("training")

    def wait(self, patience_s: float = STOP_S) -> bool:
        """Wait until the newest checkpoint is saved; False if that fails or takes too long, see `problem`."""
        with self._changed:
            self.problem = None
            self._changed.notify_all()  # don't wait for the next try
            self._changed.wait_for(lambda: not self._unsaved or self.problem, patience_s)
            self._gave_up = self._unsaved
            return not self._gave_up

    def close(self) -> None:
        """End the thread; an unsaved checkpoint isn't needed any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if not self._gave_up:
            self._thread.join(STOP_S)

    @property
    def _unsaved(self) -> bool:
        return self._at_work or self._waiting is not None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing or self._waiting is None:
                    return
                job, self._waiting, self._at_work = self._waiting, None, True
            problem = self._write(job)
            with self._changed:
                self._at_work = False
                if problem is None:
                    self.saved_step = job.step
                    signals.keeps(f"saved at step {job.step:,}")
                if self._waiting is None:  # else a newer one is there, and this one doesn't matter any more
                    self.problem, self._waiting = problem, job if problem else None
                self._changed.notify_all()
                if problem is not None and self._waiting is job and not self._closing:
                    self._changed.wait(AGAIN_S)

    def _write(self, job: _Job) -> Exception | None:
        """Save a checkpoint; return the error if that fails."""
        begun, gauges, counts = time.monotonic(), self._figures, self._figures.counts
        try:
            size = rolling.put(self._build, job.step, job.values, job.document)
        except Exception as error:  # noqa: BLE001 - no error of a checkpoint may end training
            counts.checkpoint_failures = 1 + (counts.checkpoint_failures or 0)
            self._tell(job, error)
            return error
        if self._said_at > -math.inf:
            self._said_at = -math.inf
            progress.say(f"the checkpoint of step {job.step:,} is saved; earlier ones failed")
        seconds = time.monotonic() - begun
        gauges.checkpoint_seconds, gauges.checkpoint_bytes, gauges.checkpoint_saved_at = seconds, size, time.time()
        counts.checkpoints = 1 + (counts.checkpoints or 0)
        self._build.attempt.record(
            "checkpoint",
            step=job.step,
            wall_clock_s=job.document["wall_clock_s"],
            bytes=size,
            seconds=round(seconds, 3),
        )
        return None

    def _tell(self, job: _Job, error: Exception) -> None:
        """Report a failure at once, then every minute."""
        job.tries += 1
        if job.tries == 1:
            self._build.attempt.record("checkpoint-failed", step=job.step, message=str(error))
        if time.monotonic() - self._said_at >= outages.SAY_S:
            self._said_at = time.monotonic()
            said = error.said if isinstance(error, OutageError) else str(error) or type(error).__name__
            progress.say(f"the checkpoint of step {job.step:,} can't be saved now, training continues: {said}")
