"""What of a page becomes text, beside its paragraphs, as the experiment chooses."""

import pytest

from bertline.wikipedia import articles
from bertline.wikipedia.readings import Reading

SENTENCE = "This one has eight words and a full stop."

LISTS = f"Text.\n* Short name\n* {SENTENCE}\n; Term\n: Indented.\n== Notes ==\n* {SENTENCE}"


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        ("none", ["Text.", "Indented."]),
        ("prose", ["Text.", SENTENCE, "Indented."]),
        ("all", ["Text.", "Short name", SENTENCE, "Term", "Indented."]),
    ],
)
def test_list_items(amount, kept):
    assert articles.prose(LISTS, Reading(list_items=amount)) == kept


TABLE = f"""Before.
{{| class="wikitable"
|+ The caption of it
! scope="col" | Year !! Name
|-
| style="x" | 1900 || ''Some'' [[name|one]]
|- valign="top"
|
{SENTENCE}

A second paragraph of the cell that also is quite long.
* {SENTENCE}
|
{{|
| Within {SENTENCE.lower()}
|}}
|}}
After. <table border=1><tr><th>Head</th><td>{SENTENCE}</td></tr></table> End."""


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        ("none", ["Before.", "After. End."]),
        (
            "prose",
            [
                "Before.",
                SENTENCE,
                "A second paragraph of the cell that also is quite long.",
                f"Within {SENTENCE.lower()}",
                SENTENCE,
                "After.",
                SENTENCE,
                "End.",
            ],
        ),
    ],
)
def test_tables(amount, kept):
    assert sorted(articles.prose(TABLE, Reading(tables=amount))) == sorted(kept)


def test_all_of_a_table():
    found = articles.prose(TABLE, Reading(tables="all"))
    assert {"The caption of it", "Year", "Name", "Some one", "Head", SENTENCE, "Before.", "After."} <= set(found)
    assert not any("style" in each or "scope" in each or "valign" in each or "|" in each for each in found)


PICTURES = f"""[[File:a.jpg|thumb|220px|{SENTENCE}|alt=Not shown at all.]]Text [[Image:b.png|left|A [[map]]]] goes on.
[[File:c.jpg|thumb]]
[[File:d.jpg|mini|The ''big'' picture]]
[[Category:Maps|key of it]]
<gallery>
File:e.jpg|{SENTENCE}
File:f.jpg
</gallery>
* {SENTENCE} [[File:g.jpg|thumb|In a list]]
"""


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        ("none", ["Text goes on.", SENTENCE]),
        ("prose", ["Text goes on.", SENTENCE, SENTENCE, SENTENCE]),
        ("all", ["Text goes on.", SENTENCE, "A map", "The big picture", SENTENCE, SENTENCE, "In a list"]),
    ],
)
def test_captions(amount, kept):
    assert sorted(articles.prose(PICTURES, Reading(captions=amount))) == sorted(kept)


def test_a_caption_stands_behind_its_paragraph():
    text = f"One [[File:a.jpg|thumb|{SENTENCE}]] and\ntwo.\n\nThree."
    assert articles.prose(text, Reading(captions="prose")) == ["One and two.", SENTENCE, "Three."]


def test_headings():
    text = "Text.\n== A ''heading'' ==\nMore.\n=== {{convert|5|km}} ===\n== References ==\nSource."
    assert articles.prose(text, Reading(headings="all")) == ["Text.", "A heading", "More.", "5 km", "Source."]
    assert articles.prose(text) == ["Text.", "More.", "Source."]


def test_text_of_templates():
    text = "It is {{convert|5|km}} far. Next."
    assert articles.prose(text) == ["It is 5 km far. Next."]
    assert articles.prose(text, Reading(template_text="none")) == ["It is far. Next."]
    assert articles.prose(text, Reading(template_text="none", unknown_templates="drop")) == ["Next."]


@pytest.mark.parametrize(
    "text",
    [
        "{|\n" * 30_000,
        "{|\n|a\n" * 10_000 + "|}\n" * 10_000,
        "[[File:a.jpg|b c " * 30_000,
        "[[File:a.jpg|b c " * 30_000 + "]]" * 30_000,
        "<table><td>" * 30_000 + "</table>" * 30_000,
        "{{1|\n{|\n|a\n" * 5_000 + "|}\n}}" * 5_000,
    ],
)
@pytest.mark.timeout(20)
def test_time_stays_linear_when_all_is_kept(text):
    for paragraph in articles.prose(text, Reading(list_items="all", tables="all", captions="all", headings="all")):
        assert not any("\ufdd0" <= character <= "\ufdef" for character in paragraph)
