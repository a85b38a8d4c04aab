"""What templates show, by their language's table."""

import collections

import pytest

from bertline.errors import UserError
from bertline.wikipedia import articles, template_tables, templates
from bertline.wikipedia.readings import Reading

ENGLISH = {
    "{{convert|6|ft|4|in|cm|0}}": "6 feet 4 inches",
    "{{convert|12|st|7|lb}}": "12 stone 7 pounds",
    "{{convert|60|and(-)|80|kg}}": "60 and 80 kg",
    "{{convert|3|&ndash;|4|km}}": "3–4 km",
    "{{convert|10|+/-|2|cm}}": "10 ± 2 cm",
    "{{convert|2|x|3|x|4|m}}": "2 m × 3 m × 4 m",
    "{{convert|abbr=on|5|kg}}": "5 kg",
    "{{cvt|4.5e6|km2}}": "4,500,000 km2",
    "{{convert|7|–|8|C-change}}": "7–8 °C",
    "{{convert|{{#expr:3+4}}|km}}": "7 km",
    "{{convert|1/2|mi}}": "1/2 mi",
    "{{convert|8848|m|ft|0|abbr=on}}": "8,848 m",
    "{{convert|-40|C}}": "−40 °C",
    "{{convert|5.5|e6acre}}": "5.5 million acre",
    "{{convert|5|ft|8+1/2|in|cm}}": "5 feet 8 1/2 inches",
    "{{ill|de|Hans Meier}}": "Hans Meier",
    "{{ship|HMS|Victory|1765|2}}": "HMS Victory",
    "{{lang|de|[[Bahnhof|Hauptbahnhof]]|italic=no}}": "Hauptbahnhof",
    "{{lang|de|Tegel|italic=no}}": "Tegel",
    "{{lang-ru|link=no|Концентрат}}": "Концентрат",
    "{{langx|de|Musterstadt}}": "Musterstadt",
    "{{transl|ur|ALA-LC|''[[Anthem|Surūd]]''}}": "Surūd",
    "{{transl|grc|polis}}": "polis",
    "{{nowrap|1=''E'' = ''mc''<sup>2</sup>}}": "E = mc2",
    "{{nihongo|'''Rice'''|米|Kome}}": "Rice (米, Kome)",
    "{{formatnum:6000}}": "6,000",
    "{{as of|2016|03|24|lc=y}}": "as of 24 March 2016",
    "{{frac|3|1|2}} or {{frac|1|2}}": "3 1/2 or 1/2",
    "{{val|5.97|e=24|u=kg}}": "5.97×10^24 kg",
    "{{ill|Jean Foo|fr|Jean Foo}}": "Jean Foo",
    "{{ill|Jean Foo|fr|Jean Foo|lt=John}}": "John",
    "{{USS|Enterprise|CV-6}} and {{HMS|Victory}}": "USS Enterprise (CV-6) and HMS Victory",
    "{{US$|2 billion}} or {{£|5000}}": "US$2 billion or £5,000",
    "{{circa|1200}}": "c. 1200",
    "{{chem|H|2|O}}": "H2O",
    "{{mvar|y}}": "y",
    "{{abbr|NATO|North}}": "NATO",
    "{{small|{{nowrap|{{lang|de|Tag}}}}}}": "Tag",
    "10{{sup|23}}": "10^23",
    "({{IPAc-en|lang|ə|'|k|ɪ|l|iː|z}}; {{IPA-de|ˈbaɪɐn|lang}})": "(/əˈkɪliːz/; [ˈbaɪɐn])",
    "{{IPA|/bɪt/}} or {{IPA|de|ˈbaɪɐn|lang}} or {{IPA|bɪt}}": "/bɪt/ or [ˈbaɪɐn] or bɪt",
}
RUSSIAN = {
    "{{нп5|Фоо|Фоо-сити|en|Foo City}}": "Фоо-сити",
    "{{iw|друг||en|friend}}": "друг",
    "{{не переведено 5|Ханс|de}}": "Ханс",
    "{{num|12345|км²}}": "12 345 км²",
    "{{formatnum:12345.6}}": "12 345,6",
    "{{число|5}}": "5",
    "{{comment|СССР|Союз}}": "СССР",
    "{{s|XX века}}": "XX века",
}
OTHERS = {
    ("fr", "{{s|XIX|e}}"): "XIXe siècle",
    ("fr", "{{unité|5000|km}}"): "5 000 km",
    ("fr", "{{citation|Je pense}}"): "« Je pense »",
    ("fr", "{{date|14|juillet|1789}}"): "14 juillet 1789",
    ("fr", "{{tmp|5|km}}"): "5 km",
    ("de", "{{formatnum:12345.6}}"): "12.345,6",
    ("uk", "{{не перекладено|Фоо|Бар}}"): "Бар",
}


@pytest.mark.parametrize(
    ("language", "wikitext", "expected"),
    [
        *(("en", *case) for case in ENGLISH.items()),
        *(("ru", *case) for case in RUSSIAN.items()),
        *((*key, text) for key, text in OTHERS.items()),
    ],
)
def test_a_template_shows_what_a_reader_sees(language, wikitext, expected):
    reading = Reading(language, unknown_templates="drop")
    assert articles.prose(f"Word {wikitext} word.", reading) == [f"Word {expected} word."]


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("{{quote|The sea was calm.|Author}}", "The sea was calm."),
        ("{{Blockquote|text=The sea was {{lang|de|ruhig}}.|author=X}}", "The sea was ruhig."),
        ("{{Zitat|Text=Das Meer war ruhig.|Autor=X}}", "Das Meer war ruhig."),
        ("{{цитата|Море было тихим.|автор=X}}", "Море было тихим."),
    ],
)
def test_a_quotation_is_a_paragraph(wikitext, text):
    assert articles.prose(f"He wrote: {wikitext} Then he left.") == ["He wrote:", text, "Then he left."]


def test_arguments_are_read_by_name_and_position():
    found = templates.arguments("x| a |n= b = c|[[d|e]]|3=f|<i x=1>g</i>|n=h")
    assert found == {"1": "a", "n": "h", "2": "[[d|e]]", "3": "<i x=1>g</i>"}


def test_a_name_of_another_language_is_known_where_the_own_has_none():
    assert templates.of("de").entry("Нп5").shows
    assert templates.of("fr").entry("citation").shows
    assert templates.of("en").entry("citation").hidden
    assert templates.of("es").entry("Template:Convert").shows
    assert not templates.of("en").entry("zzz").shows
    assert not templates.of("en", text=False).entry("convert").shows
    assert templates.of("en", text=False).entry("coord").hidden


def test_every_line_of_the_tables_can_be_rendered():
    names = {name for table in template_tables.own().values() for name in table.names}
    assert len(names) > 1000
    for language, table in template_tables.own().items():
        for name in table.names:
            entry = templates.of(language).entry(name)
            assert entry.shows or entry.hidden
            for inner in (f"{name}", f"{name}|5|km|x", f"{name}|text=5|{{|[", f"{name}|a=", f"{name}|9e99999|0/0"):
                entry.render(inner, language)
    for name in template_tables.FUNCTIONS:
        templates.Entry("x", name).render("x|5|km", "en")


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "templates.yaml"
        path.write_text(text)
        return path

    return write


def test_a_table_of_ones_own_is_asked_first(written):
    path = written('"<b>{1}</b>[ ({note})]": [Shout_out, convert]\n"": ["My box*"]\n"@convert": [Messen]\n')
    text = "He {{shout out|cried}}, {{Shout out|x|note=y}} {{convert|5}} and {{messen|5|km}} {{my boxes|no}}far."
    assert articles.prose(text, Reading(templates=path, unknown_templates="drop")) == [
        "He cried, x (y) 5 and 5 km far."
    ]


def test_another_table_at_the_same_place_is_read_anew(written):
    written('"{1}": [zzz]\n')
    assert articles.prose("A {{zzz|b}}.", Reading(templates=written('"{1} c": [zzz]\n'))) == ["A b c."]
    assert articles.prose("A {{zzz|b}}.", Reading(templates=written('"{1} or d": [zzz]\n'))) == ["A b or d."]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('"{1}": [a]\n"@convrt": [b]', 2, "did you mean @convert"),
        ('"@number x": [b]', 1, "@number alone"),
        ('"{1": [b]', 1, "bracket"),
        ('"[{1}": [b]', 1, "bracket"),
        ('"{1}": nowrap', 1, "list of templates' names, as"),
        ('"{1}":\n  - a\n  - 5', 3, "quotes"),
        ('"{1}": [Foo bar]\n"":\n  - foo_bar', 3, "twice"),
        ('"{1}": [a]\n"{1}": [b]', 2, "given twice"),
        ("- a", 1, "list"),
        ("{1}: [a]", 1, "key"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_line(written, text, line, said):
    with pytest.raises(UserError) as error:
        template_tables.read(written(text))
    assert [problem["line"] for problem in error.value.problems] == [line]
    assert said in str(error.value)


def test_what_is_dropped_in_sentences_is_counted_by_name():
    dropped = collections.Counter()
    text = "A {{Zzz_y|x}} b {{zzz y}} c.{{fnote}} {{cite web|x}}\n{{Box\n|a={{inner}} x}}\nD {{convert|x|km}} e."
    articles.prose(text, dropped=dropped)
    assert dropped == {"zzz y": 2, "convert": 1}
