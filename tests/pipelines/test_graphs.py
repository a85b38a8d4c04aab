import dataclasses

import pytest
import yaml

import bertline_pipelines
from bertline import experiments
from bertline.errors import UserError
from bertline_pipelines import graphs

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
        return graphs.build(experiments.load(path))

    return make


def keys(graph):
    """Every key by what it is for."""
    found = {"vocabulary": graph.vocabulary.derivation().key, "corpus": graph.corpus.derivation().key}
    for run in graph.runs:
        for turn in run.rounds:
            found[run.name, turn.pretrain.end_epoch] = turn.pretrain.derivation().key
            for each in turn.evaluations:
                found[run.name, turn.pretrain.end_epoch, each.task, each.seed] = each.derivation().key
    return found


def test_the_same_experiment_has_the_same_keys(build):
    assert keys(build()) == keys(build())


def test_every_round_starts_from_the_one_before(build):
    for run in build().runs:
        previous = None
        for turn in run.rounds:
            assert turn.pretrain.milestone == previous
            previous = turn.pretrain.derivation().key
            assert {each.milestone for each in turn.evaluations} == {previous}


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
        same = all(before[name] == after[name] for name in of(what))
        assert same == (what in kept), what


def test_a_seed_of_pretraining_adds_runs_and_keeps_the_others(build):
    before, after = build(), build(pretrain__seeds=[1, 2])
    assert [run.name for run in after.runs] == ["2L-seed1", "2L-seed2", "4L-seed1", "4L-seed2"]
    assert after.runs[0].rounds[0].pretrain.derivation() == before.runs[0].rounds[0].pretrain.derivation()
    assert after.runs[1].rounds[0].pretrain.derivation() != before.runs[0].rounds[0].pretrain.derivation()


def test_a_config_survives_its_trip_to_a_pod(build):
    for run in build().runs:
        for turn in run.rounds:
            for config in (turn.pretrain, *turn.evaluations):
                assert type(config).model_validate_json(config.model_dump_json()) == config


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
    derivation = build().corpus.derivation()
    assert dataclasses.replace(derivation, version=derivation.version + 1).key != derivation.key
