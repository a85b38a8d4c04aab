"""The stage from end to end, with a tiny vocabulary and an encoder that nobody trained."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bertline.errors import DamagedError, UserError
from bertline.evaluate import stage
from bertline.metrics import tasks
from bertline.metrics.gauges import Labels
from bertline.store import realizations
from bertline.store.filesystem import FileSystemStore
from support.tiny_evaluations import MODEL, commit_milestone


def predictions(realization, folder):
    [path] = realization.stage(["predictions.tsv"], folder)
    return path.read_bytes()


@pytest.fixture(scope="module")
def watched(world):
    """An evaluation, and what its metrics showed at the end."""
    tasks._current = None  # another file of this process may have fine-tuned under the same labels
    realization = stage.run(world.config, world.store)
    return realization, tasks.current()


@pytest.fixture(scope="module")
def evaluation(watched):
    return watched[0]


def test_results_count_every_example_of_dev(world, evaluation, tmp_path):
    results = evaluation.manifest.results
    assert {name: results[name] for name in ("task", "labels", "examples", "train_examples", "dropped")} == {
        "task": "sample-nli",
        "labels": ["contradiction", "entailment", "neutral"],
        "examples": 70,
        "train_examples": 100,
        "dropped": 0,
    }
    header, *rows = [line.split("\t") for line in predictions(evaluation, tmp_path).decode().splitlines()]
    gold = [line.split("\t") for line in Path(world.config.files.dev.url).read_text().splitlines()[1:]]
    assert header == ["index", "label", "prediction"]
    assert [row[:2] for row in rows] == [[line[0], line[-1]] for line in gold]
    assert results["correct"] == sum(label == prediction for _, label, prediction in rows)
    assert results["accuracy"] == results["correct"] / 70
    assert 0 < results["loss"] < 3
    names = results["labels"]
    counted = Counter((label, prediction) for _, label, prediction in rows)
    assert results["confusion"] == [[counted[gold, said] for said in names] for gold in names]


def test_what_makes_an_accuracy_worth_nothing_is_said():
    assert "taken for entailment" in stage._warning(np.array([[0, 30, 0], [0, 40, 0], [0, 30, 0]]))
    assert "isn't above the largest class, which 40.0%" in stage._warning(
        np.array([[1, 29, 0], [0, 39, 1], [0, 30, 0]])
    )
    assert stage._warning(np.array([[2, 28, 0], [1, 39, 0], [0, 30, 0]])) == ""


def test_measurements_are_numbers(evaluation):
    measurements = evaluation.manifest.measurements
    assert measurements["seconds"] > 0
    assert measurements["sequences_per_s"] > 0
    assert measurements["host_memory_peak_bytes"] > 50e6
    assert ("gpu_memory_peak_bytes" in measurements) == bool(measurements["gpu_present"])


def test_its_metrics_are_those_of_the_manifest(watched):
    realization, gauges = watched
    results, measured = realization.manifest.results, realization.manifest.measurements
    steps = 2 * 7  # 100 examples by 16, twice
    assert gauges.labels == Labels("test", "tiny", "tiny", "evaluate", "1", "sample-nli")
    assert (gauges.step, gauges.last_step, gauges.epoch, gauges.phase) == (steps, steps, 2, "finishing")
    assert (gauges.counts.steps, gauges.counts.sequences) == (steps, 200)
    assert 200 * 3 < gauges.counts.tokens < 200 * 32
    assert 0 < gauges.counts.waited_s < gauges.counts.seconds
    per_second = (200 - 16) / gauges.counts.seconds  # the first step isn't timed
    assert per_second == pytest.approx(measured["sequences_per_s"], rel=0.3)
    assert gauges.evaluation_accuracies == {"1": results["accuracy"]}
    assert 0 < gauges.losses["total"] < 3
    assert gauges.flops_per_second > 0
    assert gauges.memory.host_peak() == measured["host_memory_peak_bytes"]
    assert gauges.counts.checkpoints is None  # there are none: no series


def test_a_finished_evaluation_is_found(world, evaluation, monkeypatch):
    monkeypatch.setattr(stage, "_fine_tune", None)
    assert stage.run(world.config, world.store).manifest == evaluation.manifest


def test_the_same_again_gives_the_same_bits_and_another_seed_others(world, evaluation, tmp_path):
    other = stage.run(world.but(seed=2), world.store)
    store = FileSystemStore(tmp_path / "store")
    for name in [object.name for object in world.store.list("objects/")]:
        if not name.startswith("objects/evaluate/"):
            store.put(name, world.store.get(name)[0])
    again = stage.run(world.config, store)  # after another seed's run in this process
    assert again.manifest.results == evaluation.manifest.results
    assert again.manifest.files == evaluation.manifest.files
    assert other.manifest.results["loss"] != evaluation.manifest.results["loss"]


@pytest.mark.slow
def test_a_process_of_its_own_gives_the_same_bits(world, evaluation, tmp_path):
    store = FileSystemStore(tmp_path / "store")
    for name in [object.name for object in world.store.list("objects/")]:
        if not name.startswith("objects/evaluate/"):
            store.put(name, world.store.get(name)[0])
    command = [
        sys.executable,
        "-m",
        "bertline.evaluate",
        "--store",
        store.uri,
        "--config",
        world.config.model_dump_json(),
    ]
    subprocess.run(command, check=True, capture_output=True)
    again = realizations.require(store, "evaluate", world.config.derivation().key)
    assert again.manifest.results == evaluation.manifest.results
    assert again.manifest.files == evaluation.manifest.files


def test_a_number_of_training_examples_can_be_chosen(world):
    results = stage.run(world.but(max_train_examples=40, epochs=1), world.store).manifest.results
    assert (results["train_examples"], results["examples"]) == (40, 70)


def test_rows_without_a_label_are_counted(world, tmp_path):
    lines = Path(world.config.files.dev.url).read_text().splitlines(keepends=True)
    lines[1] = lines[1].rpartition("\t")[0] + "\t-\n"
    path = tmp_path / "dev.tsv"
    path.write_text("".join(lines))
    dev = world.config.files.dev.model_copy(update={"url": str(path)})
    config = world.but(files=world.config.files.model_copy(update={"dev": dev}), epochs=1)
    results = stage.run(config, world.store).manifest.results
    assert (results["examples"], results["dropped"]) == (69, 1)


class TestRefusals:
    """Each before TensorFlow is asked for anything."""

    @pytest.fixture(autouse=True)
    def _no_fine_tuning(self, monkeypatch):
        monkeypatch.setattr(stage, "_fine_tune", None)

    def test_another_vocabulary(self, world):
        key = commit_milestone(world.store, 77, said=77)
        with pytest.raises(UserError, match=f"{key[:12]}… was pre-trained with 77"):
            stage.run(world.but(milestone=key), world.store)

    def test_no_milestone(self, world):
        with pytest.raises(DamagedError, match="needs that pretrain"):
            stage.run(world.but(milestone="0" * 64), world.store)

    def test_a_bad_task_file(self, world, tmp_path):
        path = tmp_path / "bad.tsv"
        path.write_text("sentence1\tsentence2\n")
        train = world.config.files.train.model_copy(update={"url": str(path)})
        with pytest.raises(UserError, match="no column gold_label"):
            stage.run(world.but(files=world.config.files.model_copy(update={"train": train})), world.store)


def test_a_loss_that_is_no_number_is_seen_within_the_epoch(world, monkeypatch):
    monkeypatch.setattr("bertline.evaluate.classifier.LOOK_STEPS", 2)
    with pytest.raises(UserError, match=r"diverged: between step \d and step (?P<step>\d) of 14 ") as raised:
        stage.run(world.but(learning_rate=1e38, warmup_share=0.0), world.store)
    assert int(re.search(r"and step (\d)", str(raised.value))[1]) < 7, "an epoch is seven steps"
    assert tasks.current().await_scrape


def test_a_loss_that_is_no_number_is_a_users_error(world):
    with pytest.raises(UserError, match=r"diverged.*lower evaluate\.learning_rate"):
        stage.run(world.but(learning_rate=1e38), world.store)


class TestClassifier:
    """The model and its step."""

    @pytest.fixture
    def model(self):
        from bertline.evaluate import classifier
        from bertline.models import encoders

        model = classifier.build(MODEL, 50, 3, seed=1)
        encoders.initialize(encoders.named(model.encoder.trainable_variables), 0.2, seed=1)
        return model

    @pytest.fixture
    def inputs(self):
        random = np.random.RandomState(0)
        lengths = random.randint(4, 17, 6)  # [batch]
        mask = (np.arange(16) < lengths[:, None]).astype(np.int32)  # [batch, length]
        return {
            "input_word_ids": random.randint(1, 50, mask.shape).astype(np.int32) * mask,
            "input_mask": mask,
            "input_type_ids": random.randint(0, 2, mask.shape).astype(np.int32) * mask,
        }

    def test_logits_are_those_of_the_model_gardens_classifier(self, model, inputs):
        from official.nlp.modeling import models

        from bertline.models import encoders

        encoder = encoders.build(MODEL, 50)
        theirs = models.BertClassifier(network=encoder, num_classes=3)
        theirs.set_weights(model.network.get_weights())
        assert np.abs(theirs(inputs).numpy() - model.network(inputs).numpy()).max() < 1e-5

    def test_padding_changes_no_logit(self, model, inputs):
        wider = {name: np.pad(array, ((0, 0), (0, 8))) for name, array in inputs.items()}
        assert np.abs(model.network(wider).numpy() - model.network(inputs).numpy()).max() < 1e-5

    def test_decay_leaves_out_every_bias_and_layer_norm_and_nothing_else(self, model, world):
        from bertline.evaluate import classifier
        from bertline.models import encoders

        optimizer = classifier.optimizer_of(world.config, 10)
        variables = model.network.trainable_variables
        decayed = [each.name.removesuffix(":0") for each in variables if optimizer._do_use_weight_decay(each.name)]
        assert sorted(decayed) == sorted(encoders.decayed(encoders.named(variables)))
        # Three tables; six kernels a layer; pooler; head. The rest: a bias each, and two for each of three LayerNorms.
        assert (len(decayed), len(variables)) == (3 + 6 + 1 + 1, 3 + 6 + 1 + 1 + 6 + 1 + 1 + 2 * 3)

    def test_there_is_one_dropout_before_the_projection(self, model):
        from bertline.models import encoders

        rates = [layer.rate for layer in model.network._flatten_layers() if "Dropout" in type(layer).__name__]
        # embeddings, attention, its output, the layer's output, and the head's
        assert sorted(rate for rate in rates if rate) == [0.1] * 5
        assert len(encoders.generators([model.network])) == len(rates)

    def test_the_learning_rate_rises_and_falls_to_zero(self):
        from bertline.evaluate import classifier

        rates = classifier.learning_rates(1e-3, 0.1, 100)
        assert len(rates) == 100
        assert rates[0] == 0
        assert rates[10] == pytest.approx(0.9e-3)
        assert rates[99] == pytest.approx(1e-5)
        assert len(classifier.learning_rates(1e-3, 0.0, 1)) == 1
        assert len(classifier.learning_rates(1e-3, 1.0, 7)) == 7

    def test_mean_cross_entropy(self):
        from bertline.evaluate import classifier

        logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)) + 50  # [examples, classes]
        expected = -(np.log(0.7) + np.log(0.1)) / 2
        assert classifier.mean_cross_entropy(logits, np.array([0, 1], np.int32)) == pytest.approx(expected, rel=1e-4)

    def test_one_trace_serves_batches_of_all_shapes(self, model, world):
        from bertline.evaluate import classifier

        step, _ = classifier._train_step(model, classifier.optimizer_of(world.config, 10), seed=1)
        for shape in ((2, 8), (3, 16), (1, 24)):
            step(*(np.ones(shape, np.int32) for _ in range(3)), np.zeros(shape[0], np.int32))
        assert step.experimental_get_tracing_count() == 1


def test_nothing_heavy_is_imported_before_the_input_is_checked():
    code = "import sys, bertline.evaluate.stage; print([name for name in ('tensorflow', 'kfp') if name in sys.modules])"
    assert json.loads(subprocess.check_output([sys.executable, "-c", code]).decode().replace("'", '"')) == []
