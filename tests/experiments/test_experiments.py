from pathlib import Path

import pytest
import yaml

import bertline_pipelines
from bertline import experiments
from bertline.errors import UserError

FILES = sorted(bertline_pipelines.experiment_files().glob("*.yaml"))
NANO = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())


def changed(path: str, value: object) -> dict:
    """The nano experiment with one value changed; a value of ... removes it."""
    document = yaml.safe_load(yaml.safe_dump(NANO))
    *parents, last = path.split(".")
    section = document
    for part in parents:
        section = section[part]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return document


def load(document: object, folder: Path) -> experiments.Experiment:
    path = folder / "experiment.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return experiments.load(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_that_comes_with_bertline_is_valid(path):
    assert experiments.load(path).name == path.stem


def test_nano_has_the_same_sections_as_the_real_ones():
    for path in FILES:
        assert yaml.safe_load(path.read_text()).keys() == NANO.keys()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param("corpus.dupes", 3, ["corpus.dupes", "unknown key", "duplicates"], id="unknown key"),
        pytest.param("models.2L.hiden", 3, ["models.2L.hiden", "unknown key", "hidden"], id="unknown key of a model"),
        pytest.param("pretrain.epochs", -1, ["pretrain.epochs", "-1", "1"], id="negative epochs"),
        pytest.param("pretrain.epochs", "many", ["pretrain.epochs", "many", "integer"], id="epochs in words"),
        pytest.param("corpus", ..., ["corpus", "required"], id="missing section"),
        pytest.param("models", {}, ["models", "at least 1"], id="no models"),
        pytest.param("models.2L.heads", 3, ["models.2L", "128", "heads 3"], id="heads that don't divide"),
        pytest.param("models.2L.max_positions", 32, ["max_positions 32", "64"], id="positions below the length"),
        pytest.param("corpus.max_predictions", 64, ["max_predictions 64", "sequence_length 64"], id="predictions"),
        pytest.param("corpus.masking_rate", 1.5, ["corpus.masking_rate", "1.5"], id="masking rate"),
        pytest.param("corpus.dump", "ftp://x/y", ["corpus.dump", "ftp", "http"], id="unknown scheme"),
        pytest.param("vocabulary.train", ..., ["vocabulary", "`file`", "`train`"], id="no vocabulary"),
        pytest.param("evaluate.tasks", {"SQuAD": {}}, ["SQuAD", "MNLI-m"], id="unknown task"),
        pytest.param("pretrain.seeds", [1, 1], ["pretrain.seeds", "[1, 1]"], id="seeds twice"),
        pytest.param("pretrain.learning_rate", {"schedule": "cosine"}, ["learning_rate", "linear"], id="schedule"),
        pytest.param("pretrain.learning_rate", {"schedule": "linear", "peak": float("nan")}, ["peak"], id="NaN"),
        pytest.param("name", "a/b", ["name", "a/b"], id="name with a slash"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(path, value, said, tmp_path):
    with pytest.raises(UserError) as error:
        load(changed(path, value), tmp_path)
    for part in said:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("- a\n- b\n", "list", id="a list"),
        pytest.param("a: [", "YAML", id="not YAML"),
        pytest.param("", "NoneType", id="empty"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_in_a_sentence(text, said, tmp_path):
    with pytest.raises(UserError, match=said):
        load(text, tmp_path)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="bertline init"):
        experiments.load(tmp_path / "nothing.yaml")


def test_reference_epochs_are_those_of_the_original_report():
    """Appendix A: 10^6 * 256 * 512 tokens / (batch * 128) // 10,000 steps."""
    experiment = experiments.load(bertline_pipelines.experiment_files() / "wiki-en.yaml")
    assert experiment.reference_epochs("3L") == 800
    assert experiment.reference_epochs("6L") == 1600


@pytest.mark.parametrize(
    ("epochs", "each", "ends"), [(50, 10, (10, 20, 30, 40, 50)), (5, 2, (2, 4, 5)), (3, 10, (3,)), (2, 1, (1, 2))]
)
def test_rounds_end_at_multiples_and_at_the_last_epoch(epochs, each, ends, tmp_path):
    document = changed("pretrain.epochs", epochs)
    document["pretrain"]["epochs_per_round"] = each
    assert load(document, tmp_path).pretrain.round_ends == ends


def test_relative_paths_count_from_the_files_folder(tmp_path):
    document = changed("corpus.dump", "data/../dump.xml.bz2")
    assert load(document, tmp_path).corpus.dump.url == str(tmp_path / "dump.xml.bz2")


def test_the_original_experiments_defaults_are_ours():
    """seed-facts 1.1 to 1.4; deviations are written where they are declared."""
    corpus = experiments.Corpus.model_fields
    assert (corpus["sequence_length"].default, corpus["max_predictions"].default) == (128, 20)
    assert (corpus["masking_rate"].default, corpus["short_sequence_rate"].default) == (0.15, 0.1)
    assert (corpus["duplicates"].default, corpus["seed"].default) == (10, 17)
    pretrain = experiments.Pretrain.model_fields
    assert [pretrain[name].default for name in ("epochs", "steps_per_epoch", "epochs_per_round")] == [50, 10_000, 10]
    model = experiments.Model.model_fields
    assert [model[name].default for name in ("hidden", "heads", "intermediate", "dropout")] == [256, 4, 1024, 0.1]
    optimizer = experiments.Optimizer()
    assert (optimizer.weight_decay, optimizer.beta_1, optimizer.beta_2) == (0.01, 0.9, 0.999)
    assert (optimizer.epsilon, optimizer.clip_norm) == (1e-6, 1.0)
