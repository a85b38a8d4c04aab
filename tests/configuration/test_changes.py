"""`--set`: parts of a file given anew on the command line."""

import pytest

from bertline.configuration import yamlfiles
from bertline.configuration.yamlfiles import FileError
from bertline.errors import UserError
from bertline.experiment import specs

FILE = """
name: small
corpus: {dump: "sample:pydoc-topics"}
vocabulary: {train: {size: 3000}, lower_case: true}
models:
  2L: {layers: 2, batch_size: 32}
pretrain: {epochs: 2, steps_per_epoch: 10, epochs_per_round: 1, learning_rate: {schedule: constant, warmup_steps: 5}}
evaluate:
  tasks: {sample-nli: {train: "sample:nli/train", dev: "sample:nli/dev"}}
  seeds: [1, 2]
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "small.yaml").write_text(FILE)
    return yamlfiles.read(tmp_path / "small.yaml")


def test_values_are_yaml(file):
    changes = [
        "pretrain.epochs=4",
        "models.2L.hidden=64",
        "evaluate.seeds=[3, 4, 5]",
        "corpus.seed=1",
        "description=a: b",
    ]
    experiment = specs.of(file.changed(changes[:-1]))
    assert experiment.pretrain.epochs == 4
    assert experiment.models["2L"].hidden == 64
    assert experiment.evaluate.seeds == (3, 4, 5)
    assert specs.of(file).pretrain.epochs == 2, "the file itself stays as it is"
    with pytest.raises(UserError, match="description: expected text"):
        specs.of(file.changed(["description=a: b"]))


def test_an_entry_of_a_list_and_a_section_that_is_not_there_yet(file):
    experiment = specs.of(file.changed(["evaluate.seeds.1=7", "pretrain.checkpoints.every_steps=5"]))
    assert experiment.evaluate.seeds == (1, 7)
    assert experiment.pretrain.checkpoints.every_steps == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("pretrain.epoch=4", "pretrain.epoch is not a key here; did you mean epochs"),
        ("models.2L.batch_size=0", "models.2L.batch_size: expected at least 1, found 0"),
        ("pretrain.epochs=many", "pretrain.epochs: expected a whole number"),
    ],
)
def test_a_wrong_value_is_told_by_its_key_without_a_line(file, change, said):
    with pytest.raises(FileError, match=said) as error:
        specs.of(file.changed([change]))
    [problem] = error.value.problems
    assert problem["line"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("pretrain", "expected KEY=VALUE"),
        ("pretrain..epochs=1", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("name.x=1", "which has no x"),
        ("evaluate.seeds.2=1", r"which has no 2"),
        ("pretrain.epochs=010", "write 10 or 8"),
        ("evaluate.seeds=[1", "a bracket isn't closed"),
    ],
)
def test_what_is_no_change_is_refused(file, change, said):
    with pytest.raises(UserError, match=said):
        file.changed([change])
