"""Keys last: what was computed once is found again, also after options were added."""

import copy

import pytest
from pydantic import Field

from bertline.corpus.config import CorpusConfig
from bertline.experiment.corpora import Corpus
from bertline.store import references
from support import goldens


@pytest.mark.parametrize("name", goldens.EXPERIMENTS)
def test_the_shipped_experiments_have_the_keys_they_had(name):
    assert goldens.keys(name) == goldens.kept("keys")[name], (
        "results that people have computed would be computed again; if that is meant, raise the ALGORITHM_VERSION of "
        "the stage, run `make golden` and say why in the commit"
    )


def test_defaults_are_those_that_the_keys_count_on():
    changed = goldens.changed_defaults(goldens.defaults(), goldens.kept("defaults"))

    assert not changed, "raise the ALGORITHM_VERSION of the stage together with a default, then run `make golden`"
    assert goldens.defaults() == goldens.kept("defaults"), "new fields or versions: run `make golden`"


def test_another_default_under_the_same_version_is_noticed():
    before = goldens.defaults()
    after = copy.deepcopy(before)
    after["corpus"]["defaults"]["Corpus.duplicates"] = 5
    after["corpus"]["defaults"]["Corpus.new_option"] = False

    assert len(goldens.changed_defaults(after, before)) == 1
    after["corpus"]["version"] += 1
    assert goldens.changed_defaults(after, before) == []


def test_a_field_that_is_gone_is_noticed():
    before = goldens.defaults()
    after = copy.deepcopy(before)
    del after["pretrain"]["defaults"]["Model.dropout"]

    assert len(goldens.changed_defaults(after, before)) == 1


def test_an_option_added_later_leaves_keys_as_they_are():
    class LaterCorpus(Corpus):
        new_option: bool = False
        new_limit: int | None = Field(None, ge=1)

    class LaterConfig(CorpusConfig):
        corpus: LaterCorpus
        another: str = "as before"

    settings = {"dump": {"url": "x", "sha1": "0" * 40}, "duplicates": 3}
    now = {"corpus": settings, "lower_case": True, "vocabulary": "0" * 64}
    changed = now | {"corpus": settings | {"new_option": True}}

    key = CorpusConfig.model_validate(now).derivation().key
    assert LaterConfig.model_validate(now).derivation().key == key
    assert LaterConfig.model_validate(changed).derivation().key != key


def test_a_value_counts_whether_it_is_written_down_or_the_default():
    settings = {"dump": {"url": "x", "sha1": "0" * 40}}
    config = CorpusConfig.model_validate({"corpus": settings, "lower_case": True, "vocabulary": "0" * 64})
    written = CorpusConfig.model_validate(
        {"corpus": settings | {"duplicates": 10, "shards": 256}, "lower_case": True, "vocabulary": "0" * 64}
    )

    assert written.derivation().key == config.derivation().key
    assert config.derivation().resolved["corpus"]["duplicates"] == 10


def test_a_version_of_an_experiment_stays_the_same_when_options_are_added():
    graph = goldens.unrolling.build(goldens.specs.load(goldens.FOLDER / "experiment.yaml")).document
    later = graph | {"resolved": graph["resolved"] | {"new_section": None}}

    assert references.digest(later) == references.digest(graph)
    assert references.digest(graph | {"nodes": graph["nodes"][1:]}) != references.digest(graph)
