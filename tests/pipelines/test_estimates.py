"""What a plan will take: from manifests, else from a table, else unknown, and always with its reason."""

import json

import pytest

from bertline.experiments import Experiment, Model
from bertline.store.objects import connect
from bertline.store.realizations import Outcome, realize
from bertline_pipelines import graphs, plans
from bertline_pipelines.estimates import estimates, sizes
from bertline_pipelines.estimates.baselines import Range

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
    return graphs.build(Experiment.model_validate(document(**changes)))


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


@pytest.fixture
def estimate(store):
    """The tasks by name, and the whole estimate."""

    def run(graph, **options):
        found = estimates.estimate(plans.plan(graph, store), store, **options)
        return {task.name: task for task in found.tasks}, found

    return run


def finish(store, config, results=None, size=0, **measurements):
    def build(work):
        if size:
            (work.payload / "payload").write_bytes(bytes(size))
        return Outcome(results or {}, measurements)

    return realize(store, config.derivation(), build)


def milestone(store, config, rate, gpu=0):
    finish(store, config, {"vocabulary_size": 30522}, sequences_per_s=rate, gpu_present=gpu)


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
    from bertline import encoders
    from bertline.experiments import Optimizer
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
    tasks, whole = estimate(graph_of(), gpu_stages={"pretrain"}, price=0.5)
    # 5 rounds of 100,000 steps of either model: 20.9 h and 24.5 h
    assert tasks["6L-pretrain-10"].seconds.low == pytest.approx(75_240 / 5)
    assert tasks["3L-pretrain-50"].seconds.high == pytest.approx(88_350 / 5)
    assert "GTX 1080 Ti" in tasks["6L-pretrain-10"].basis
    assert whole.gpu_hours.low == pytest.approx(20.9 + 24.54, abs=0.01)
    assert whole.cost == whole.gpu_hours * 0.5
    assert whole.steps == 1_000_000
    # 12 bytes a weight: itself and two slots
    six, three = 12 * (12_750_080 + 97_340), 12 * (10_380_800 + 97_340)
    assert tasks["6L-pretrain-10"].written == six
    assert whole.rolling_peak == 2 * (six + three)
    # 2.17 Bn words, 51.7 M examples, 832 bytes each, 115,000 words a second
    assert tasks["corpus"].written == pytest.approx(51.7e6 * 832.5, rel=1e-3)
    assert tasks["corpus"].seconds.low == pytest.approx(2.17e9 / 115_000)
    assert "enwiki-20200301" in tasks["corpus"].basis
    assert whole.written == pytest.approx(5 * (six + three) + tasks["corpus"].written)


def test_without_a_gpu_the_baseline_on_two_cores_counts(estimate):
    tasks, whole = estimate(graph_of())
    sequences = 100_000 * 64
    assert tasks["6L-pretrain-10"].seconds == Range(sequences / 20.7, sequences / 9.0)
    assert "README" in tasks["6L-pretrain-10"].basis
    evaluation = tasks["6L-evaluate-10-MNLI-m"]
    assert evaluation.seconds == Range(3 * 392_702 / 40.6, 3 * 392_702 / 24.9)
    assert "392,702" in evaluation.basis
    assert whole.gpu_hours == Range(0, 0)
    assert whole.cpu_hours.low > 2 * 5 * sequences / 31 / 3600


def test_what_nothing_is_known_of_is_unknown_and_named(estimate):
    graph = graph_of(
        corpus={"dump": "https://example.org/some.xml.bz2"},
        models={"4L": BERT_MINI},
        vocabulary={"file": {"url": "https://example.org/vocab.txt"}, "lower_case": True},
    )
    tasks, whole = estimate(graph, gpu_stages={"pretrain", "evaluate"}, price=2.0)
    rounds = [f"4L-{stage}" for n in range(10, 60, 10) for stage in (f"pretrain-{n}", f"evaluate-{n}-MNLI-m")]
    assert set(whole.unknown) == {"corpus", *rounds}
    assert set(whole.unknown_written) == {"corpus", *(name for name in rounds if "pretrain" in name)}
    assert whole.rolling_peak is None
    assert whole.gpu_hours == whole.cost == Range(0, 0)
    assert all(tasks[name].basis.startswith("unknown: ") for name in whole.unknown)
    assert "no milestone of this shape was made with a GPU" in tasks["4L-pretrain-10"].basis
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
def test_a_table_is_only_for_the_shapes_it_was_measured_on(changes, estimate):
    for stages in ((), {"pretrain"}):
        tasks, _ = estimate(graph_of(**changes), gpu_stages=stages)
        assert tasks["6L-pretrain-10"].seconds is None


def test_a_vocabulary_on_this_machine_is_counted(estimate, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(map(str, range(1000))))  # without a newline at the end
    tasks, _ = estimate(graph_of(vocabulary={"file": str(path), "lower_case": True}))
    expected = sizes.checkpoint_bytes(Model(layers=6, batch_size=64), 1000)
    assert tasks["6L-pretrain-10"].written == expected


# From what was measured


def test_milestones_of_the_same_shape_beat_any_table(estimate, store):
    graph = graph_of()
    rounds = graph.runs[1].rounds
    milestone(store, rounds[0].pretrain, 1000.0, gpu=1)
    milestone(store, rounds[1].pretrain, 2000.0, gpu=1)
    milestone(store, rounds[2].pretrain, 10.0)
    tasks, whole = estimate(graph, gpu_stages={"pretrain"})
    assert {"6L-pretrain-10", "6L-pretrain-20", "6L-pretrain-30"}.isdisjoint(tasks)
    assert tasks["6L-pretrain-40"].seconds == Range(3200, 6400)
    assert tasks["6L-pretrain-40"].basis.startswith("measured: pretrain ")
    assert "a GPU beside" in tasks["6L-pretrain-40"].basis
    assert "GTX 1080 Ti" in tasks["3L-pretrain-10"].basis
    assert whole.steps == 200_000 + 500_000
    on_cores, _ = estimate(graph)
    assert on_cores["6L-pretrain-40"].seconds == Range(640_000, 640_000)


def test_another_experiments_milestones_count_if_the_shape_is_the_same(estimate, store):
    other = graph_of(pretrain={"epochs": 7, "learning_rate": {"schedule": "linear"}, "seeds": [9]})
    milestone(store, other.runs[1].rounds[0].pretrain, 500.0)
    longer = graph_of(corpus=document()["corpus"] | {"sequence_length": 256, "max_predictions": 40})
    # of the other corpus nothing says what its sequences are like
    tasks, _ = estimate(longer)
    assert tasks["6L-pretrain-10"].seconds is None
    tasks, _ = estimate(graph_of())
    assert tasks["6L-pretrain-10"].seconds == Range(12_800, 12_800)


def test_what_was_measured_on_the_very_processor_is_preferred(estimate, store):
    graph = graph_of()
    first, second = (turn.pretrain for turn in graph.runs[1].rounds[:2])
    milestone(store, first, 100.0)
    milestone(store, second, 200.0)
    name = f"{first.derivation().prefix}manifest.json"
    content = json.loads(store.get(name)[0])
    content["provenance"]["processor"] = "aarch64, 96 cores"
    store.put(name, json.dumps(content).encode())
    tasks, _ = estimate(graph, processor="aarch64, 96 cores")
    assert tasks["6L-pretrain-30"].seconds == Range(64_000, 64_000)
    assert tasks["6L-pretrain-30"].basis.endswith("on aarch64, 96 cores")
    tasks, _ = estimate(graph, processor="of nobody")
    assert tasks["6L-pretrain-30"].seconds == Range(32_000, 64_000)


def test_evaluations_are_measured_whole_or_by_their_rate(estimate, store):
    graph = graph_of(evaluate=document()["evaluate"] | {"seeds": [1, 2]})
    first = graph.runs[0].rounds[0].evaluations[0]
    finish(store, first, {"train_examples": 1000}, seconds=300.0, sequences_per_s=10.0)
    tasks, _ = estimate(graph)
    # the seed that is left, and both seeds of another round
    assert tasks["3L-evaluate-10-MNLI-m"].seconds == Range(300, 300)
    assert tasks["3L-evaluate-20-MNLI-m"].seconds == Range(600, 600)
    # with more epochs: 2 seeds * 5 epochs * 1,000 examples at 10 a second
    longer = graph_of(evaluate=document()["evaluate"] | {"seeds": [1, 2], "epochs": 5})
    tasks, _ = estimate(longer)
    assert tasks["3L-evaluate-10-MNLI-m"].seconds == Range(1000, 1000)
    assert "as many examples as before" in tasks["3L-evaluate-10-MNLI-m"].basis


def test_a_corpus_is_measured_by_its_words(estimate, store):
    graph = graph_of()
    finish(store, graph.corpus, {"words": 1000}, size=5000, workers=4, worker_s=8.0, seconds=0.1)
    # another seed: the same dump, the same work
    tasks, _ = estimate(graph_of(corpus=document()["corpus"] | {"seed": 18}))
    assert tasks["corpus"].seconds == Range(2, 2)  # 8 s of work for 4 workers
    assert tasks["corpus"].written == 5000
    # twice the duplicates: as many bytes, and nobody knows how long
    tasks, _ = estimate(graph_of(corpus=document()["corpus"] | {"duplicates": 4}))
    assert tasks["corpus"].written == 10_000
    assert tasks["corpus"].seconds is None


def test_a_corpus_over_several_pods_is_counted_once(store):
    graph = graph_of()
    together = estimates.estimate(plans.plan(graph, store), store)
    shared = estimates.estimate(plans.plan(graph, store, corpus_pods=4), store)
    assert len(shared.tasks) == len(together.tasks) + 8
    assert shared.cpu_hours == together.cpu_hours
    assert shared.unknown == together.unknown
    assert shared.written == together.written


def test_damage_and_a_missing_store_dont_stop_a_plan(estimate, store):
    graph = graph_of()
    config = graph.runs[1].rounds[0].pretrain
    milestone(store, config, 500.0)
    store.put(f"{config.derivation().prefix}derivation.json", b"{")
    tasks, _ = estimate(graph)
    assert "README" in tasks["6L-pretrain-20"].basis
    assert estimates.estimate(plans.plan(graph, None), None).steps == 1_000_000


def test_it_is_one_json_document_and_writes_nothing(estimate, store):
    _, whole = estimate(graph_of(), gpu_stages={"pretrain"}, price=1.0)
    found = json.loads(json.dumps(whole.document()))
    assert found["gpu_hours"]["low"] == pytest.approx(45.44, abs=0.01)
    assert found["cost"] == found["gpu_hours"]
    # training a vocabulary, and fine-tuning of 3 layers, which README's baseline doesn't have
    assert found["unknown"] == ["vocabulary", *(f"3L-evaluate-{n}-MNLI-m" for n in range(10, 60, 10))]
    task = next(task for task in found["tasks"] if task["name"] == "6L-pretrain-10")
    assert task["seconds"]["low"] == pytest.approx(15_048)
    assert (task["gpu"], task["steps"], task["bytes"]) == (True, 100_000, 154_169_040)
    assert not list(store.list(""))
