"""What a fine-tuning saves on the way: weights, optimizer slots and the step, see `bertline.models.rolling`.

At a stop, and every ten minutes, because a pod that is killed has no time left for it. In the training thread: that is
little beside ten minutes of work. What can't be saved is told, and training goes on.
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
    """Keeps what one fine-tuning has reached."""

    def __init__(self, build: Build, task: str, now: Callable[[], float] = time.monotonic) -> None:
        self._build, self._task, self._now = build, task, now
        self._variables: Mapping[str, Any] = {}
        self._checkpoint = rolling.restore(build)
        self.saved = int(self._checkpoint.document["step"]) if self._checkpoint else 0
        """Steps that are done in the last checkpoint."""
        self._saved_at = now()

    def restore(self, variables: Mapping[str, Any]) -> int:
        """Set these variables as an earlier attempt left them, and save them from now on; `saved`."""
        self._variables = variables
        from bertline.models import encoders

        if self._checkpoint:
            encoders.assign(variables, self._checkpoint.values, "the rolling checkpoint")
            self._checkpoint = None  # its memory
            progress.say(f"goes on at step {self.saved:,}")
            self._build.attempt.record("resume", step=self.saved)
        return self.saved

    def look(self, step: int) -> None:
        """After each step: save if it is time, or if the process is told to stop.

        Raises:
            Stopped: told to stop; says what is saved.
            TransientError: another attempt has taken over.
        """
        signals.postpone()  # there is something to save
        self._build.check()
        stop = signals.told_to_stop()
        problem = None
        if step > self.saved and (stop or self._now() - self._saved_at >= EVERY_S):
            problem = self._save(step)
        if stop:
            failed = f" at step {step:,}, which couldn't be saved: {problem}" if problem else ""
            raise signals.Stopped(f"told to stop{failed}; {where(self._task, self.saved)}; the same command continues")

    def _save(self, step: int) -> Exception | None:
        """Save it, or say why that failed."""
        from bertline.models import encoders

        begun = time.monotonic()
        self._saved_at = self._now()
        try:
            size = rolling.put(self._build, step, encoders.arrays(self._variables), {"step": step})
        except Exception as error:  # noqa: BLE001 - whatever it is, training is worth more than a checkpoint
            progress.say(f"the checkpoint of step {step:,} can't be saved now, training goes on: {error}")
            self._build.attempt.record("checkpoint-failed", step=step, message=str(error))
            return error
        self.saved = step
        seconds = round(time.monotonic() - begun, 3)
        self._build.attempt.record("checkpoint", step=step, bytes=size, seconds=seconds)
        return None


def where(task: str, saved: int) -> str:
    """What is kept of a fine-tuning, as a sentence's part."""
    return (
        f"saved at step {saved:,}" if saved else f"this fine-tuning on {task} begins again, what is before it is kept"
    )
