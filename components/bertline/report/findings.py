"""Conclusions in sentences that claim no more than the numbers support."""

from collections.abc import Sequence

from bertline.plurals import counted
from bertline.report import formats
from bertline.report.collect import Collected
from bertline.report.formats import TimeUnit
from bertline.report.manifests import PretrainManifest
from bertline.report.samples import label_of
from bertline.report.scores import NORMAL, Comparison, Reading, Score


def of_comparisons(collected: Collected, comparisons: Sequence[Comparison], unit: TimeUnit) -> list[str]:
    """One to three sentences for each pair of models."""
    return [sentence(comparison, label_of(comparison.task, collected.experiment), unit) for comparison in comparisons]


def of_sampling(collected: Collected, scores: Sequence[Score]) -> list[str]:
    """For each task, the smallest difference that can be claimed."""
    sentences = []
    for task in collected.experiment.evaluate.tasks:
        errors = [score for score in scores if score.task == task and score.sampling_error is not None]
        if not errors:
            continue
        worst = max(errors, key=lambda score: score.sampling_error or 0)
        assert worst.sampling_error is not None
        sentences.append(
            f"{label_of(task, collected.experiment)} has {formats.integer(worst.examples)} dev examples, all of them "
            f"counted: one binomial standard error is {formats.decimal(100 * worst.sampling_error, 2)} points. Between "
            f"two single evaluations, differences below 1.96 × √2 × that, "
            f"{formats.points(NORMAL * 2**0.5 * worst.sampling_error)} points, can't be claimed."
        )
    return sentences


def of_worthless_scores(collected: Collected, scores: Sequence[Score]) -> list[str]:
    """Accuracies that say nothing about a model: one class for all examples, or not above the largest class."""
    sentences = []
    for score in scores:
        where = f"{score.model} at epoch {score.epoch} on {label_of(score.task, collected.experiment)}"
        if score.collapsed:
            runs = f"{score.collapsed} of {counted(score.done, 'fine-tuning')}" if score.done > 1 else "the fine-tuning"
            sentences.append(f"{where}: {runs} predicted one class for all examples.")
        elif score.accuracy is not None and score.majority is not None and score.accuracy <= score.majority:
            sentences.append(
                f"{where}: {formats.percent(score.accuracy)} isn't above the largest class, which "
                f"{formats.percent(score.majority)} of the examples belong to."
            )
    return sentences


def of_lost_time(collected: Collected) -> str:
    """How much training was repeated after restarts; empty if not known."""
    measured = [item.manifest.measurements for item in collected.of(PretrainManifest) if item.manifest]
    known = [m for m in measured if m.lost_s is not None and m.round_wall_clock_s is not None]
    if not known:
        return ""
    lost = sum(m.lost_s or 0 for m in known)
    useful = sum(m.round_wall_clock_s or 0 for m in known)
    restarts = sum((m.attempts or 1) - 1 for m in known)
    if not restarts and not lost:
        return "No round was restarted; no training was lost."
    share = useful / (useful + lost) if useful + lost else 1.0
    cost = formats.time_unit(lost).spoken(lost)
    return (
        f"{restarts} restart{'' if restarts == 1 else 's'} cost {cost} of repeated training: "
        f"{formats.percent(share)} of the training time was useful."
    )


def of_completeness(collected: Collected) -> str:
    """How much of the experiment is done."""
    items = collected.realizations()
    gaps = collected.gaps()
    if not gaps:
        return f"Complete: all {len(items)} realizations are done."
    return f"Not complete: {len(items) - len(gaps)} of {len(items)} realizations are done; gaps say why."


def sentence(comparison: Comparison, label: str, unit: TimeUnit) -> str:
    """The sentence about one pair of models."""
    better, worse = comparison.better, comparison.worse
    where = f"{label}, after {unit.spoken(comparison.wall_clock_s)} of pre-training, the longest that both reached: "
    standing = f"{_standing(better)}, {_standing(worse)}"
    difference, margin = formats.points(comparison.difference), formats.points(comparison.margin)
    beyond = comparison.difference > comparison.margin
    return f"{where}{standing}. The difference is {difference} points. " + (
        _with_seeds(comparison, margin, beyond)
        if comparison.seeds_known
        else _without_seeds(comparison, margin, beyond)
    )


def _standing(reading: Reading) -> str:
    epochs = " and ".join(map(str, reading.epochs))
    place = f"at epoch {epochs}" if len(reading.epochs) == 1 else f"interpolated between epochs {epochs}"
    return f"{reading.model} {formats.percent(reading.accuracy)} ({place})"


def _with_seeds(comparison: Comparison, margin: str, beyond: bool) -> str:
    counts = f"n = {comparison.better.n} and {comparison.worse.n}"
    if not beyond:
        return (
            f"The spread over seeds ({counts}) and the dev set's sampling error together allow {margin} points between "
            "equal models, so no difference can be claimed."
        )
    one_run = comparison.better.runs == 1 or comparison.worse.runs == 1
    return (
        f"That is more than the {margin} points that the spread over seeds ({counts}) and the dev set's sampling error "
        f"together allow between equal models (95 %): {comparison.better.model} is ahead here."
        + (" One pre-training seed stands for a model, so this is about these runs, not yet about sizes." * one_run)
    )


def _without_seeds(comparison: Comparison, margin: str, beyond: bool) -> str:
    if not beyond:
        return (
            f"The dev set's sampling error alone allows {margin} points between equal models, and the spread between "
            "seeds, which isn't known from one seed, comes on top: no difference can be claimed."
        )
    return (
        f"That is more than the {margin} points that the dev set's sampling error alone allows between equal models "
        "(95 %), but the spread between seeds isn't known from one seed: a hint, not a finding."
    )
