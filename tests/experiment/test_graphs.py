import copy
import dataclasses

import pytest
import yaml

import bertline_pipelines
from bertline.corpus.config import CorpusConfig
from bertline.errors import DamagedError, UserError
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment import graphs, specs
from bertline.pretrain.config import PretrainConfig
from bertline.store import garbage, references
from bertline.store.backends import connect
from bertline.store.realizations import Outcome, realize
from bertline_pipelines.planning import unrolling

NANO = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()


@pytest.fixture
def build(tmp_path):
    def make(**changes):
        document = yaml.safe_load(NANO)
        for path, value in changes.items():
            *parents, last = path.split("__")
            section = document
            for part in parents:
                section = section[part]
            section[last] = value
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(document))
        return unrolling.build(specs.load(path))

    return make


def keys(graph):
    """Every key by what it is for."""
    return {(node.run, *node.place) if node.run else node.stage: node.key for node in graph.nodes}


def test_the_same_experiment_has_the_same_keys(build):
    assert keys(build()) == keys(build())


def test_every_round_starts_from_the_one_before(build):
    graph = build()
    assert len(graph.runs) == 2
    for run in graph.runs:
        previous = None
        for milestone in graph.configs(PretrainConfig, run=run):
            assert milestone.milestone == previous
            previous = milestone.derivation().key
            evaluations = graph.configs(EvaluateConfig, run=run, epoch=milestone.end_epoch)
            assert {each.milestone for each in evaluations} == {previous}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        pytest.param({"name": "other"}, {"vocabulary", "corpus", "2L", "4L"}, id="name"),
        pytest.param({"description": "other"}, {"vocabulary", "corpus", "2L", "4L"}, id="description"),
        pytest.param({"pretrain__checkpoints": {"every_steps": 7}}, {"vocabulary", "corpus", "2L", "4L"}, id="cadence"),
        pytest.param({"pretrain__epochs": 4}, {"vocabulary", "corpus", "2L", "4L"}, id="epochs"),
        pytest.param({"evaluate__seeds": [1, 2]}, {"vocabulary", "corpus", "2L", "4L"}, id="seeds of evaluation"),
        pytest.param({"models__2L__layers": 3}, {"vocabulary", "corpus", "4L"}, id="one model"),
        pytest.param({"pretrain__optimizer": {"beta_2": 0.98}}, {"vocabulary", "corpus"}, id="optimizer"),
        pytest.param({"corpus__seed": 18}, {"vocabulary"}, id="corpus seed"),
        pytest.param({"corpus__dump": {"url": "http://127.0.0.1/x.bz2", "sha1": "0" * 40}}, set(), id="dump"),
    ],
)
def test_a_change_redoes_what_depends_on_it_and_nothing_else(build, change, kept):
    before, after = keys(build()), keys(build(**change))

    def of(what):
        return {name for name in before if name == what or (isinstance(name, tuple) and name[0] == what)}

    for what in ("vocabulary", "corpus", "2L", "4L"):
        assert of(what)
        same = all(before[name] == after[name] for name in of(what))
        assert same == (what in kept), what


def test_a_seed_of_pretraining_adds_runs_and_keeps_the_others(build):
    before, after = build(), build(pretrain__seeds=[1, 2])
    assert list(after.runs) == ["2L-seed1", "2L-seed2", "4L-seed1", "4L-seed2"]
    old = before.select("pretrain")[0]
    assert after.select("pretrain", run="2L-seed1")[0].key == old.key
    assert after.select("pretrain", run="2L-seed2")[0].key != old.key


def test_a_config_survives_its_trip_to_a_pod(build):
    for node in build().nodes:
        assert type(node.config).model_validate_json(node.config.model_dump_json()) == node.config


def test_the_key_doesnt_know_where_a_file_lies(build, tmp_path):
    (tmp_path / "v1.txt").write_text("x")
    first = build(vocabulary={"file": "v1.txt", "lower_case": True})
    (tmp_path / "v1.txt").rename(tmp_path / "v2.txt")
    second = build(vocabulary={"file": "v2.txt", "lower_case": True})
    assert keys(first) == keys(second)
    (tmp_path / "v2.txt").write_text("y")
    assert keys(build(vocabulary={"file": "v2.txt", "lower_case": True})).keys() == keys(first).keys()
    assert keys(build(vocabulary={"file": "v2.txt", "lower_case": True})) != keys(first)


def test_a_file_that_isnt_there_is_found_before_anything_runs(build):
    with pytest.raises(UserError, match="no file"):
        build(vocabulary={"file": "missing.txt", "lower_case": True})


def test_the_version_of_an_algorithm_is_part_of_the_key(build):
    derivation = build().configs(CorpusConfig)[0].derivation()
    assert dataclasses.replace(derivation, version=derivation.version + 1).key != derivation.key


def test_reading_is_the_reverse_of_writing(build, tmp_path):
    store = connect(str(tmp_path / "store"))
    graph = build(pretrain__seeds=[1, 2], evaluate__seeds=[1, 2])
    reference = references.write(store, "nano", graph.document)

    read = graphs.read(store, references.current(store, "nano"))

    assert read.digest == graph.digest == reference.digest
    assert [node.model_copy(update={"config": None}) for node in graph.nodes] == list(read.nodes)
    assert [(task.name, task.keys, task.needs) for task in read.tasks()] == [
        (task.name, task.keys, task.needs) for task in graph.tasks()
    ]
    assert read.runs == graph.runs == ("2L-seed1", "2L-seed2", "4L-seed1", "4L-seed2")


def test_a_task_needs_only_tasks_before_it_and_the_report_needs_all(build):
    seen = []
    for task in build(evaluate__seeds=[1, 2]).tasks():
        assert set(task.needs) <= set(seen)
        seen.append(task.name)
    assert len(seen) == len(set(seen))
    assert list(task.needs) == seen[:-1]


def old(graph):
    """As bertline wrote it before graphs were lists of nodes."""
    document = {name: value for name, value in graph.document.items() if name != "nodes"}
    return document | {"vocabulary": graph.nodes[0].key, "corpus": graph.nodes[1].key, "runs": []}


def test_a_graph_of_an_older_bertline_is_refused_with_what_to_do(build, tmp_path):
    store = connect(str(tmp_path / "store"))
    reference = references.write(store, "nano", old(build()))
    with pytest.raises(UserError, match=f"nano/{reference.digest}.json.*older version.*bertline run"):
        graphs.read(store, reference)


def test_what_an_older_graph_names_is_no_garbage(build, tmp_path):
    store = connect(str(tmp_path / "store"))
    graph = build()
    references.write(store, "nano", old(graph))
    for config in (graph.nodes[0].config, graph.nodes[2].config):  # the vocabulary; a round that it doesn't name
        realize(store, config.derivation(), lambda build: Outcome({}, {}))
    found = garbage.collect(store, grace_s=0)
    assert [item.place for item in found] == [graph.nodes[2].config.derivation().prefix]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda document: document.pop("nodes"), id="no nodes"),
        pytest.param(lambda document: document.pop("resolved"), id="no experiment"),
        pytest.param(lambda document: document["nodes"][0].update(key="../../x"), id="a key that is none"),
        pytest.param(lambda document: document["nodes"].append("x"), id="a word for a node"),
    ],
)
def test_a_damaged_graph_is_told_as_such(build, tmp_path, damage):
    store = connect(str(tmp_path / "store"))
    document = copy.deepcopy(build().document)
    damage(document)
    with pytest.raises(DamagedError, match=r"experiments/nano/\w+\.json"):
        graphs.read(store, references.write(store, "nano", document))
