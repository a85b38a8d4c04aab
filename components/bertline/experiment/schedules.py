"""Learning-rate schedules, one over the whole experiment, made of linear pieces.

A round's key holds the pieces *clipped to the round's steps*. So a round is repeated only if one of its learning rates
changed: with `constant` more epochs only add rounds, with `warmup-stable-decay` they repeat the decay, with `linear`
they repeat everything.

Steps count from 0, like BERT's global step: with a warm-up the first step has learning rate 0.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from bertline.stage.configs import Real


class Piece(NamedTuple):
    """The learning rate of steps [begin, end): linear from `first` at `begin` towards `last` at `end`."""

    begin: int
    end: int
    first: float
    last: float

    def at(self, step: int) -> float:
        """Learning rate of one step."""
        return self.first + (self.last - self.first) * (step - self.begin) / (self.end - self.begin)


class _Schedule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    peak: Real = Field(1e-4, gt=0)
    """BERT's, appendix A.2. The original's 2e-5 is Google's advice for continued training, not from scratch."""
    warmup_steps: int = Field(10_000, ge=0, le=10**18)
    """Steps of linear rise from 0."""

    def least_steps(self) -> dict[str, int]:
        """Field → least number of steps that the experiment must have."""
        return {"warmup_steps": self.warmup_steps}

    def _warmup(self) -> list[Piece]:
        return [Piece(0, self.warmup_steps, 0.0, self.peak)] if self.warmup_steps else []

    def pieces(self, round_ends: Sequence[int]) -> list[Piece]:
        """The whole schedule; `round_ends` are the steps at which rounds end, the last one the experiment's end."""
        raise NotImplementedError

    def of_round(self, begin: int, end: int, round_ends: Sequence[int]) -> tuple[Piece, ...]:
        """The pieces clipped to steps [begin, end)."""
        clipped = []
        for piece in self.pieces(round_ends):
            first, last = max(piece.begin, begin), min(piece.end, end)
            if first < last:
                clipped.append(Piece(first, last, piece.at(first), piece.at(last)))
        return tuple(clipped)


class Linear(_Schedule):
    """As in BERT: rise, then a straight line that reaches 0 at the last step of the experiment."""

    schedule: Literal["linear"]

    def pieces(self, round_ends: Sequence[int]) -> list[Piece]:  # noqa: D102
        total = round_ends[-1]
        # BERT's line starts at step 0 and is masked by the warm-up, so it continues at peak * (1 - warmup / total).
        start = self.peak * (1 - self.warmup_steps / total)
        return [*self._warmup(), Piece(self.warmup_steps, max(total, self.warmup_steps), start, 0.0)]


class Constant(_Schedule):
    """Rise, then constant. More epochs repeat nothing."""

    schedule: Literal["constant"]

    def pieces(self, round_ends: Sequence[int]) -> list[Piece]:  # noqa: D102
        total = round_ends[-1]
        return [*self._warmup(), Piece(self.warmup_steps, max(total, self.warmup_steps), self.peak, self.peak)]


class WarmupStableDecay(_Schedule):
    """Rise, constant, and a linear fall to 0 over the last steps. More epochs repeat only the rounds of the fall."""

    schedule: Literal["warmup-stable-decay"]
    decay_steps: int = Field(ge=1, le=10**18)
    """Steps of the fall."""

    def least_steps(self) -> dict[str, int]:  # noqa: D102
        return super().least_steps() | {"warmup_steps and decay_steps, together": self.warmup_steps + self.decay_steps}

    def pieces(self, round_ends: Sequence[int]) -> list[Piece]:  # noqa: D102
        total = round_ends[-1]
        fall = max(self.warmup_steps, total - self.decay_steps)
        stable = Piece(self.warmup_steps, fall, self.peak, self.peak)
        return [*self._warmup(), stable, Piece(fall, max(total, fall), self.peak, 0.0)]


class Rounds(_Schedule):
    """The original's saw-tooth: each round restarts the line, which reaches 0 at the *round's* end."""

    schedule: Literal["rounds"]

    def pieces(self, round_ends: Sequence[int]) -> list[Piece]:  # noqa: D102
        teeth, begin = self._warmup(), self.warmup_steps
        for end in round_ends:
            if begin < end:
                teeth.append(Piece(begin, end, self.peak * (1 - begin / end), 0.0))
                begin = end
        return teeth


Schedule = Annotated[Linear | Constant | WarmupStableDecay | Rounds, Field(discriminator="schedule")]
