import pytest

from bertline.experiment.schedules import Constant, Linear, Rounds, WarmupStableDecay

ENDS = [100, 200, 300]


def rates(schedule, ends):
    """The learning rate of every step, put together round by round."""
    found = []
    for begin, end in zip([0, *ends], ends, strict=False):
        for piece in schedule.of_round(begin, end, ends):
            found += [piece.at(step) for step in range(piece.begin, piece.end)]
    return found


def every_schedule():
    shared = {"peak": 1e-3, "warmup_steps": 50}
    yield Linear(schedule="linear", **shared)
    yield Constant(schedule="constant", **shared)
    yield WarmupStableDecay(schedule="warmup-stable-decay", decay_steps=80, **shared)
    yield Rounds(schedule="rounds", **shared)


@pytest.mark.parametrize("schedule", list(every_schedule()), ids=lambda schedule: schedule.schedule)
def test_every_step_has_one_learning_rate_and_rounds_join(schedule):
    found = rates(schedule, ENDS)
    assert len(found) == 300
    assert found == pytest.approx(rates(schedule, [300]), rel=1e-12) or schedule.schedule == "rounds"
    assert found[0] == 0
    assert found[25] == pytest.approx(5e-4)
    assert max(found) <= 1e-3


def test_linear_is_berts_line_to_zero():
    found = rates(Linear(schedule="linear", peak=1e-3, warmup_steps=50), ENDS)
    assert found[50] == pytest.approx(1e-3 * (1 - 50 / 300))  # as BERT's: the line starts at step 0
    assert found[299] == pytest.approx(1e-3 / 300)


def test_rounds_is_the_originals_saw_tooth():
    """Defect 1 of the original: round k starts at peak / k and falls to 0."""
    found = rates(Rounds(schedule="rounds", peak=2e-5, warmup_steps=0), ENDS)
    assert [found[step] for step in (0, 100, 200)] == pytest.approx([2e-5, 1e-5, 2e-5 / 3])
    assert found[99] < 1e-6
    assert found[199] < 1e-6


def test_warmup_stable_decay_falls_to_zero_at_the_end():
    found = rates(WarmupStableDecay(schedule="warmup-stable-decay", peak=1.0, warmup_steps=50, decay_steps=100), ENDS)
    assert found[50:200] == [1.0] * 150
    assert found[250] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("schedule", "kept"),
    [
        (Constant(schedule="constant", warmup_steps=50), 3),
        (WarmupStableDecay(schedule="warmup-stable-decay", warmup_steps=50, decay_steps=80), 2),
        (Rounds(schedule="rounds", warmup_steps=50), 3),
        (Linear(schedule="linear", warmup_steps=50), 0),
    ],
    ids=lambda value: getattr(value, "schedule", ""),
)
def test_more_epochs_change_only_the_rounds_whose_learning_rates_change(schedule, kept):
    longer = [*ENDS, 400]
    same = [
        schedule.of_round(begin, end, ENDS) == schedule.of_round(begin, end, longer)
        for begin, end in zip([0, *ENDS], ENDS, strict=False)
    ]
    assert same == [True] * kept + [False] * (3 - kept)


def test_a_warm_up_longer_than_the_experiment_is_cut():
    assert rates(Constant(schedule="constant", peak=1.0, warmup_steps=600), ENDS)[-1] == pytest.approx(299 / 600)
