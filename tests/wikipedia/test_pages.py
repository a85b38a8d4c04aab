import xml.etree.ElementTree

import pytest

from bertline import errors
from bertline.wikipedia import dumps, pages


def page(text="", head="", revision='<revision><id>9</id><text bytes="1">{}</text></revision>'):
    return f"<page><title>A &amp; B</title><ns>0</ns><id>7</id>{head}{revision.format(text)}</page>"


def test_real_pages_are_parsed_as_an_xml_parser_does(wiki_xml):
    for path in sorted(wiki_xml.glob("*.bz2")):
        for raw in dumps.pages(path, dumps.slices(path, 1 << 40)[0]):
            tree = xml.etree.ElementTree.fromstring(raw)
            assert pages.parse(raw) == pages.Page(
                id=int(tree.findtext("id")),
                title=tree.findtext("title"),
                namespace=int(tree.findtext("ns")),
                redirect=tree.find("redirect") is not None,
                text=tree.findtext("revision/text") or "",
            )


def test_articles_of_the_real_dump_are_as_many_as_its_readme_says(enwiki):
    found = [pages.parse(raw) for raw in dumps.pages(enwiki, dumps.slices(enwiki, 1 << 40)[0])]
    assert (len(found), sum(page.redirect for page in found), sum(page.is_article for page in found)) == (206, 100, 106)


def test_escapes_are_undone_once():
    assert pages.parse(page("&lt;ref&gt; &amp;lt; &amp;amp;nbsp; &quot;")).text == '<ref> &lt; &amp;nbsp; "'
    assert (
        pages.parse(page("&#39;&#x41;&#38;lt; &lt;b&gt; &amp;#39; &#0;&#xD800;")).text
        == "'A&lt; <b> &#39; \ufffd\ufffd"
    )
    assert pages.parse(page()).title == "A & B"


def test_the_last_of_several_revisions_counts():
    both = "<revision><text>old</text></revision><revision><text>new</text></revision>"
    assert pages.parse(page(revision=both)).text == "new"


@pytest.mark.parametrize(
    "revision", ["", "<revision><text /></revision>", '<revision><text deleted="deleted"/></revision>']
)
def test_a_page_without_text_is_empty(revision):
    assert pages.parse(page(revision=revision)).text == ""


def test_a_redirect_is_known_by_its_element_or_its_text():
    assert pages.parse(page(head='<redirect title="X" />')).redirect
    assert pages.parse(page("#перенаправление [[X]]")).redirect
    assert not pages.parse(page("See #redirect.")).redirect


def test_the_main_slot_counts():
    slots = "<revision><text>shown</text><content><role>extra</role><text>never shown</text></content></revision>"
    assert pages.parse(page(revision=slots)).text == "shown"
    assert pages.parse(page(revision=slots.replace("<text>shown</text>", "<text />"))).text == ""


def test_cdata_is_text_as_it_stands():
    assert pages.parse(page("<![CDATA[a < b &amp; <ref>c</ref></text>]]> &lt;d<![CDATA[e]]>")).text == (
        "a < b &amp; <ref>c</ref></text> <de"
    )


@pytest.mark.parametrize("number", ["", "<id></id>", "<id>x</id>", "<id>²</id>", f"<id>{2**64}</id>", "<id>-1</id>"])
def test_what_is_no_page_is_refused_by_its_title(number):
    with pytest.raises(errors.UserError, match=r"numeric <id> below.*title 'Some page'"):
        pages.parse(f"<page><title>Some page</title>{number}</page>")
