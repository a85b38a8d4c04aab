"""What can be known without running is known before anything runs, all of it at once and with its line."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import bertline_pipelines
from bertline.corpus import passes
from bertline.errors import UserError
from bertline.experiment.corpora import Corpus
from bertline_cli import arguments
from bertline_pipelines.planning import input_checks


@pytest.fixture
def load(tmp_path):
    def make(**changes):
        document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
        for section, values in changes.items():
            document[section] |= values
        path = tmp_path / "my.yaml"
        path.write_text(yaml.safe_dump(document))
        experiment, _ = arguments.load(path)
        return list(input_checks.warnings(experiment))

    return make


def test_sample_inputs_are_fine(load):
    assert load() == []


def test_what_the_last_pass_of_the_corpus_would_refuse_is_refused_now(load):
    with pytest.raises(UserError, match=r"corpus: .*dupe_factor"):
        load(corpus={"duplicates": 2**32 + 1})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_the_experiment_accepts_the_corpus_stage_accepts(data):
    length = data.draw(st.sampled_from([16, 17, 128, 511, 512]))
    corpus = Corpus(
        dump="sample:pydoc-topics",
        sequence_length=length,
        max_predictions=data.draw(st.integers(1, length - 3)),
        masking_rate=data.draw(st.sampled_from([1e-30, 0.15, 0.99])),
        short_sequence_rate=data.draw(st.sampled_from([0, 1e-30, 1])),
        duplicates=data.draw(st.sampled_from([1, 10, 2**32])),
        seed=data.draw(st.integers(0, 2**64 - 1)),
    )
    passes.instance_options(corpus)


def test_every_wrong_input_is_named_with_its_line_beside_the_files_own_mistakes(load, tmp_path):
    (tmp_path / "dump.xml").write_text("no dump")
    (tmp_path / "train.tsv").write_text("no columns\n")
    (tmp_path / "vocab.txt").write_text("no pieces\n")
    with pytest.raises(UserError) as error:
        load(
            corpus={"dump": "dump.xml"},
            vocabulary={"file": "vocab.txt", "train": None},
            evaluate={"tasks": {"MNLI-m": {"train": "train.tsv", "dev": "nowhere.tsv"}}},
            pretrain={"epochs": -1},
        )
    lines = (tmp_path / "my.yaml").read_text().splitlines()
    found = {problem["message"].partition(":")[0]: lines[problem["line"] - 1] for problem in error.value.problems}
    assert set(found) == {
        "corpus.dump",
        "vocabulary.file",
        "evaluate.tasks.MNLI-m.train",
        "evaluate.tasks.MNLI-m.dev",
        "pretrain.epochs",
    }
    for place, line in found.items():
        assert place.rpartition(".")[2] in line


@pytest.mark.parametrize(
    ("dump", "said"),
    [
        ("~nobody-of-this-name/x", "is no path"),
        (".", "is a folder"),
        ("", "found nothing"),
        ("a" * 5000, "too long"),
        ("/proc/self/mem", "can't read"),
        ({"path": "x"}, "corpus.dump.url is missing"),
        (["x"], "a path, a URL or `sample:NAME`"),
    ],
    ids=["home of nobody", "a folder", "empty", "too long", "unreadable", "another key", "a list"],
)
def test_a_path_that_cant_be_read_is_the_users_error(dump, said, load):
    with pytest.raises(UserError, match=r"line \d+: corpus\.dump") as error:
        load(corpus={"dump": dump})
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pretrain": {"epochs_per_round": 10}}, "epochs_per_round 10 is above pretrain.epochs 3"),
        ({"corpus": {"masking_rate": 0.5}}, "of 64 tokens is 32, and corpus.max_predictions allows 10"),
        ({"evaluate": {"tasks": {"sample-nli": dict.fromkeys(("train", "dev"), "sample:nli/dev")}}}, "one file"),
    ],
)
def test_what_can_be_meant_and_mostly_isnt_is_a_warning(changes, said, load):
    (warning,) = load(**changes)
    assert said in warning


@pytest.mark.parametrize(
    "page", ["<ns>1</ns><id>{0}</id><revision><text>Talk.</text>", "<ns>0</ns><id>{0}</id><text/>"]
)
def test_a_dump_without_an_article_is_told_now(load, tmp_path, page):
    pages = "".join(f"<page><title>P</title>{page.format(number)}</page>" for number in range(1, 20))
    (tmp_path / "stub.xml").write_text(f"<mediawiki>{pages}</mediawiki>")
    with pytest.raises(UserError, match=r"stub\.xml has no article with prose among the first 19 pages"):
        load(corpus={"dump": "stub.xml"})


def test_an_option_without_effect_is_said(load):
    changes = {"next_sentence": False, "short_sequence_rate": 0.2}
    (said,) = load(corpus=changes, pretrain={"next_sentence": False})
    assert "short_sequence_rate" in said


def test_a_corpus_without_next_sentences_cant_train_them(load):
    with pytest.raises(UserError, match=r"pretrain\.next_sentence.*corpus\.next_sentence"):
        load(corpus={"next_sentence": False})


def test_a_table_of_templates_is_looked_at_with_its_own_lines(load, tmp_path):
    (tmp_path / "templates.yaml").write_text('"{1}": [far]\n"@convrt": [near]\n')
    with pytest.raises(UserError, match=r"corpus\.templates: .*templates\.yaml, line 2: .*did you mean @convert"):
        load(corpus={"templates": "templates.yaml"})
