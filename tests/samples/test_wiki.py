import bz2
import xml.etree.ElementTree

import pytest

from bertline.samples import wiki
from bertline.text import sentences
from bertline.wikipedia import articles, dumps, pages


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "pydoc.xml.bz2"
    wiki.write_pydoc_dump(path)
    return path


@pytest.fixture(scope="module")
def every_page(dump):
    return [pages.parse(raw) for part in dumps.slices(dump, 20_000) for raw in dumps.pages(dump, part)]


def test_the_sample_is_a_valid_dump(dump):
    dumps.check(dump)
    root = xml.etree.ElementTree.fromstring(bz2.decompress(dump.read_bytes()))
    assert root.tag == "{http://www.mediawiki.org/xml/export-0.10/}mediawiki"


def test_the_same_python_writes_the_same_bytes(dump, tmp_path):
    wiki.write_pydoc_dump(tmp_path / "again.xml.bz2")
    assert (tmp_path / "again.xml.bz2").read_bytes() == dump.read_bytes()


def test_it_has_a_redirect_and_a_talk_page_for_the_filters(every_page):
    assert [page.title for page in every_page if page.redirect] == ["About assert"]
    assert [page.title for page in every_page if page.namespace == 1] == ["Talk:assert"]
    assert sum(page.is_article for page in every_page) == len(every_page) - 2


def test_it_holds_enough_prose_to_train_on(every_page):
    found = [
        sentence
        for page in every_page
        if page.is_article
        for paragraph in articles.prose(page.text)
        for sentence in sentences.split(paragraph, "en")
    ]
    assert sum(page.is_article for page in every_page) >= 70
    assert sum(len(sentence.split()) for sentence in found) > 40_000
    assert len(found) > 2500
    assert sum(len(sentence.split()) < 4 for sentence in found) < 20


def test_prose_about_markup_survives_markup(every_page):
    page = next(page for page in every_page if page.title == "formatstrings")
    text = " ".join(articles.prose(page.text))
    assert 'it can be escaped by doubling: "{{" and "}}".' in text
    assert "::=" not in text
    assert ">>>" not in text
    assert "Infobox" not in text
