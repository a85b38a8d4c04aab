"""Checkpoints of a fine-tuning: weights, optimizer slots and the step, see `bertline.models.rolling`.

It saves at a stop, and every ten minutes, because a killed pod has no time to save. It saves in the training thread,
which takes little time. If saving fails, a message says so, and training continues.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from bertline.models import rolling
from bertline.process import progress, signals
from bertline.store.realizations import Build

EVERY_S = 600.0
"""Seconds between two checkpoints."""


class Keeper:
    """Saves and restores the state of one fine-tuning."""

    def __init__(self, build: Build, task: str, now: Callable[[], float] = time.monotonic) -> None:
        self._build, self._task, self._now = build, task, now
        self._variables: Mapping[str, Any] = {}
        self._checkpoint = rolling.restore(build)
        self.saved = int(self._checkpoint.document["step"]) if self._checkpoint else 0
        """Step of the last checkpoint."""
        self._saved_at = now()

    def restore(self, variables: Mapping[str, Any]) -> int:
        """Restore these variables from an earlier attempt, and save them from now on; return `saved`."""
        self._variables = variables
        from bertline.models import encoders

        if self._checkpoint:
            encoders.assign(variables, self._checkpoint.values, "the rolling checkpoint")
            self._checkpoint = None  # free its memory
            progress.say(f"continuing at step {self.saved:,}")
            self._build.attempt.record("resume", step=self.saved)
        return self.saved

    def look(self, step: int) -> None:
        """Call this after each step: saves if it is time or a signal came.

        Raises:
            Stopped: a signal came; the message says what is saved.
            TransientError: another attempt has taken over.
        """
        signals.postpone()  # a checkpoint can be saved
        self._build.check()
        stop = signals.told_to_stop()
        problem = None
        if step > self.saved and (stop or self._now() - self._saved_at >= EVERY_S):
            problem = self._save(step)
        if stop:
            failed = f" at step {step:,}, which couldn't be saved: {problem}" if problem else ""
            raise signals.Stopped(f"told to stop{failed}; {where(self._task, self.saved)}; the same command continues")

    def _save(self, step: int) -> Exception | None:
        """Save a checkpoint; return the error if that fails."""
        from bertline.models import encoders

        begun = time.monotonic()
        self._saved_at = self._now()
        try:
            size = rolling.put(self._build, step, encoders.arrays(self._variables), {"step": step})
        except Exception as error:  # noqa: BLE001 - no error of a checkpoint may end training
            progress.say(f"the checkpoint of step {step:,} can't be saved now, training continues: {error}")
            self._build.attempt.record("checkpoint-failed", step=step, message=str(error))
            return error
        self.saved = step
        seconds = round(time.monotonic() - begun, 3)
        self._build.attempt.record("checkpoint", step=step, bytes=size, seconds=seconds)
        return None


def where(task: str, saved: int) -> str:
    """What is saved of a fine-tuning, as a part of a message."""
    return f"saved at step {saved:,}" if saved else f"this fine-tuning on {task} begins again, earlier results are kept"
