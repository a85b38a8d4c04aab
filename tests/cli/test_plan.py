"""`bertline plan`: what it prints, for people at 80 columns and for programs."""

import json

import pytest
import yaml

import bertline_pipelines
from bertline.corpus.config import CorpusConfig
from bertline.errors import ExitCode
from bertline.experiment import specs
from bertline.pretrain.config import PretrainConfig
from bertline.process.signals import Stopped
from bertline.store import references
from bertline.store.backends import connect
from bertline.store.realizations import Outcome, realize
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.planning import unrolling
from support.terminals import on_a_terminal

NANO = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()


@pytest.fixture
def store(tmp_path):
    """Vocabulary and corpus are done; the first round stopped at step 100 of 150."""
    path = tmp_path / "nano.yaml"
    path.write_text(NANO)
    store = connect(str(tmp_path / "store"))
    graph = unrolling.build(specs.load(path))
    references.write(store, "nano", graph.document)
    for config in (graph.configs(VocabularyConfig)[0], graph.configs(CorpusConfig)[0]):
        realize(store, config.derivation(), lambda build: Outcome({}, {}))

    def stop(build):
        build.attempt.record("checkpoint", step=100)
        raise Stopped("SIGTERM")

    with pytest.raises(Stopped):
        realize(store, graph.configs(PretrainConfig)[0].derivation(), stop)
    return store


def test_images_are_a_line_each_at_80_columns():
    shown = on_a_terminal(80, "images", "ls")
    assert len([line for line in shown if line.startswith("bertline-")]) == 4
    assert max(map(len, shown)) <= 80


def test_a_view_of_the_store_fits_80_columns(store):
    for found in list(store.list("objects/vocabulary/")) + list(store.list("objects/corpus/")):
        store.delete(found.name)  # there is nothing in them
    shown = on_a_terminal(80, "dashboard", "nano", "--store", store.uri, "--once")
    assert max(map(len, shown[1:])) <= 80  # the first line has the store's address
    assert "100" in " ".join(shown)


def variant(tmp_path, **sections):
    document = yaml.safe_load(NANO)
    for section, values in sections.items():
        document[section] |= values
    path = tmp_path / "variant.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_line_a_task_at_80_columns(store, tmp_path):
    shown = on_a_terminal(80, "plan", str(tmp_path / "nano.yaml"), "--store", str(tmp_path / "store"))
    assert max(map(len, shown[:-1])) <= 80  # the last line is a command to copy
    rows = {line.split()[0]: line for line in shown[1:16]}
    assert len(rows) == 15
    assert "done" in rows["corpus"]
    assert rows["2L-pretrain-1"].endswith("preempted, 100 of 150 steps saved")
    assert rows["2L-pretrain-2"].endswith("not begun")
    assert " s " in rows["2L-pretrain-1"]


def test_why_as_fields(bertline, store, tmp_path):
    path = variant(tmp_path, vocabulary={"train": {"size": 2000}})
    found = json.loads(bertline("plan", path, "--store", "store", "--json").stdout)
    tasks = {task["name"]: task for task in found["tasks"]}
    [vocabulary] = tasks["vocabulary"]["missing"]
    assert vocabulary["changes"] == [{"field": "vocabulary.train.size", "before": 3000, "now": 2000}]
    [corpus] = tasks["corpus"]["missing"]
    assert (corpus["state"], corpus["follows"], corpus["changes"]) == ("not begun", "vocabulary", [])
    found = json.loads(bertline("plan", "nano.yaml", "--store", "store", "--json").stdout)
    tasks = {task["name"]: task for task in found["tasks"]}
    assert tasks["vocabulary"]["missing"] == []
    [stopped] = tasks["2L-pretrain-1"]["missing"]
    assert (stopped["state"], stopped["saved_steps"], stopped["steps"]) == ("preempted", 100, 150)
    assert found["unknown"] == []


def test_a_newcomer_is_told_minutes_for_nano_and_where_they_come_from(bertline, tmp_path):
    path = variant(tmp_path)
    result = bertline("plan", path, "--store", "none")
    assert "unknown" not in result.stdout
    assert "side by side: " in result.stdout
    assert "reckoned: its FLOPs" in result.stdout
    assert "1 tasks" not in result.stdout
    assert "cost of" not in result.stdout
    estimate = json.loads(bertline("plan", path, "--store", "none", "--json").stdout)["estimate"]
    assert estimate["unknown"] == []
    # 15 tasks, 12 of which start TensorFlow: never seconds, and less than half an hour
    assert 60 < estimate["cpu_hours"]["low"] * 3600 < 600 < estimate["cpu_hours"]["high"] * 3600 < 1800
    assert estimate["start_up_hours"]["low"] * 3600 > 12 * 9


def test_a_sum_that_lacks_something_is_at_least(bertline, tmp_path):
    path = variant(tmp_path, corpus={"dump": "https://127.0.0.1:1/some.xml.bz2"})
    result = bertline("plan", path, "--store", "none")
    assert "side by side: at least " in result.stdout
    assert "unknown: vocabulary, corpus" in result.stdout
    estimate = json.loads(bertline("plan", path, "--store", "none", "--json").stdout)["estimate"]
    assert estimate["cpu_hours"]["high"] is None
    assert estimate["unknown"] == ["vocabulary", "corpus"]


def test_money_needs_a_gpu_and_names_its_currency(bertline, tmp_path):
    path = variant(tmp_path)
    without = bertline("plan", path, "--store", "none", "--price", "1.20")
    assert "none of these tasks has a GPU" in without.stdout
    assert "0.00" not in without.stdout
    l4 = bertline("plan", path, "--profile", "gke-l4", "--price", "1.20")
    assert "USD, at 1.2 USD an hour" in l4.stdout
    a100 = bertline("plan", path, "--profile", "gke-a100-spot", "--price", "1.20", "--currency", "EUR", "--json")
    document = json.loads(a100.stdout)["estimate"]
    assert document["currency"] == "EUR"
    assert document["cost"]["high"] == pytest.approx(1.2 * document["gpu_hours"]["high"])


def test_a_store_that_cant_be_read_isnt_taken_for_empty(bertline, store, tmp_path):
    name = next(found.name for found in store.list("objects/corpus/") if found.name.endswith("manifest.json"))
    store.put(name, b"{")
    result = bertline("plan", "nano.yaml", "--store", "store")
    assert result.returncode == ExitCode.DAMAGED
    assert name in result.stderr
