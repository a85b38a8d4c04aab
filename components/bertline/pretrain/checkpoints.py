"""Rolling checkpoints: what a pretrain attempt saves on the way, so that a kill costs minutes.

    rolling/<step>.safetensors   weights of encoder and heads, optimizer slots, by name
    rolling/latest.json          written after it: step, the file's size and checksum, `Progress`; the commit marker

A checkpoint counts only if `latest.json` names it. Files are written and uploaded by a thread: training waits only for
the copy of the variables to host memory, and for the checkpoint before if that still isn't up.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from bertline import encoders, progress
from bertline.encoders import Arrays
from bertline.errors import DamagedError, TransientError
from bertline.experiments import Checkpoints
from bertline.metrics.figures import Figures
from bertline.store import staging
from bertline.store.realizations import ROLLING, Build
from bertline.store.staging import File

FORMAT = 1
LATEST = "latest.json"


@dataclass
class Progress:
    """What an attempt has reached beside the weights. All JSON."""

    step: int
    """Steps done, over the whole run."""
    wall_clock_s: float
    """Seconds of training, over the whole run: no start-up, checkpoints, measuring or staging."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Results of this round's epochs that are done."""
    epoch_wall_clock_s: list[float] = field(default_factory=list)
    """`wall_clock_s` at the end of each of them."""
    sums: list[float] = field(default_factory=list)
    """Metrics summed over the steps of the epoch at work; Python floats, so JSON keeps every bit."""
    tokens: int = 0
    """Tokens of this round without padding."""
    waited_s: float = 0.0
    """Seconds of this round that training waited for data."""


@dataclass(frozen=True)
class Checkpoint:
    """A restored one."""

    progress: Progress
    values: Arrays


def restore(build: Build) -> Checkpoint | None:
    """What an earlier attempt at this round left, None if nothing.

    Raises:
        DamagedError: its bytes aren't those that were written.
    """
    document = build.rolling(LATEST)
    if document is None:
        return None
    if document["format"] != FORMAT:
        raise DamagedError(
            f"{build.store.uri}/{build.prefix}{ROLLING}{LATEST} has format {document['format']}, "
            f"this version reads {FORMAT}; delete it to start the round again"
        )
    (path,) = staging.fetch(build.store, build.prefix, [File.model_validate(document["file"])], build.work)
    return Checkpoint(Progress(**document["progress"]), encoders.load(path)[0])


class Saver:
    """Saves in the background by steps and by minutes, whichever comes first."""

    def __init__(
        self, build: Build, policy: Checkpoints, figures: Figures, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._build, self._policy, self._figures, self._now = build, policy, figures, now
        counts = figures.counts
        counts.checkpoints, counts.checkpoint_failures, counts.checkpoint_pause_s = 0, 0, 0.0
        figures.checkpoint_interval_s = 60.0 * policy.every_minutes
        self._saved_at = now()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None
        self.paused_s = 0.0
        """Seconds that training stood still for checkpoints."""
        self.saved_step: int | None = None
        """Of the last checkpoint that is up; None if this attempt has saved none."""

    def due(self, step: int) -> bool:
        """True at a multiple of `every_steps`, or `every_minutes` after the last one."""
        return step % self._policy.every_steps == 0 or self._now() - self._saved_at >= 60 * self._policy.every_minutes

    def save(self, reached: Progress, values: Mapping[str, Any]) -> None:
        """Copy `values` (variables) now, write and upload them in the background."""
        begun = self._now()
        self._figures.enter("saving")
        self.wait()
        copies = encoders.arrays(values)
        document = asdict(reached)  # a copy: training goes on changing it
        self._running = self._pool.submit(self._write, document, copies)
        self._saved_at = self._now()
        self.paused_s += self._saved_at - begun
        self._figures.counts.checkpoint_pause_s = self.paused_s
        self._figures.enter("training")

    def wait(self) -> None:
        """Until the last one is up. A failed one is told and forgotten: the one before it still counts."""
        if self._running is None:
            return
        try:
            self._running.result()
        except TransientError as error:
            progress.say(f"a checkpoint couldn't be saved, training goes on: {error}")
            self._build.attempt.record("checkpoint-failed", message=str(error))
        finally:
            self._running = None

    def close(self) -> None:
        """Wait and end the thread."""
        self.wait()
        self._pool.shutdown()

    def _write(self, document: dict[str, Any], values: Arrays) -> None:
        begun, figures, counts = time.monotonic(), self._figures, self._figures.counts
        try:
            size = self._put(document, values)
        except TransientError:
            counts.checkpoint_failures = 1 + (counts.checkpoint_failures or 0)
            raise
        self.saved_step = document["step"]
        seconds = time.monotonic() - begun
        figures.checkpoint_seconds, figures.checkpoint_bytes, figures.checkpoint_saved_at = seconds, size, time.time()
        counts.checkpoints = 1 + (counts.checkpoints or 0)
        self._build.attempt.record("checkpoint", step=document["step"], bytes=size, seconds=round(seconds, 3))

    def _put(self, document: dict[str, Any], values: Arrays) -> int:
        """Size of the file, which is up when this returns."""
        name = f"{ROLLING}{document['step']:09d}.safetensors"
        path = self._build.work / name
        path.parent.mkdir(exist_ok=True)
        try:
            encoders.save(path, values)
            file = staging.put(self._build.store, self._build.prefix, path, name)
        except OSError as error:
            raise TransientError(f"{path}: {error}") from error
        finally:
            path.unlink(missing_ok=True)
        self._build.roll(LATEST, {"format": FORMAT, "file": file.model_dump(), "progress": document})
        for found in list(self._build.store.list(f"{self._build.prefix}{ROLLING}")):
            if found.name.endswith(".safetensors") and not found.name.endswith(name):
                self._build.store.delete(found.name)
        return file.size
