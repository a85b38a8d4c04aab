"""What a reader of a page sees, case by case; MediaWiki's own rules where it has some."""

import pytest

from bertline.wikipedia import articles
from bertline.wikipedia.readings import Reading

APOSTROPHES = {
    "The ''Iliad'''s description is long.": "The Iliad's description is long.",
    "''Iliad'''s lines. ''Hamlet'''s author wrote more.": "Iliad's lines. Hamlet's author wrote more.",
    "Il lut l'''Iliade''.": "Il lut l'Iliade.",
    "Il prit l'''Aurore'' et lut l'''Iliade''.": "Il prit l'Aurore et lut l'Iliade.",
    "Parla dell'''Eneide''.": "Parla dell'Eneide.",
    "L'''''Iliade''''' est long.": "LIliade est long.",
    "A '''bold''' and ''italic'' line.": "A bold and italic line.",
    "He said '''x''' and ''y.": "He said x and y.",
    "A ''{{zzz}}'' b.": "A b.",
    "One ''two.\nThree'' four.": "One two. Three four.",
    "Q<nowiki/>''x''.": "Qx.",
    "'''Firenze''' è qui. L'''Arno'' la attraversa.": "Firenze è qui. L'Arno la attraversa.",
}

END_TAGS = {
    "One.<ref>a</ref > Two.<ref>b</ref> Three.": "One. Two. Three.",
    "One.<ref>a</REF> Two.": "One. Two.",
    "One.<Ref>a</ref\n> Two.": "One. Two.",
    "It is <nowiki>x</NoWiki > and y.": "It is x and y.",
    "A <gallery>\nA.jpg|Caption\n</gallery > B.": "A B.",
    "A <math>\\frac{1}{2}</Math > b.\n\nC.": "C.",
}

TAGS = {
    "<noinclude>It has ten parts.</noinclude>": "It has ten parts.",
    "A <noinclude>b</noinclude><includeonly>x</includeonly> c.": "A b c.",
    "A <onlyinclude>b</onlyinclude> c.": "A b c.",
    'On <time datetime="x">3 May</time>, <data value="1">one</data> <rb>x</rb>.': "On 3 May, one x.",
    "<languages /><translate>Text <tvar name=1>[[x]]</tvar> here.</translate>": "Text x here.",
    "A <somewhat new='1'>b</somewhat> c.": "A b c.",
    "A List<String> x, 1 < 2 > 0, <stdio.h>.": "A List<String> x, 1 < 2 > 0, <stdio.h>.",
}

POWERS = {
    "It has 6.02×10<sup>23</sup> atoms, 2<sup>10</sup> is 1024.": "It has 6.02×10^23 atoms, 2^10 is 1024.",
    "It is 10<sup>−10</sup> m and 5<sup>th</sup>.": "It is 10^−10 m and 5th.",
    "''10''<SUP>3</SUP> is it.": "10^3 is it.",
    "A km<sup>2</sup> of H<sub>2</sub>O.": "A km2 of H2O.",
    "The number 101<sub>2</sub> is 5.": "The number 101_2 is 5.",
}

CODE = {
    'Use <syntaxhighlight lang="python" inline>print(x)</syntaxhighlight> here.': "Use print(x) here.",
    'Use <source lang="c" enclose="none">int x</source> here.': "Use int x here.",
    "Use <code><nowiki>a[0] = {1|2} < 3</nowiki></code> here.": "Use a[0] = {1|2} < 3 here.",
    "Use <nowiki>* '''x''' {{y}} [[z]]</nowiki> here.": "Use * '''x''' {{y}} [[z]] here.",
    "A <syntaxhighlight>x = 1</syntaxhighlight> b.": "A b.",
}

VARIANTS = {
    "A -{zh-hans:B; zh-hant:C}- d.": "A B d.",
    "A -{B}- c.": "A B c.",
    "A -{H|zh-cn:B; zh-tw:C}-d.": "A d.",
    "A -{zh-hans;zh-hant|B}- c.": "A B c.",
}

MAGIC = {
    "__NOTOC__A. __NO_TOC__": "A.",
    "__notoc__A.": "A.",
    "__KEIN_INHALTSVERZEICHNIS__A.": "A.",
    "__无目录__A.": "A.",
    "__لافهرس__A.": "A.",
    "__БЕЗ_ОГЛ__A.": "A.",
    "In C, __FILE__ and __init__ stay.": "In C, __FILE__ and __init__ stay.",
}


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [case for group in (APOSTROPHES, END_TAGS, TAGS, POWERS, CODE, VARIANTS, MAGIC) for case in group.items()],
)
def test_a_line_reads_as_on_the_page(wikitext, expected):
    assert articles.prose(wikitext) == [expected]


@pytest.mark.parametrize("mark", ["!Kung", "*NSYNC", "#1", ":Film", ";x", "-x"])
@pytest.mark.parametrize(
    "around", ["'''{}'''", "''{}''", "[[Page|{}]]", "{{{{nowrap|{}}}}}", "<b>{}</b>", "<nowiki/>{}"]
)
def test_a_line_is_of_the_kind_that_its_source_shows(mark, around):
    line = around.format(mark) + " is a name"
    assert articles.prose(line) == [f"{mark} is a name"]


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("First half\n<!-- note -->\nand second.", ["First half and second."]),
        ("First half\n  <!-- note -->  \nand second.", ["First half and second."]),
        ("One.\n\n<!-- note -->\n\nTwo.", ["One.", "Two."]),
        ("One.\n<!-- note -->\n{|\n| x\n|}\nTwo.", ["One.", "Two."]),
        ("A line<br>* and more.", ["A line * and more."]),
        ("One.<p>Two.</p>Three.", ["One.", "Two.", "Three."]),
        ("<tabber>One=First text|-|Two=Second [[text]]</tabber>\nLast.", ["First text", "Second text Last."]),
        ('Intro.\n{| class="wikitable"\n! A !! B\n\nProse after.', ["Intro.", "Prose after."]),
        ("[[File:x.jpg|thumb|One\n\nTwo with [[link]].\n\nThree.]]\nText.", ["Text."]),
        ("[[File:x.jpg|thumb|One\n\n[[broken\n\nTwo.]]\nText.", ["Text."]),
        ("[[File:x.jpg|thumb|One\n\nTwo.\n== Heading ==\nText.", ["Two.", "Text."]),
        ("[[Bildo:x.jpg|eta|Urbo.]] Text.", ["Text."]),
        ("Text.\n[[Kategorio:Urboj]]\n[[Portalo:X|a]]", ["Text."]),
    ],
)
def test_paragraphs_are_those_of_the_page(wikitext, expected):
    assert articles.prose(wikitext) == expected


ITEM = "* Smith, John (1999). ''The Big Book of Small Things''. London: Penguin Books."


@pytest.mark.parametrize(
    "wikitext",
    [
        f"== References ==\n=== Books ===\n{ITEM}",
        f"== References ==\n=== Books ===\n==== In German ====\n{ITEM}",
        f"== See Also: ==\n{ITEM}",
        f"== '''References''' ==\n{ITEM}",
        "== References ==\n:Smith, John (1999). ''The Big Book''. London.",
        f"<h2>References</h2>\n{ITEM}",
    ],
)
def test_citations_under_subheadings_are_citations(wikitext):
    assert articles.prose(wikitext) == []


def test_a_section_of_references_ends_with_the_next_of_its_level():
    wikitext = (
        f"=== References ===\n==== Books ====\n{ITEM}\n=== Life ===\n* He was born in the north of the country in 1900."
    )
    assert articles.prose(wikitext) == ["He was born in the north of the country in 1900."]


FORMULAS = (
    "Let <math>x</math> be a mass. Here <math>\\frac{x}{2}</math> is energy. Then\n:<math>E=mc^2</math>\n\n"
    "where <math>E</math> is energy. The end."
)


def test_a_sentence_with_a_formula_is_left_out():
    assert articles.prose(FORMULAS) == ["Let x be a mass. The end."]


def test_a_word_can_stand_for_a_formula():
    assert articles.prose(FORMULAS, Reading(formulas="placeholder")) == [
        "Let x be a mass. Here formula is energy. Then formula where E is energy. The end."
    ]


def test_a_sentence_lacks_nothing_where_a_template_is_not_known():
    text = "He saw {{zzz|x}} there. He left.{{fnote}} The {{zzz}}, he said, is old.\n\nIt is {{zzz}} old. Fine."
    drop = Reading(unknown_templates="drop")
    assert articles.prose(text, drop) == ["He left.", "Fine."]
    assert articles.prose("A (B; {{zzz|b}}, C) d.", drop) == ["A (B, C) d."]
    assert articles.prose("A word.{{fnote|x}} {{fnote}} Next one.", drop) == ["A word. Next one."]
    assert articles.prose("{{Infobox\n|a=b\n}}'''A''' is it.", drop) == ["A is it."]
    assert articles.prose("He saw {{zzz|x}} there.") == ["He saw there."]


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("<!-- no {{disambig}} here -->A town.", False),
        ("A page has <nowiki>{{disambig}}</nowiki> at its end.", False),
        ("<!-- __DISAMBIG__ -->A town.", False),
        ("<!-- x -->A may be:\n{{disambig}}", True),
        ("<!-- unclosed {{disambig}}", True),
    ],
)
def test_a_comment_makes_no_disambiguation_page(wikitext, expected):
    assert articles.is_disambiguation(wikitext) is expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("京都市は市である{{要出典|date=2020年}}。大きい。", ["京都市は市である。大きい。"]),
        ("大きい。{{仮リンク|歴史|en|History}}も参照。終わり。", ["大きい。 終わり。"]),
        ("{{ルビ|平安京|へいあんきょう}}は794年に建設された。終わり。", ["終わり。"]),
        ("市の{{読み仮名|府庁|ふちょう}}所在地。終わり。", ["終わり。"]),
        ("{{日本の市}}\n京都市は市である。", ["京都市は市である。"]),
        ("เมือง{{xyz|a}}ใหญ่", []),
    ],
)
def test_a_template_within_text_without_spaces_is_a_hole(text, kept):
    assert articles.prose(text, Reading(unknown_templates="drop")) == kept
