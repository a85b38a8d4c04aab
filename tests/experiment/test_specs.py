from pathlib import Path

import pytest
import yaml

import bertline_pipelines
from bertline.errors import UserError
from bertline.experiment import specs

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


def load(document: object, folder: Path) -> specs.Experiment:
    path = folder / "experiment.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return specs.load(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_that_comes_with_bertline_is_valid(path):
    assert specs.load(path).name == path.stem


def test_nano_has_the_same_sections_as_the_real_ones():
    for path in FILES:
        assert yaml.safe_load(path.read_text()).keys() == NANO.keys()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param("corpus.dupes", 3, ["corpus.dupes", "line 3", "did you mean duplicates?"], id="unknown key"),
        pytest.param(
            "models.2L.hiden", 3, ["models.2L.hiden", "did you mean hidden?", "layers"], id="unknown key of a model"
        ),
        pytest.param("pretrain.epochs", -1, ["pretrain.epochs", "at least 1", "found -1"], id="negative epochs"),
        pytest.param("pretrain.epochs", "many", ["pretrain.epochs", "many", "a whole number"], id="epochs in words"),
        pytest.param("corpus", ..., ["corpus is missing"], id="missing section"),
        pytest.param(
            "models.2L.layers", ..., ["models.2L.layers is missing", "Transformer layers"], id="missing field"
        ),
        pytest.param("models.2L.layers", "3", ["models.2L.layers", "a whole number", "'3'"], id="a number as text"),
        pytest.param("models.2L.layers", True, ["models.2L.layers", "a whole number", "true"], id="yes for a number"),
        pytest.param("models.2L.layers", 2.5, ["models.2L.layers", "a whole number", "2.5"], id="half a layer"),
        pytest.param("models.2L", None, ["models.2L has no value"], id="empty section"),
        pytest.param("models", ["2L"], ["models", "a section", "a list"], id="a list of models"),
        pytest.param("pretrain.seeds", 1, ["pretrain.seeds", "a list", "1"], id="one seed"),
        pytest.param("pretrain.seeds", [1, 2**47], ["pretrain.seeds[1]", "less than", str(2**47)], id="a large seed"),
        pytest.param("evaluate.seeds", [2**47], ["evaluate.seeds[0]", "less than"], id="a large seed of evaluation"),
        pytest.param("corpus.seed", 2**64, ["corpus.seed", "less than", str(2**64)], id="a large seed of the corpus"),
        pytest.param(
            "corpus.max_predictions", 62, ["max_predictions 62", "at most 61"], id="no room for [CLS] and [SEP]"
        ),
        pytest.param("pretrain.epochs", 10**9, ["epochs_per_round", "1,000,000,000 rounds"], id="endless rounds"),
        pytest.param("pretrain.steps_per_epoch", 10**30, ["steps_per_epoch", "at most"], id="more steps than integers"),
        pytest.param("models.2L.layers", 70_000, ["models.2L.layers", "at most 1000"], id="too many layers"),
        pytest.param(
            "pretrain.learning_rate", {"schedule": "constant", "warmup_steps": 0, "peak": 1e39}, ["32 bits"], id="1e39"
        ),
        pytest.param("pretrain.optimizer", {"epsilon": 1e-60}, ["optimizer.epsilon", "32 bits", "is 0"], id="1e-60"),
        pytest.param("pretrain.optimizer", {"beta_2": 1 - 1e-9}, ["optimizer.beta_2", "is 1"], id="nearly 1"),
        pytest.param("pretrain.checkpoints.every_minutes", float("inf"), ["every_minutes", "finite"], id="infinity"),
        pytest.param(
            "pretrain.learning_rate",
            {"schedule": "linear"},
            ["warmup_steps 10,000 (the default)"],
            id="default warm-up",
        ),
        pytest.param("corpus.language", "eng", ["corpus.language", "'eng'", "did you mean en?"], id="language"),
        pytest.param("name", 7, ["name", "text", 'write "7" in quotes'], id="a name that is a number"),
        pytest.param("vocabulary.lower_case", "on", ["vocabulary.lower_case", "true or false", "'on'"], id="on"),
        pytest.param(
            "pretrain.learning_rate",
            {"schedule": "constant", "warmup_steps": 451},
            ["warmup_steps 451", "450 steps", "epochs 3", "steps_per_epoch 150"],
            id="warm-up longer than training",
        ),
        pytest.param(
            "pretrain.learning_rate",
            {"schedule": "warmup-stable-decay", "warmup_steps": 400, "decay_steps": 51},
            ["decay_steps", "451", "450 steps"],
            id="warm-up and decay longer than training",
        ),
        pytest.param(
            "pretrain.learning_rate",
            {"schedule": "linear", "warmup": 3},
            ["pretrain.learning_rate.warmup is not a key", "did you mean warmup_steps?"],
            id="unknown key of a schedule",
        ),
        pytest.param(
            "pretrain.learning_rate", {"peak": 1.0}, ["pretrain.learning_rate", "`schedule`"], id="no schedule"
        ),
        pytest.param("models", {}, ["models", "at least 1"], id="no models"),
        pytest.param("models.2L.heads", 3, ["models.2L", "128", "heads 3"], id="heads that don't divide"),
        pytest.param(
            "models.2L.accumulate", 5, ["models.2L", "batch_size", "accumulate 5"], id="parts that do not divide"
        ),
        pytest.param("pretrain.precision", "float8", ["pretrain.precision", "bfloat16"], id="a type that is not there"),
        pytest.param("models.2L.max_positions", 32, ["max_positions 32", "64"], id="positions below the length"),
        pytest.param("corpus.max_predictions", 64, ["max_predictions 64", "sequence_length 64"], id="predictions"),
        pytest.param("corpus.masking_rate", 1.5, ["corpus.masking_rate", "1.5"], id="masking rate"),
        pytest.param("corpus.dump", "ftp://x/y", ["corpus.dump", "ftp", "http"], id="unknown scheme"),
        pytest.param("vocabulary.train", ..., ["vocabulary", "`file`", "`train`"], id="no vocabulary"),
        pytest.param("evaluate.tasks", {"SQuAD": {}}, ["evaluate.tasks.SQuAD", "MNLI-m"], id="unknown task"),
        pytest.param("pretrain.seeds", [1, 1], ["pretrain.seeds", "[1, 1]"], id="seeds twice"),
        pytest.param(
            "pretrain.learning_rate",
            {"schedule": "constnt"},
            ["learning_rate.schedule", "did you mean constant?", "linear"],
            id="schedule",
        ),
        pytest.param(
            "pretrain.learning_rate", {"schedule": "linear", "peak": float("nan")}, ["peak", "finite"], id="NaN"
        ),
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
        pytest.param("", "found nothing", id="empty"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_in_a_sentence(text, said, tmp_path):
    with pytest.raises(UserError, match=said):
        load(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("epochs: 3\n  epochs: 5", ["`epochs` is given twice", "first in line"], id="a key twice"),
        pytest.param("epochs: 010", ["010", "write 10 or 8"], id="octal or not"),
        pytest.param("epochs: 1:30", ["whole number", "'1:30'"], id="no base of sixty"),
    ],
)
def test_what_yaml_takes_silently_is_refused_with_its_line(text, said, tmp_path):
    source = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()
    assert source.count("  epochs: 3\n") == 1
    line = source[: source.index("  epochs: 3\n")].count("\n") + text.count("\n") + 1
    with pytest.raises(UserError) as error:
        load(source.replace("epochs: 3", text, 1), tmp_path)
    for part in [*said, f"line {line}"]:
        assert part in str(error.value)


def test_two_models_of_one_name_are_refused(tmp_path):
    source = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()
    with pytest.raises(UserError, match="`2L` is given twice"):
        load(source.replace("  4L: {", "  2L: {"), tmp_path)


@pytest.mark.parametrize(
    ("names", "seeds"), [(("2L", "2l"), [1]), (("2L", "2L-seed1"), [1, 2]), (("Big", "big"), [1, 2])]
)
def test_runs_that_would_share_a_name_are_refused(names, seeds, tmp_path):
    document = changed("pretrain.seeds", seeds)
    document["models"] = dict(zip(names, document["models"].values(), strict=True))
    if names[1].endswith("-seed1"):
        document["models"]["2L-seed1"] |= {}
        document["models"] = {"2L": document["models"]["2L"], "2L-seed1": document["models"]["2L-seed1"]}
        load(document, tmp_path)  # 2L-seed1 and 2L-seed1-seed1: no two are the same
        return
    with pytest.raises(UserError, match="two runs would be named"):
        load(document, tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.4L.heads", 3),
        ("models.4L.max_positions", 32),
        ("corpus.max_predictions", 62),
        ("pretrain.learning_rate.warmup_steps", 451),
    ],
)
def test_fields_that_dont_fit_each_other_are_told_with_the_line_of_one(path, value, tmp_path):
    with pytest.raises(UserError) as error:
        load(changed(path, value), tmp_path)
    (problem,) = error.value.problems
    assert path in problem["message"]
    line = (tmp_path / "experiment.yaml").read_text().splitlines()[problem["line"] - 1]
    assert line.strip() == f"{path.rpartition('.')[2]}: {value}"


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    document = changed("corpus.dupes", 3)
    document["models"]["2L"]["hiden"] = 3
    document["pretrain"]["epochs"] = "many"
    with pytest.raises(UserError) as error:
        load(document, tmp_path)
    lines = [problem["line"] for problem in error.value.problems]
    assert len(lines) == len(str(error.value).splitlines()) == 3
    assert None not in lines


def test_numbers_are_those_that_people_mean(tmp_path):
    """YAML 1.1, which PyYAML reads, takes 1e-3 for text and 10_000 for a number."""
    source = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()
    experiment = load(source.replace("peak: 1.0e-3", "peak: 1e-3").replace("size: 3000", "size: 3_000"), tmp_path)
    assert experiment.pretrain.learning_rate.peak == 1e-3
    assert experiment.vocabulary.train.size == 3000


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="bertline init"):
        specs.load(tmp_path / "nothing.yaml")


def test_reference_epochs_are_those_of_the_original_report():
    """Appendix A: 10^6 * 256 * 512 tokens / (batch * 128) // 10,000 steps."""
    experiment = specs.load(bertline_pipelines.experiment_files() / "wiki-en.yaml")
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
    corpus = specs.Corpus.model_fields
    assert (corpus["sequence_length"].default, corpus["max_predictions"].default) == (128, 20)
    assert (corpus["masking_rate"].default, corpus["short_sequence_rate"].default) == (0.15, 0.1)
    assert (corpus["duplicates"].default, corpus["seed"].default) == (10, 17)
    pretrain = specs.Pretrain.model_fields
    assert [pretrain[name].default for name in ("epochs", "steps_per_epoch", "epochs_per_round")] == [50, 10_000, 10]
    model = specs.Model.model_fields
    assert [model[name].default for name in ("hidden", "heads", "intermediate", "dropout")] == [256, 4, 1024, 0.1]
    optimizer = specs.Optimizer()
    assert (optimizer.weight_decay, optimizer.beta_1, optimizer.beta_2) == (0.01, 0.9, 0.999)
    assert (optimizer.epsilon, optimizer.clip_norm) == (1e-6, 1.0)
