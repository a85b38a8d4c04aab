"""What a plan will take, from what earlier tasks took."""

import json
from pathlib import Path

import pytest

import bertline_pipelines
from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment import specs
from bertline.pretrain.config import PretrainConfig
from bertline.store.realizations import Outcome, realize
from bertline_pipelines.estimates import devices, totals
from bertline_pipelines.estimates.baselines import PROCESS_S, Range
from bertline_pipelines.estimates.devices import Device
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.stages import STAGES
from support.original_experiment import document, graph_of

RECORDED = json.loads((Path(__file__).parents[1] / "support" / "recorded" / "nano.json").read_text())
"""What nano's tasks took in one real run: two virtual x86-64 cores, one task on each, nothing beside it."""
CPU, GPU = Device(2), Device(6, "1080 Ti", 1)


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


def ends(seconds):
    return seconds.low, seconds.high


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
