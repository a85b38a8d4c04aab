"""The values of the running task, which training assigns and a scrape reads.

They are plain attributes. An assignment is atomic, so training needs no lock; a reader may see the steps of one call
together with the tokens of the previous call. None means not known.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bertline.metrics.memories import Memory

PHASES = ("staging", "starting", "training", "evaluating", "saving", "finishing")
"""Usually in this order: fetch the input, start TensorFlow and trace, train, measure, write a checkpoint while training
waits, save the result."""

STALLED_S = 120.0
"""Training isn't stalled before so many seconds without progress, however short its calls are."""
STALLED_CALLS = 20.0
"""Training is stalled after so many times the longest recent duration of a call."""
FIRST_CALL_S = 3600.0
"""Seconds that the first call may take: it traces and tunes, and no duration is known yet."""
FORGOTTEN = 0.95
"""The longest duration is multiplied by this at each call, so that old ones are forgotten."""
WINDOW_S = 5.0
"""A rate is a mean over at least so many seconds of training."""


@dataclass(frozen=True)
class Labels:
    """The labels of every series. None of them changes from pod to pod or from step to step."""

    experiment: str
    run: str
    """Model and seed, for example `6L` or `6L-seed2`."""
    model: str
    stage: str
    round: str
    """Last epoch of the round."""
    task: str = ""
    """Task of the evaluation; empty for pre-training."""


@dataclass
class Counts:
    """Counters since the process began; the next task with the same labels continues them."""

    steps: int = 0
    sequences: int = 0
    tokens: int = 0
    """Tokens without padding."""
    seconds: float = 0.0
    """Seconds in calls of training, with waiting for data."""
    waited_s: float = 0.0
    """Seconds of waiting for data."""
    checkpoints: int | None = None
    checkpoint_failures: int | None = None
    checkpoint_pause_s: float | None = None


@dataclass
class Gauges:
    """The values of one task, or of a part of it."""

    labels: Labels
    key: str
    memory: Memory = field(default_factory=Memory)
    counts: Counts = field(default_factory=Counts)
    now: Callable[[], float] = time.monotonic

    step: int | None = None
    first_step: int | None = None
    last_step: int | None = None
    epoch: int | None = None
    losses: Mapping[str, float] = field(default_factory=dict)
    """Kind of loss → mean over the last call."""
    accuracies: Mapping[str, float] = field(default_factory=dict)
    held_out_losses: Mapping[str, float] = field(default_factory=dict)
    held_out_accuracies: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    batch_size: int | None = None
    parameters: int | None = None
    flops_per_second: float | None = None
    checkpoint_saved_at: float | None = None
    """Unix time, like `advanced_at`."""
    checkpoint_seconds: float | None = None
    checkpoint_bytes: int | None = None
    checkpoint_interval_s: float | None = None
    attempt: int | None = None
    repeated_steps: int | None = None
    advanced_at: float | None = None
    evaluation_accuracies: dict[str, float] = field(default_factory=dict)
    """Seed → accuracy."""
    await_scrape: bool = False
    """True if one more scrape should see the last values before the process ends."""

    phase: str = PHASES[0]
    _active_at: float = 0.0
    _longest_call_s: float | None = None
    _window_s: float = 0.0
    _window_flops: float = 0.0

    def __post_init__(self) -> None:
        self._active_at = self.now()

    def enter(self, phase: str) -> None:
        """Begin another phase."""
        self._active_at, self.phase = self.now(), phase

    def count(
        self, *, steps: int, sequences: int, tokens: int, seconds: float, waited_s: float, flops: float = 0.0
    ) -> None:
        """Count a call of training that has ended."""
        counts = self.counts
        counts.steps += steps
        counts.sequences += sequences
        counts.tokens += tokens
        counts.seconds += seconds
        counts.waited_s += waited_s
        self._longest_call_s = max(seconds, FORGOTTEN * (self._longest_call_s or 0.0))
        self._active_at, self.advanced_at = self.now(), time.time()
        self._window_s += seconds
        self._window_flops += flops
        if flops and (self._window_s >= WINDOW_S or self.flops_per_second is None):
            self.flops_per_second = self._window_flops / self._window_s
            self._window_s = self._window_flops = 0.0

    @property
    def stall_limit_s(self) -> float:
        """Seconds without progress after which training is stalled; depends on the duration of calls."""
        longest = self._longest_call_s
        return FIRST_CALL_S if longest is None else max(STALLED_S, STALLED_CALLS * longest)

    @property
    def inactive_s(self) -> float:
        """Seconds since the last progress of training or the last change of phase."""
        return self.now() - self._active_at

    @property
    def stalled(self) -> bool:
        """True if training hangs. Other phases have their own timeouts."""
        return self.phase == "training" and self.inactive_s > self.stall_limit_s
