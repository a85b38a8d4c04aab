"""Accuracies with their uncertainty, from single fine-tunings, and comparisons of models.

Two sources of error are kept apart:

* The *spread* over seeds. Its unit is the pre-training run, each averaged over its fine-tunings, if there are several
  runs of a model; otherwise it is the fine-tuning, and then says nothing about another pre-training. The 95 %
  confidence interval is Student's, so two seeds give a wide one.
* The *sampling error* of the dev set: with p of n examples right, the binomial standard error is sqrt(p (1 - p) / n).
  More seeds don't shrink it, because they are all measured on the same examples.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bertline.report.collect import Collected
from bertline.report.manifests import EvaluateManifest, PretrainManifest

NORMAL = 1.96
"""Two-sided 95 % quantile of the normal distribution."""

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Score:
    """Accuracy of one model at one milestone on one task, over all seeds that are done."""

    task: str
    model: str
    epoch: int
    step: int | None
    """None if no fine-tuning is done."""
    wall_clock_s: float | None
    """Seconds of pre-training, mean over these runs; None if it wasn't measured."""
    planned: int
    """Number of planned fine-tunings."""
    done: int
    runs: int
    """Pre-training runs among those done."""
    n: int
    """Units of the spread: runs if there are several, otherwise fine-tunings."""
    accuracy: float | None
    deviation: float | None
    """Standard deviation over the units; None for a single one."""
    examples: int | None
    labels: int | None
    majority: float | None
    """Share of the dev set's largest class; None means not known."""
    collapsed: int
    """Fine-tunings that predict one class for all examples."""
    reason: str
    """Why something is missing."""

    @property
    def sampling_error(self) -> float | None:
        """Binomial standard error."""
        if self.accuracy is None or self.examples is None:
            return None
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.examples)

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % confidence interval of the mean over seeds; None for a single seed."""
        return None if self.deviation is None else student(self.n - 1) * self.deviation / math.sqrt(self.n)


@dataclass(frozen=True)
class Loss:
    """Held-out MLM loss of one model after one epoch, mean over its runs."""

    model: str
    epoch: int
    step: int
    wall_clock_s: float
    loss: float
    n: int


@dataclass(frozen=True)
class Reading:
    """A model's accuracy at a given wall-clock, on the straight line between two milestones or at one."""

    model: str
    accuracy: float
    epochs: tuple[int, ...]
    """The milestone, or the two that it lies between."""
    runs: int
    n: int
    sampling_error: float
    seed_error: float | None
    """Standard error of the mean over seeds; None for a single one."""


@dataclass(frozen=True)
class Comparison:
    """Two models at the longest wall-clock that both reached, the better one first."""

    task: str
    wall_clock_s: float
    better: Reading
    worse: Reading

    @property
    def difference(self) -> float:
        """Difference of the accuracies."""
        return self.better.accuracy - self.worse.accuracy

    @property
    def seeds_known(self) -> bool:
        """True if both have a spread over seeds."""
        return self.better.seed_error is not None and self.worse.seed_error is not None

    @property
    def margin(self) -> float:
        """Largest difference of two equal models by chance (95 %), from sampling error and, if known, seeds' error."""
        sampling = NORMAL * math.hypot(self.better.sampling_error, self.worse.sampling_error)
        if self.better.seed_error is None or self.worse.seed_error is None:
            return sampling
        quantile = student(min(self.better.n, self.worse.n) - 1)  # the cautious choice of degrees of freedom
        return math.hypot(sampling, quantile * math.hypot(self.better.seed_error, self.worse.seed_error))


def student(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; beyond the table the value of its last row, which is larger."""
    return STUDENT[min(freedom, len(STUDENT)) - 1]


def scores(collected: Collected) -> list[Score]:
    """Scores for each task, epoch and model."""
    return [
        _score(collected, task, model, epoch)
        for task in collected.experiment.evaluate.tasks
        for epoch in collected.experiment.pretrain.round_ends
        for model in collected.experiment.models
    ]


def losses(collected: Collected) -> list[Loss]:
    """Losses for each model and epoch whose wall-clock and held-out loss are known."""
    found: dict[tuple[str, int], list[tuple[int, float, float]]] = {}
    for item in collected.of(PretrainManifest):
        times = item.manifest.measurements.epoch_wall_clock_s if item.manifest else None
        if item.manifest is None or times is None:
            continue
        for epoch, time in zip(item.manifest.results.epochs, times, strict=True):
            if epoch.held_out:
                figures = (epoch.step, time, epoch.held_out.mlm_loss)
                found.setdefault((item.node.model, epoch.epoch), []).append(figures)
    return [
        Loss(
            model,
            epoch,
            step=figures[0][0],
            wall_clock_s=statistics.fmean(time for _, time, _ in figures),
            loss=statistics.fmean(loss for _, _, loss in figures),
            n=len(figures),
        )
        for (model, epoch), figures in found.items()
    ]


def comparisons(scored: Sequence[Score]) -> list[Comparison]:
    """A comparison for each task and each pair of models whose wall-clocks overlap."""
    curves: dict[str, dict[str, list[Score]]] = {}
    for score in scored:
        if score.accuracy is not None and score.wall_clock_s is not None:
            curves.setdefault(score.task, {}).setdefault(score.model, []).append(score)
    found = []
    for task, by_model in curves.items():
        for one, other in itertools.combinations(by_model.values(), 2):
            time = min(_time(one[-1]), _time(other[-1]))
            readings = [_read(one, time), _read(other, time)]
            if readings[0] and readings[1]:
                better, worse = sorted(filter(None, readings), key=lambda reading: -reading.accuracy)
                found.append(Comparison(task, time, better, worse))
    return found


def _score(collected: Collected, task: str, model: str, epoch: int) -> Score:
    planned = 0
    reasons: list[str] = []
    accuracies: list[list[float]] = []
    times: list[float | None] = []
    step = examples = labels = majority = None
    collapsed = 0
    for pretrained in collected.of(PretrainManifest, model=model, epoch=epoch):  # one a run
        evaluations = collected.of(EvaluateManifest, run=pretrained.node.run, epoch=epoch, glue_task=task)
        planned += len(evaluations)
        reasons += [item.reason for item in evaluations if item.reason]
        manifests = [item.manifest for item in evaluations if item.manifest]
        if not manifests:
            continue
        accuracies.append([manifest.results.accuracy for manifest in manifests])
        examples, labels = manifests[0].results.examples, len(manifests[0].results.labels)
        majority = manifests[0].results.majority
        collapsed += sum(manifest.results.is_collapsed for manifest in manifests)
        if pretrain := pretrained.manifest:
            step = pretrain.results.step
            times.append(pretrain.measurements.wall_clock_s)
    units = (
        [statistics.fmean(of_run) for of_run in accuracies]
        if len(accuracies) > 1
        else list(itertools.chain(*accuracies))
    )
    known = [time for time in times if time is not None]
    return Score(
        task=task,
        model=model,
        epoch=epoch,
        step=step,
        wall_clock_s=statistics.fmean(known) if known and len(known) == len(accuracies) else None,
        planned=planned,
        done=sum(len(of_run) for of_run in accuracies),
        runs=len(accuracies),
        n=len(units),
        accuracy=statistics.fmean(units) if units else None,
        deviation=statistics.stdev(units) if len(units) > 1 else None,
        examples=examples,
        labels=labels,
        majority=majority,
        collapsed=collapsed,
        reason=", ".join(sorted(set(reasons))),
    )


def _time(score: Score) -> float:
    assert score.wall_clock_s is not None
    return score.wall_clock_s


def _read(curve: Sequence[Score], time: float) -> Reading | None:
    """A model's accuracy at one time, interpolated between milestones; None before the first one."""
    after = next((i for i, score in enumerate(curve) if _time(score) >= time), None)
    if after is None or (after == 0 and _time(curve[0]) > time):
        return None
    right = curve[after]
    left = right if _time(right) == time else curve[after - 1]
    share = 0.0 if left is right else (time - _time(left)) / (_time(right) - _time(left))

    def between(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else (1 - share) * one + share * other

    accuracy = between(left.accuracy, right.accuracy)
    # The two milestones share the dev set and the seeds, so their errors aren't treated as independent.
    sampling_error = between(left.sampling_error, right.sampling_error)
    assert accuracy is not None
    assert sampling_error is not None
    return Reading(
        model=right.model,
        accuracy=accuracy,
        epochs=(right.epoch,) if left is right else (left.epoch, right.epoch),
        runs=min(left.runs, right.runs),
        n=min(left.n, right.n),
        sampling_error=sampling_error,
        seed_error=between(_seed_error(left), _seed_error(right)),
    )


def _seed_error(score: Score) -> float | None:
    return None if score.deviation is None else score.deviation / math.sqrt(score.n)
