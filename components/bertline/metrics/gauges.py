"""The numbers of the task at work: assigned where they arise, read by whoever is asked for them.

They are plain attributes. An assignment is atomic, so training takes no lock and waits for nobody; a reader may see
the steps of one call with the tokens of the call before. None is a number that there isn't.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bertline.metrics.memories import Memory

PHASES = ("staging", "starting", "training", "evaluating", "saving", "finishing")
"""What a task does, in this order as a rule: fetch its input, start TensorFlow and trace, train, measure, write a
checkpoint while training stands still, save what was made."""

STALLED_S = 120.0
"""Training that doesn't advance for less than this isn't stalled, however short its calls are."""
STALLED_CALLS = 20.0
"""Calls of the longest recent duration that have to go by before it is."""
FIRST_CALL_S = 3600.0
"""What the first call may take: it may trace and tune, and nobody knows how long a call is."""
FORGOTTEN = 0.95
"""From call to call, what remains of the longest duration."""
WINDOW_S = 5.0
"""Seconds of training that a rate is a mean over, at least."""


@dataclass(frozen=True)
class Labels:
    """Of every series. Bounded: what changes from pod to pod or step to step isn't among them."""

    experiment: str
    run: str
    """Model and seed, as `6L` or `6L-seed2`."""
    model: str
    stage: str
    round: str
    """Its last epoch."""
    task: str = ""
    """The evaluation's; empty for pre-training."""


@dataclass
class Counts:
    """What is counted since the process began; a task that goes on under the same labels goes on counting."""

    steps: int = 0
    sequences: int = 0
    tokens: int = 0
    """Without padding."""
    seconds: float = 0.0
    """In calls of training, waiting for data included."""
    waited_s: float = 0.0
    """Of them, waiting for data."""
    checkpoints: int | None = None
    checkpoint_failures: int | None = None
    checkpoint_pause_s: float | None = None


@dataclass
class Gauges:
    """One task, or one of its parts."""

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
    """By kind, means over the last call."""
    accuracies: Mapping[str, float] = field(default_factory=dict)
    held_out_losses: Mapping[str, float] = field(default_factory=dict)
    held_out_accuracies: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    batch_size: int | None = None
    parameters: int | None = None
    flops_per_second: float | None = None
    checkpoint_saved_at: float | None = None
    """Unix time, as `advanced_at`."""
    checkpoint_seconds: float | None = None
    checkpoint_bytes: int | None = None
    checkpoint_interval_s: float | None = None
    attempt: int | None = None
    repeated_steps: int | None = None
    advanced_at: float | None = None
    evaluation_accuracies: dict[str, float] = field(default_factory=dict)
    """By seed."""
    await_scrape: bool = False
    """True once there is a last figure that one more scrape should see before the process ends."""

    phase: str = PHASES[0]
    _active_at: float = 0.0
    _longest_call_s: float | None = None
    _window_s: float = 0.0
    _window_flops: float = 0.0

    def __post_init__(self) -> None:
        self._active_at = self.now()

    def enter(self, phase: str) -> None:
        """Do something else from now on."""
        self._active_at, self.phase = self.now(), phase

    def count(
        self, *, steps: int, sequences: int, tokens: int, seconds: float, waited_s: float, flops: float = 0.0
    ) -> None:
        """A call of training has ended."""
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
        """How long training may stand still before it is said to hang; it follows the duration of calls."""
        longest = self._longest_call_s
        return FIRST_CALL_S if longest is None else max(STALLED_S, STALLED_CALLS * longest)

    @property
    def inactive_s(self) -> float:
        """Seconds since training advanced or the task began to do something else."""
        return self.now() - self._active_at

    @property
    def stalled(self) -> bool:
        """True if training hangs. Everything else has time-outs of its own, or ends."""
        return self.phase == "training" and self.inactive_s > self.stall_limit_s
