"""Statistics and what is said of them, on figures worked out by hand."""

import math
from typing import Any

import pytest

from bertline.report import findings, formats, scores
from bertline.report.collect import collect
from bertline.report.manifests import EvaluateResults
from bertline.report.scores import Comparison, Reading, Score


def score(model: str, epoch: int, time: float, accuracy: float, **changes: Any) -> Score:
    values: dict[str, Any] = {
        "task": "MNLI-m", "model": model, "epoch": epoch, "step": epoch * 10, "wall_clock_s": time, "planned": 1,
        "done": 1, "runs": 1, "n": 1, "accuracy": accuracy, "deviation": None, "examples": 10_000, "labels": 3,
        "majority": None, "collapsed": 0, "reason": "",
    }  # fmt: skip
    return Score(**values | changes)


def reading(model: str, accuracy: float, n: int = 1, seed_error: float | None = None, runs: int = 1) -> Reading:
    return Reading(model, accuracy, (10,), runs, n, sampling_error=0.005, seed_error=seed_error)


def said(better: Reading, worse: Reading) -> str:
    comparison = Comparison("MNLI-m", 3600.0, better, worse)
    return findings.sentence(comparison, "MNLI-m", formats.HOUR)


def test_binomial_and_student():
    one = score("6L", 10, 1.0, 0.64, n=4, deviation=0.01)
    assert one.sampling_error == pytest.approx(0.0048)
    assert one.half_width == pytest.approx(3.182 * 0.01 / 2)
    assert score("6L", 10, 1.0, 0.64).half_width is None


def test_compares_at_the_longest_wall_clock_that_both_reached():
    curves = [
        score("small", 10, 100.0, 0.60),
        score("deep", 10, 80.0, 0.61),
        score("small", 20, 200.0, 0.64),
        score("deep", 20, 160.0, 0.65),
    ]
    (found,) = scores.comparisons(curves)
    assert found.wall_clock_s == 160.0
    assert (found.better.model, found.better.accuracy, found.better.epochs) == ("deep", 0.65, (20,))
    assert found.worse.accuracy == pytest.approx(0.60 + 0.6 * 0.04)
    assert found.worse.epochs == (10, 20)


def test_no_comparison_before_a_models_first_milestone():
    assert scores.comparisons([score("small", 10, 100.0, 0.6), score("deep", 10, 50.0, 0.6)]) == []


def test_margin_of_single_seeds_is_the_sampling_error():
    comparison = Comparison("MNLI-m", 1.0, reading("a", 0.66), reading("b", 0.65))
    assert comparison.margin == pytest.approx(1.96 * math.sqrt(2) * 0.005)


def test_one_seed_never_gives_a_claim():
    assert "no difference can be claimed" in said(reading("6L", 0.656), reading("3L", 0.650))
    hint = said(reading("6L", 0.70), reading("3L", 0.60))
    assert "a hint, not a finding" in hint
    assert "is ahead" not in hint


def test_several_seeds_give_a_claim_only_beyond_the_margin():
    assert "no difference can be claimed" in said(reading("6L", 0.656, 5, 0.002), reading("3L", 0.650, 5, 0.002))
    one_run = said(reading("6L", 0.70, 5, 0.002), reading("3L", 0.60, 5, 0.002))
    assert "6L is ahead here" in one_run
    assert "not yet about sizes" in one_run
    several_runs = said(reading("6L", 0.70, 5, 0.002, runs=5), reading("3L", 0.60, 5, 0.002, runs=5))
    assert "not yet about sizes" not in several_runs


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (721, "721"),
        (999_999, "999,999"),
        (1_000_000, "1.00 M"),
        (51_712_345, "51.7 M"),
        (512_345_678, "512 M"),
        (999_999_999, "1.00 Bn"),
        (2_171_234_567, "2.17 Bn"),
        (131_072_000_000, "131 Bn"),
        (None, "–"),
    ],
)
def test_counts(number: int | None, text: str):
    assert formats.count(number) == text


@pytest.mark.parametrize(("longest", "name"), [(0, "s"), (599, "s"), (600, "min"), (88_350, "h"), (10**6, "d")])
def test_time_units(longest: float, name: str):
    assert formats.time_unit(longest).name == name


def confusion(*rows: tuple[int, ...]) -> EvaluateResults:
    correct = sum(row[place] for place, row in enumerate(rows))
    values = {"task": "MNLI-m", "labels": ["a", "b", "c"], "loss": 1.0, "train_examples": 10, "dropped": 0}
    examples = sum(map(sum, rows))
    return EvaluateResults(**values, examples=examples, correct=correct, accuracy=correct / examples, confusion=rows)


def test_one_class_for_all_examples_is_told_apart_from_a_poor_model():
    collapsed, poor = confusion((35, 0, 0), (33, 0, 0), (32, 0, 0)), confusion((30, 5, 0), (33, 0, 0), (28, 0, 4))
    assert (collapsed.is_collapsed, collapsed.majority, collapsed.accuracy) == (True, 0.35, 0.35)
    assert (poor.is_collapsed, poor.majority, poor.accuracy) == (False, 0.35, 0.34)
    before = EvaluateResults(**collapsed.model_dump(exclude={"confusion"}))
    assert (before.is_collapsed, before.majority) == (False, None)


def test_accuracies_that_say_nothing_are_named(fill):
    filled = fill()
    collected = collect(filled.store, filled.reference)
    found = findings.of_worthless_scores(
        collected,
        [
            score("6L", 10, 1.0, 0.35, done=3, majority=0.35, collapsed=2),
            score("3L", 10, 1.0, 0.34, majority=0.35),
            score("3L", 20, 1.0, 0.36, majority=0.35),
            score("6L", 20, 1.0, 0.34),
        ],
    )
    assert [sentence.partition(" on ")[0] for sentence in found] == ["6L at epoch 10", "3L at epoch 10"]
    assert "2 of 3 fine-tunings predicted one class" in found[0]
    assert "34.0 % isn't above the largest class" in found[1]
