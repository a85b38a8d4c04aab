"""What a plan will take: from manifests, else from tables, else unknown, and always with its reason and its range."""

import json
import math
from pathlib import Path

import pytest

import bertline_pipelines
from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment import specs
from bertline.experiment.specs import Experiment, Model
from bertline.models import sizes
from bertline.pretrain.config import PretrainConfig
from bertline.store.backends import connect
from bertline.store.realizations import Outcome, realize
from bertline_pipelines.estimates import devices, totals
from bertline_pipelines.estimates.baselines import POD_S, PROCESS_S, TENSORFLOW_S, Range
from bertline_pipelines.estimates.devices import Device
from bertline_pipelines.places import profiles
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.stages import STAGES

RECORDED = json.loads((Path(__file__).parents[1] / "support" / "recorded" / "nano.json").read_text())
"""What nano's tasks took in one real run: two virtual x86-64 cores, one task on each, nothing beside it."""

CPU, GPU = Device(2), Device(6, "1080 Ti", 1)
MNLI = {"url": "https://example.org/train.tsv", "sha256": "a" * 64}
BERT_MINI = {"layers": 4, "batch_size": 64}


def document(**changes):
    """The original experiment, with a vocabulary of as many pieces."""
    return {
        "name": "original",
        "corpus": {"dump": "https://dumps.example.org/enwiki-20261101-pages-articles.xml.bz2", "duplicates": 2},
        "vocabulary": {"train": {"size": 30522}, "lower_case": True},
        "models": {"3L": {"layers": 3, "batch_size": 128}, "6L": {"layers": 6, "batch_size": 64}},
        "pretrain": {"epochs": 50, "learning_rate": {"schedule": "constant"}},
        "evaluate": {"tasks": {"MNLI-m": {"train": MNLI, "dev": MNLI}}},
    } | changes


def graph_of(**changes):
    return unrolling.build(Experiment.model_validate(document(**changes)))


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


@pytest.fixture
def estimate(store):
    """The tasks by name, and the whole estimate."""

    def run(graph, pretrain=CPU, evaluate=CPU, other=CPU, **options):
        at = dict.fromkeys([stage.name for stage in STAGES], other) | {"pretrain": pretrain, "evaluate": evaluate}
        found = totals.estimate(plans.plan(graph, store), store, at, **options)
        return {each.task.name: each for each in found.tasks}, found

    return run


def finish(store, config, results=None, size=0, **measurements):
    def build(work):
        if size:
            (work.payload / "payload").write_bytes(bytes(size))
        return Outcome(results or {}, measurements)

    return realize(store, config.derivation(), build)


def milestone(store, config, rate, gpu=None):
    """A round that was trained at a rate; with a start-up of ten seconds."""
    seconds = (config.end_step - config.begin_step) * config.model.batch_size / rate
    measured = {"sequences_per_s": rate, "gpu_present": int(gpu is not None), "round_wall_clock_s": seconds}
    finish(store, config, {"vocabulary_size": 30522}, **measured)
    change_provenance(store, config, gpu=gpu)
    took(store, config, seconds + 10)


def change_provenance(store, config, **values):
    name = f"{config.derivation().prefix}manifest.json"
    content = json.loads(store.get(name)[0])
    content["provenance"] |= values
    store.put(name, json.dumps(content).encode())


def took(store, config, seconds):
    """Let the attempt at a result have taken so long."""
    name = f"{config.derivation().prefix}attempts/0001.jsonl"
    first, *others = map(json.loads, store.get(name)[0].splitlines())
    others[-1]["time"] = first["time"] + seconds
    store.put(name, "".join(f"{json.dumps(event)}\n" for event in (first, *others)).encode())


def work(task):
    """Of a task's seconds those that aren't start-up."""
    return Range(task.seconds.low - task.start_up.low, task.seconds.high - task.start_up.high)


def about(seconds):
    return pytest.approx((seconds.low, seconds.high))


def ends(seconds):
    return seconds.low, seconds.high


# Shapes


@pytest.mark.parametrize(
    ("layers", "pieces", "encoder"),
    [(3, 30_522, 10_380_800), (4, 30_522, 11_170_560), (6, 30_522, 12_750_080), (6, 119_547, 35_540_480)],
)
def test_parameters_are_those_of_the_original(layers, pieces, encoder):
    found = sizes.parameters(Model(layers=layers, batch_size=64), pieces)
    assert found["encoder"] == encoder
    assert found["heads"] == 97_340 + (pieces - 30_522)
    assert found["total"] == found["encoder"] + found["heads"]


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


# Without precedent


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


# What a real run took


def nano(**evaluate):
    experiment = specs.load(bertline_pipelines.experiment_files() / "nano.yaml")
    return unrolling.build(experiment.model_copy(update={"evaluate": experiment.evaluate.model_copy(update=evaluate)}))


def record(store, *left_out):
    """Nano's results as they were measured."""
    configs = {task.name: task.configs[0] for task in plans.plan(nano(), store).tasks}
    for each in RECORDED:
        if each["task"] not in left_out:
            config = configs[each["task"]]
            finish(store, config, each["results"], **each["measurements"])
            took(store, config, each["seconds"])


def test_nano_on_a_machine_without_precedents_takes_about_what_it_took(estimate):
    tasks, whole = estimate(nano(), *[Device(1)] * 3)
    assert whole.unknown == ()
    for each in RECORDED:
        found = tasks[each["task"]].seconds
        assert found.low < each["seconds"] + 2 < found.high, each  # two seconds of the process itself
        assert found.high < 6 * found.low, each
        if rate := each["measurements"].get("sequences_per_s"):
            training = each["measurements"].get("round_wall_clock_s") or 2 * each["results"]["train_examples"] / rate
            assert 0.95 * work(tasks[each["task"]]).low < training < work(tasks[each["task"]]).high, each
    total = sum(each["seconds"] + 2 for each in RECORDED)
    assert whole.cpu_hours.low * 3600 < total < whole.cpu_hours.high * 3600
    hours = whole.hours(2)
    assert hours.low * 3600 < 168 < hours.high * 3600  # what `bertline run` took with two tasks side by side


@pytest.mark.parametrize("name", [each["task"] for each in RECORDED])
def test_what_others_of_its_kind_took_foretells_a_task(name, estimate, store):
    record(store, name)
    tasks, _ = estimate(nano(), *[Device(1)] * 3)
    [actual] = [each["seconds"] + 2 for each in RECORDED if each["task"] == name]
    found = tasks[name].seconds
    assert found.low / 1.5 < actual < found.high * 1.5  # equal tasks differ so much by what runs beside them


def test_one_more_epoch_of_fine_tuning_costs_start_up_again(estimate, store):
    record(store)
    tasks, whole = estimate(nano(epochs=3))
    assert len(tasks) == 7
    found = tasks["2L-evaluate-1-sample-nli"]
    # measured: 18 to 28 s in all, 4 to 8 s of them training for two epochs
    assert found.start_up.low > 9
    assert ends(work(found)) == pytest.approx((3 * 4002 / 1859.474, 3 * 4002 / 948.854), rel=1e-3)
    assert whole.cpu_hours.low * 3600 > 6 * 15


# From what was measured


def test_milestones_of_the_same_shape_beat_any_table(estimate, store):
    graph = graph_of()
    rounds = graph.configs(PretrainConfig, run="6L")
    milestone(store, rounds[0], 1000.0, gpu="NVIDIA L4")
    milestone(store, rounds[1], 2000.0, gpu="NVIDIA L4")
    milestone(store, rounds[2], 10.0)
    tasks, whole = estimate(graph, pretrain=Device(6, "L4", 1))
    assert {"6L-pretrain-10", "6L-pretrain-20", "6L-pretrain-30"}.isdisjoint(tasks)
    found = tasks["6L-pretrain-40"]
    assert ends(work(found)) == pytest.approx((3200, 6400))
    assert ends(found.start_up) == pytest.approx((10 + PROCESS_S.low, 10 + PROCESS_S.high))
    assert found.basis.startswith("measured: pretrain ")
    assert found.basis.endswith("NVIDIA L4")
    assert "GTX 1080 Ti" in tasks["3L-pretrain-10"].basis
    assert whole.steps == 200_000 + 500_000
    on_cores, _ = estimate(graph)
    assert ends(work(on_cores["6L-pretrain-40"])) == pytest.approx((640_000, 640_000))
    # another model of GPU: twice the peak and a tenth of the bandwidth is no single figure
    scaled, _ = estimate(graph, pretrain=Device(6, "A100", 1))
    assert work(scaled["6L-pretrain-40"]).high < 6400 / 2
    assert "not measured" in scaled["6L-pretrain-40"].basis
    # one that nobody knows: what the store has is all there is
    unknown, _ = estimate(graph, pretrain=Device(6, devices.UNKNOWN, 1))
    assert ends(work(unknown["6L-pretrain-40"])) == pytest.approx((3200, 6400))


def test_another_experiments_milestones_count_if_the_shape_is_the_same(estimate, store):
    other = graph_of(pretrain={"epochs": 7, "learning_rate": {"schedule": "linear"}, "seeds": [9]})
    milestone(store, other.configs(PretrainConfig, run="6L")[0], 500.0)
    longer = graph_of(corpus=document()["corpus"] | {"sequence_length": 256, "max_predictions": 40})
    # of the other corpus nothing says what its sequences are like
    tasks, _ = estimate(longer)
    assert tasks["6L-pretrain-10"].basis.startswith("reckoned: ")
    tasks, _ = estimate(graph_of())
    assert ends(work(tasks["6L-pretrain-10"])) == pytest.approx((12_800, 12_800))


def test_what_was_measured_on_the_very_processor_is_preferred(estimate, store):
    graph = graph_of()
    first, second = graph.configs(PretrainConfig, run="6L")[:2]
    milestone(store, first, 100.0)
    milestone(store, second, 200.0)
    change_provenance(store, first, processor="aarch64, 96 cores")
    tasks, _ = estimate(graph, pretrain=Device(2, processor="aarch64, 96 cores"))
    assert ends(work(tasks["6L-pretrain-30"])) == pytest.approx((64_000, 64_000))
    assert tasks["6L-pretrain-30"].basis.endswith("on aarch64, 96 cores")
    tasks, _ = estimate(graph, pretrain=Device(2, processor="of nobody"))
    assert ends(work(tasks["6L-pretrain-30"])) == pytest.approx((32_000, 64_000))


def test_evaluations_are_measured_by_their_rate_and_their_rest(estimate, store):
    graph = graph_of(evaluate=document()["evaluate"] | {"seeds": [1, 2]})
    first = graph.configs(EvaluateConfig)[0]
    # 3 epochs of 1,000 examples at 10 a second, and 20 seconds
    finish(store, first, {"train_examples": 1000}, seconds=320.0, sequences_per_s=10.0)
    tasks, _ = estimate(graph)
    # the seed that is left, and both seeds of another round in one process
    assert ends(tasks["3L-evaluate-10-MNLI-m"].seconds) == ends(Range(320, 320) + PROCESS_S)
    assert ends(tasks["3L-evaluate-20-MNLI-m"].seconds) == ends(Range(640, 640) + PROCESS_S)
    # with more epochs: 2 seeds * 5 epochs * 1,000 examples at 10 a second
    longer = graph_of(evaluate=document()["evaluate"] | {"seeds": [1, 2], "epochs": 5})
    tasks, _ = estimate(longer)
    assert ends(work(tasks["3L-evaluate-10-MNLI-m"])) == (1000, 1000)
    assert tasks["3L-evaluate-10-MNLI-m"].start_up.low == 40 + PROCESS_S.low
    assert "as many examples as before" in tasks["3L-evaluate-10-MNLI-m"].basis


def test_a_corpus_is_measured_by_its_words(estimate, store):
    graph = graph_of()
    finish(store, graph.configs(CorpusConfig)[0], {"words": 1000}, size=5000, workers=4, worker_s=8.0, seconds=2.0)
    took(store, graph.configs(CorpusConfig)[0], 2.5)
    # another seed: the same dump, the same work, for two workers
    tasks, _ = estimate(graph_of(corpus=document()["corpus"] | {"seed": 18}))
    assert ends(work(tasks["corpus"])) == pytest.approx((4, 4))
    assert tasks["corpus"].start_up.low == pytest.approx(0.5 + PROCESS_S.low)
    assert tasks["corpus"].written == 5000
    # twice the duplicates: twice the bytes, and up to twice the time by the table
    tasks, _ = estimate(graph_of(corpus=document()["corpus"] | {"duplicates": 4}))
    assert tasks["corpus"].written == 10_000
    assert work(tasks["corpus"]).high == pytest.approx(1000 / 115_000 * 2)
    assert "other shapes" in tasks["corpus"].basis


def test_a_corpus_over_several_pods_is_counted_once_and_each_pod_starts(store):
    graph = graph_of()
    at = dict.fromkeys([stage.name for stage in STAGES], CPU)
    together = totals.estimate(plans.plan(graph, store), store, at)
    shared = totals.estimate(plans.plan(graph, store, corpus_pods=4), store, at)
    assert len(shared.tasks) == len(together.tasks) + 8
    assert shared.cpu_hours.low == pytest.approx(together.cpu_hours.low + 8 * PROCESS_S.low / 3600)
    assert shared.unknown == together.unknown
    assert shared.written == together.written


def test_damage_and_a_missing_store_dont_stop_a_plan(estimate, store):
    graph = graph_of()
    config = graph.configs(PretrainConfig, run="6L")[0]
    milestone(store, config, 500.0)
    store.put(f"{config.derivation().prefix}derivation.json", b"{")
    tasks, _ = estimate(graph)
    assert "README" in tasks["6L-pretrain-20"].basis
    at = dict.fromkeys([stage.name for stage in STAGES], CPU)
    assert totals.estimate(plans.plan(graph, None), None, at).steps == 1_000_000


# Sums


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


# Where tasks run


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA L4", "L4"),
        ("nvidia-l4", "L4"),
        ("NVIDIA L40S", devices.UNKNOWN),
        ("nvidia-tesla-a100", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("nvidia-h100-mega-80gb", "H100"),
        ("NVIDIA GeForce GTX 1080 Ti", "1080 Ti"),
        ("Tesla T4", "T4"),
        ("", devices.UNKNOWN),
    ],
)
def test_names_and_labels_of_gpus_are_recognised(name, model):
    assert devices.model(name) == model


PLACE = {"BERTLINE_STORE": "gs://bucket/x", "BERTLINE_REGISTRY": "registry.example/x"}


def test_a_profile_tells_where_its_stages_run():
    l4, a100 = (devices.of(profiles.load(name, PLACE), 0.85) for name in ("gke-l4", "gke-a100-spot"))
    assert l4["pretrain"] == Device(6, "L4", 1, 0.85, is_pod=True)
    assert a100["pretrain"].gpu == "A100"
    assert l4["evaluate"] == Device(6, is_pod=True)
    pretended = devices.of(profiles.load("kind-gpu", PLACE), 0.85)
    assert pretended["pretrain"] == Device(1, is_pod=True)  # computed on the CPU, and free
    here = devices.of(profiles.load("local", {}))
    assert here == devices.of(None)
    assert not here["pretrain"].is_pod
