"""What a plan will take where nothing like it was run: by tables or unknown, always with reason and range."""

import json
import math

import pytest

from bertline.experiment.specs import Model
from bertline.models import sizes
from bertline_pipelines.estimates import devices
from bertline_pipelines.estimates.baselines import POD_S, PROCESS_S, TENSORFLOW_S, Range
from bertline_pipelines.estimates.devices import Device
from support.original_experiment import document, graph_of

CPU, GPU = Device(2), Device(6, "1080 Ti", 1)
BERT_MINI = {"layers": 4, "batch_size": 64}


def work(task):
    """Of a task's seconds those that aren't start-up."""
    return Range(task.seconds.low - task.start_up.low, task.seconds.high - task.start_up.high)


def about(seconds):
    return pytest.approx((seconds.low, seconds.high))


def ends(seconds):
    return seconds.low, seconds.high


@pytest.mark.parametrize(
    ("layers", "pieces", "encoder"),
    [(3, 30_522, 10_380_800), (4, 30_522, 11_170_560), (6, 30_522, 12_750_080), (6, 119_547, 35_540_480)],
)
def test_parameters_are_those_of_the_original(layers, pieces, encoder):
    found = sizes.parameters(Model(layers=layers, batch_size=64), pieces)
    assert found["encoder"] == encoder
    assert found["heads"] == 97_340 + (pieces - 30_522)
    assert found["total"] == found["encoder"] + found["heads"]


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.slow
@pytest.mark.parametrize("next_sentence", [True, False])
def test_shapes_give_what_training_would_make(next_sentence, tmp_path):
    from bertline.experiment.specs import Optimizer
    from bertline.models import encoders
    from bertline.pretrain.trainer import Trainer

    model = Model(layers=2, batch_size=4, hidden=24, heads=3, intermediate=40, max_positions=20)
    trainer = Trainer(model, Optimizer(), 111, next_sentence=next_sentence, seed=1)
    assert sizes.parameters(model, 111, next_sentence=next_sentence) == trainer.parameters()
    paths = [tmp_path / name for name in ("encoder", "state")]
    for path, variables in zip(paths, (trainer.encoder_variables, trainer.state), strict=True):
        encoders.save(path, encoders.arrays(variables))
    # a file is a header of JSON, led by its length, and the bare numbers
    headers = sum(8 + int.from_bytes(path.read_bytes()[:8], "little") for path in paths)
    written = sum(path.stat().st_size for path in paths) - headers
    assert written == sizes.checkpoint_bytes(model, 111, next_sentence=next_sentence)


def test_the_originals_experiment_takes_what_the_original_took(estimate):
    tasks, whole = estimate(graph_of(), pretrain=Device(6, "1080 Ti", 1, price=0.5))
    # 5 rounds of 100,000 steps of either model: 20.9 h and 24.5 h, start-up comes on top
    assert work(tasks["6L-pretrain-10"]).low == pytest.approx(75_240 / 5)
    assert work(tasks["3L-pretrain-50"]).low == pytest.approx(88_350 / 5)
    assert tasks["6L-pretrain-10"].start_up == PROCESS_S + TENSORFLOW_S
    assert "GTX 1080 Ti" in tasks["6L-pretrain-10"].basis
    assert 45.4 < whole.gpu_hours.low < whole.gpu_hours.high < 46
    assert ends(whole.cost) == about(whole.gpu_hours * 0.5)
    assert whole.steps == 1_000_000
    # 12 bytes a weight: itself and two slots
    six, three = 12 * (12_750_080 + 97_340), 12 * (10_380_800 + 97_340)
    assert tasks["6L-pretrain-10"].written == six
    assert whole.rolling_peak == 2 * (six + three)
    # 2.17 Bn words, 51.7 M examples, 832 bytes each, 115,000 words a second with two workers
    assert tasks["corpus"].written == pytest.approx(51.7e6 * 832.5, rel=1e-3)
    assert work(tasks["corpus"]).low == pytest.approx(2.17e9 / 115_000)
    assert "enwiki-20200301" in tasks["corpus"].basis
    assert whole.written == pytest.approx(5 * (six + three) + tasks["corpus"].written)


def test_other_gpus_have_their_own_hours_and_a_range_whose_assumption_is_said(estimate):
    hours = {}
    for gpu in ("1080 Ti", "L4", "A100"):
        tasks, whole = estimate(graph_of(), pretrain=Device(6, gpu, 1))
        hours[gpu] = whole.gpu_hours
        assert ("not measured" in tasks["6L-pretrain-10"].basis) == (gpu != "1080 Ti")
    assert hours["L4"].high > 5 * hours["L4"].low
    assert hours["L4"].low < hours["1080 Ti"].low < hours["L4"].high  # more FLOP/s, slower memory
    assert hours["A100"].high < hours["1080 Ti"].low / 2
    assert hours["A100"].high > 3 * hours["A100"].low


def test_a_gpu_that_no_table_knows_is_unknown(estimate):
    tasks, whole = estimate(graph_of(), pretrain=Device(6, devices.UNKNOWN, 1, price=2.0))
    assert tasks["6L-pretrain-10"].seconds is None
    assert "node_selector" in tasks["6L-pretrain-10"].basis
    assert len([name for name in whole.unknown if "pretrain" in name]) == 10
    assert ends(whole.gpu_hours) == ends(whole.cost) == (0, math.inf)


def test_without_a_gpu_the_baseline_on_two_cores_counts(estimate):
    tasks, whole = estimate(graph_of())
    sequences = 100_000 * 64
    found = work(tasks["6L-pretrain-10"])
    assert found.low == pytest.approx(sequences / 20.7)
    assert found.high == pytest.approx(sequences / 9.0, rel=0.01)  # and held-out losses
    assert "README" in tasks["6L-pretrain-10"].basis
    evaluation = tasks["6L-evaluate-10-MNLI-m"]
    assert ends(work(evaluation)) == pytest.approx((3 * 392_702 / 40.6, 3 * 392_702 / 24.9))
    assert "392,702" in evaluation.basis
    assert ends(whole.gpu_hours) == (0, 0)
    assert whole.cost is None
    assert whole.cpu_hours.low > 2 * 5 * sequences / 31 / 3600


def test_more_threads_may_help_and_fewer_are_slower(estimate):
    two, six = (estimate(graph_of(), pretrain=Device(n))[0]["6L-pretrain-10"] for n in (2, 6))
    assert work(six).low == pytest.approx(work(two).low / 3)
    assert work(six).high == work(two).high


def test_what_nothing_is_known_of_is_unknown_and_sums_without_it_have_no_end(estimate):
    graph = graph_of(
        corpus={"dump": "https://example.org/some.xml.bz2"},
        models={"4L": BERT_MINI},
        vocabulary={"train": {"size": 30522}, "lower_case": True},
    )
    tasks, whole = estimate(graph)
    assert set(whole.unknown) == {"vocabulary", "corpus"}
    assert set(whole.unknown_written) == {"corpus"}
    assert whole.cpu_hours.low > 0
    for hours in (whole.cpu_hours, whole.chain_hours, whole.hours(2)):
        assert math.isinf(hours.high)
        assert hours.document()["high"] is None
    assert all(tasks[name].basis.startswith("unknown: ") for name in whole.unknown)
    assert "words of some.xml.bz2" in tasks["corpus"].basis


@pytest.mark.parametrize(
    "changes",
    [
        {"vocabulary": {"train": {"size": 3000}, "lower_case": True}},
        {"corpus": document()["corpus"] | {"sequence_length": 64}},
        {"models": {"6L": {"layers": 6, "batch_size": 32}}},
        {"models": {"6L": {"layers": 6, "batch_size": 64, "hidden": 512}}},
    ],
    ids=["vocabulary", "length", "batch", "width"],
)
def test_other_shapes_are_reckoned_from_their_flops(changes, estimate):
    for device in (CPU, GPU):
        tasks, _ = estimate(graph_of(**changes), pretrain=device)
        found = tasks["6L-pretrain-10"]
        assert found.basis.startswith("reckoned: ")
        assert work(found).high > 2 * work(found).low > 0


def test_a_vocabulary_on_this_machine_is_counted(estimate, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(map(str, range(1000))))  # without a newline at the end
    tasks, _ = estimate(graph_of(vocabulary={"file": str(path), "lower_case": True}))
    expected = sizes.checkpoint_bytes(Model(layers=6, batch_size=64), 1000)
    assert tasks["6L-pretrain-10"].written == expected


def test_a_pod_starts_slowly_and_stages_the_corpus(estimate):
    here, _ = estimate(graph_of())
    pod = Device(2, is_pod=True)
    there, whole = estimate(graph_of(), pod, pod, pod)
    assert there["report"].seconds.low - here["report"].seconds.low == POD_S.low - PROCESS_S.low
    # 43 GB at 50 to 300 MB/s
    assert there["6L-pretrain-10"].start_up.low > POD_S.low + 43e9 / 300e6
    assert there["6L-pretrain-10"].start_up.high > POD_S.high + 43e9 / 50e6
    assert whole.start_up_hours.low > 10 * 43e9 / 300e6 / 3600


def test_several_at_once_take_between_the_longest_chain_and_all_of_them(estimate):
    _, whole = estimate(graph_of(), GPU)
    one, two, many = whole.hours(1), whole.hours(2), whole.hours(1000)
    assert ends(one) == about(whole.gpu_hours + whole.cpu_hours)
    assert one.low > two.low > many.low == whole.chain_hours.low
    assert one.high >= two.high > many.high > whole.chain_hours.high
    # vocabulary, corpus, 5 rounds of the slower model, its last evaluation
    assert 24.5 < whole.chain_hours.low < 24.5 + 20


def test_money_is_by_gpu_and_has_a_currency(estimate):
    _, one = estimate(graph_of(), pretrain=Device(6, "1080 Ti", 1, price=1.2), currency="EUR")
    _, two = estimate(graph_of(), pretrain=Device(6, "1080 Ti", 2, price=1.2))
    assert two.gpu_hours.low == pytest.approx(2 * one.gpu_hours.low)
    assert ends(one.cost) == about(one.gpu_hours * 1.2)
    assert ends(two.cost) == about(two.gpu_hours * 1.2)
    assert (one.document()["currency"], two.document()["currency"]) == ("EUR", "USD")
    _, free = estimate(graph_of(), pretrain=Device(6, "1080 Ti", 1))
    assert free.document()["cost"] is free.document()["currency"] is None


def test_it_is_one_json_document_and_writes_nothing(estimate, store):
    _, whole = estimate(graph_of(), pretrain=Device(6, "1080 Ti", 1, price=1.0))
    found = json.loads(json.dumps(whole.document(), allow_nan=False))
    assert found["gpu_hours"]["low"] == pytest.approx(45.47, abs=0.01)
    assert found["cost"] == pytest.approx(found["gpu_hours"])
    assert found["unknown"] == []
    task = next(task for task in found["tasks"] if task["name"] == "6L-pretrain-10")
    assert task["seconds"]["low"] == pytest.approx(15_048 + task["start_up"]["low"])
    assert (task["gpu"], task["steps"], task["bytes"]) == (True, 100_000, 154_169_040)
    assert not list(store.list(""))
