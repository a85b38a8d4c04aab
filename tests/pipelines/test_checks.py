"""What can be known without running is known before anything runs, all of it at once."""

import pytest
import yaml

import bertline_pipelines
from bertline import experiments
from bertline.errors import UserError
from bertline_pipelines import checks


@pytest.fixture
def experiment(tmp_path):
    def make(**changes):
        document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
        for section, values in changes.items():
            document[section] |= values
        path = tmp_path / "my.yaml"
        path.write_text(yaml.safe_dump(document))
        return experiments.load(path)

    return make


def test_sample_inputs_are_fine(experiment):
    checks.inputs(experiment())


def test_what_the_last_pass_of_the_corpus_would_refuse_is_refused_now(experiment):
    with pytest.raises(UserError, match="dupe_factor"):
        checks.inputs(experiment(corpus={"duplicates": 2**32 + 1}))


def test_every_wrong_input_is_named(experiment, tmp_path):
    (tmp_path / "dump.xml").write_text("no dump")
    (tmp_path / "train.tsv").write_text("no columns\n")
    (tmp_path / "vocab.txt").write_text("no pieces\n")
    wrong = experiment(
        corpus={"dump": "dump.xml"},
        vocabulary={"file": "vocab.txt", "train": None},
        evaluate={"tasks": {"MNLI-m": {"train": "train.tsv", "dev": "nowhere.tsv"}}},
    )
    with pytest.raises(UserError) as error:
        checks.inputs(wrong)
    for name in ("dump.xml", "vocab.txt", "train.tsv", "nowhere.tsv"):
        assert name in str(error.value)


@pytest.mark.parametrize(
    "page", ["<ns>1</ns><id>{0}</id><revision><text>Talk.</text>", "<ns>0</ns><id>{0}</id><text/>"]
)
def test_a_dump_without_an_article_is_told_now(experiment, tmp_path, page):
    pages = "".join(f"<page><title>P</title>{page.format(number)}</page>" for number in range(1, 20))
    (tmp_path / "stub.xml").write_text(f"<mediawiki>{pages}</mediawiki>")
    with pytest.raises(UserError, match=r"stub\.xml has no article with prose among the 19 pages"):
        checks.inputs(experiment(corpus={"dump": "stub.xml"}))
