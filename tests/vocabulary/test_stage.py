"""The vocabulary stage: a checked file, or one trained on the articles, always the same."""

import bz2
import hashlib
from pathlib import Path

import pytest

from bertline import samples
from bertline.errors import UserError
from bertline.store.backends import connect
from bertline.text import wordpiece
from bertline.vocabulary import stage
from bertline.vocabulary.config import VocabularyConfig

DATA = Path(__file__).parents[2] / "../shared/data"
SPECIAL = "".join(f"{piece}\n" for piece in wordpiece.SPECIAL_TOKENS)


@pytest.fixture(scope="session")
def pydoc(tmp_path_factory):
    return samples.write("pydoc-topics", tmp_path_factory.mktemp("pydoc"))


@pytest.fixture
def build(tmp_path):
    """Runs the stage on a fresh store; gives the realization and the text of vocab.txt."""

    def run(articles=None, *, lower_case=True, **choice):
        config = {"vocabulary": {"lower_case": lower_case, **choice}, "articles": articles}
        realization = stage.run(VocabularyConfig.model_validate(config), connect(str(tmp_path / "store")))
        (path,) = realization.stage(["vocab.txt"], tmp_path)
        return realization, path.read_text(encoding="utf-8")

    return run


def write_dump(folder, *texts, namespace=0):
    path = folder / "some.xml"
    pages = (
        f"<page><title>P</title><ns>{namespace}</ns><id>{number}</id><revision><id>1</id><text>{text}</text></revision>"
        "</page>\n"
        for number, text in enumerate(texts, start=1)
    )
    path.write_text(f"<mediawiki>\n{''.join(pages)}</mediawiki>\n")
    return path


def test_a_file_is_taken_as_it_is(tmp_path, build):
    text = f"{SPECIAL}the\n##s\n日本\n"
    (tmp_path / "v.txt").write_text(text, encoding="utf-8")
    realization, found = build(file=str(tmp_path / "v.txt"))
    assert found == text
    assert realization.manifest.results == {"pieces": 8, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert realization.paths() == ["vocab.txt"]


def test_one_is_trained_on_the_articles_prose(pydoc, build):
    realization, text = build({"dump": str(pydoc)}, train={"size": 1000})
    vocabulary = wordpiece.parse(text, "trained")
    results = realization.manifest.results
    assert results["pieces"] == vocabulary.size == 1000
    assert results["sha256"] == vocabulary.sha256
    assert results["articles"] == 79
    assert vocabulary.cased_piece is None
    # Language was learnt: frequent words are pieces, and little is unknown.
    assert {"the", "object", "##ing"} <= set(vocabulary.pieces)
    ids = wordpiece.Tokenizer(vocabulary, lower_case=True).encode("The object returns an iterator.")
    assert vocabulary.unk_id not in ids


def test_a_cased_one_keeps_upper_case(pydoc, build):
    _, text = build({"dump": str(pydoc)}, train={"size": 1000}, lower_case=False)
    assert {"Python", "The"} <= set(text.splitlines())


def test_reading_stops_at_the_characters_asked_for(pydoc, build):
    results = build({"dump": str(pydoc)}, train={"size": 300, "max_characters": 5000})[0].manifest.results
    assert 5000 <= results["characters"] < 8000
    assert results["articles"] < 20


def test_it_changes_only_with_the_algorithm_version(tmp_path, build):
    """If this fails, vocabularies are others: raise VocabularyConfig.ALGORITHM_VERSION, then correct the digest."""
    dump = write_dump(
        tmp_path,
        "'''Rain''' falls in [[Spain]], mainly on the plain. Rain, rain: the plain is plain again! " * 2,
        "Ångström’s naïve café; Дождь, дождь. 日本 and 日本. The rain in the plain remains the same. " * 2,
        "#REDIRECT [[Rain]]",
    )
    realization, _ = build({"dump": str(dump)}, train={"size": 100})
    expected = "967aae5518f5d0a1afd5644b06f7cd966a86a57b5133826aabed47370fe066bf"
    assert (VocabularyConfig.ALGORITHM_VERSION, realization.manifest.results["sha256"]) == (3, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SPECIAL.replace("[MASK]\n", "word\n"), r"\[MASK\] isn't among them"),
        (f"{SPECIAL}Paris\n", "lower_case is true, but the vocabulary is cased: it has 'Paris'"),
        ("", "is empty"),
    ],
)
def test_a_file_that_cannot_serve_is_refused(text, message, tmp_path, build):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        build(file=str(tmp_path / "v.txt"))
    assert not list((tmp_path / "store").glob("objects/vocabulary/*/manifest.json"))


@pytest.mark.parametrize(("texts", "namespace"), [((), 0), (("Talk, and more talk.",), 1), (("#REDIRECT [[A]]",), 0)])
def test_a_dump_without_articles_is_refused(texts, namespace, tmp_path, build):
    dump = write_dump(tmp_path, *texts, namespace=namespace)
    with pytest.raises(UserError, match="has no article with prose to train a vocabulary on"):
        build({"dump": str(dump)}, train={"size": 100})


def test_a_damaged_dump_is_refused_or_skipped_as_asked(pydoc, tmp_path, build):
    content = bytearray(bz2.compress(bz2.decompress(pydoc.read_bytes()), 1))
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "damaged.xml.bz2").write_bytes(content)
    articles = {"dump": str(tmp_path / "damaged.xml.bz2")}
    with pytest.raises(UserError, match="the bz2 block at byte"):
        build(articles, train={"size": 300})
    realization, _ = build(articles | {"on_corrupt": "skip"}, train={"size": 300})
    assert 0 < realization.manifest.results["articles"] < 79


def test_real_pages_give_a_full_vocabulary(build):
    dump = DATA / "wiki_xml" / "enwiki-206-pages.xml.bz2"
    if not dump.exists():
        pytest.skip("the real dumps aren't here: shared/data/wiki_xml")
    realization, text = build({"dump": str(dump)}, train={"size": 2000, "max_characters": 300_000})
    assert realization.manifest.results["pieces"] == 2000
    assert {"the", "of", "century"} <= set(text.splitlines())
