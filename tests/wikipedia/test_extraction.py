import bz2
import re

import pytest

from bertline.experiment import corpora
from bertline.text import sentences
from bertline.wikipedia import dumps, extraction

PAGE = "<page><title>A</title><ns>0</ns><id>{}</id><revision><text>{}</text></revision></page>"


def write(path, namespaces, *texts):
    names = "".join(
        f'<namespace key="{key}" case="first-letter">{name}</namespace>' for key, name in namespaces.items()
    )
    pages = "".join(PAGE.format(number, text) for number, text in enumerate(texts, 1))
    xml = f"<mediawiki><siteinfo><namespaces>{names}</namespaces></siteinfo>{pages}</mediawiki>"
    path.write_bytes(bz2.compress(xml.encode()) if path.suffix == ".bz2" else xml.encode())
    return path


def read(path, **choice):
    reading = extraction.Read()
    part = dumps.slices(path, 1 << 40)[0]
    found = [
        paragraphs
        for _, paragraphs in extraction.prose(path, part, corpora.Articles(dump=str(path), **choice), reading)
    ]
    return found, reading


VIETNAMESE = {-2: "Phương tiện", 0: "", 6: "Tập tin", 14: "Thể loại", 100: "Cổng thông tin"}
TEXT = (
    "Một [[Thể_loại:Khí hậu|x]]bài [[thể loại:Y]]viết. [[Tập tin:x|nhỏ|Một bức hình]] "
    "[[File:x.jpg|a]][[Category:Z]]Hết."
)


@pytest.mark.parametrize("name", ["wiki.xml", "wiki.xml.bz2"])
def test_namespaces_are_those_of_the_dump(tmp_path, name):
    assert read(write(tmp_path / name, VIETNAMESE, TEXT))[0] == [["Một bài viết. Hết."]]


def test_a_dump_that_names_none_has_the_usual_ones(tmp_path):
    found, _ = read(write(tmp_path / "wiki.xml", {}, "A [[Category:B]]c [[Файл:d.jpg|e]]f [[Tập tin:x|Một]]."))
    assert found == [["A c f Một."]]


def test_another_dump_at_the_same_place_has_its_own(tmp_path):
    read(write(tmp_path / "wiki.xml", {}, "A."))
    assert read(write(tmp_path / "wiki.xml", VIETNAMESE, TEXT))[0] == [["Một bài viết. Hết."]]


def test_the_experiment_chooses_language_formulas_and_templates(tmp_path):
    path = write(
        tmp_path / "wiki.xml",
        {},
        "Es sind {{formatnum:12345}} Leute. Mit {{zzz}} Rest. Da ist &lt;math>\\frac&lt;/math> drin.",
    )
    assert read(path, language="de")[0] == [["Es sind 12.345 Leute."]]
    kept = ["Es sind 12,345 Leute. Mit Rest. Da ist formula drin."]
    found, reading = read(path, unknown_templates="ignore", formulas="placeholder")
    assert found == [kept]
    assert reading.dropped_templates == {"zzz": 1}


GARBAGE = re.compile(
    r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|</?[a-z]+[ />]|''|&[a-z]+;|wikitable|style=|thumb\||https?://|\|[a-z]+=|[\ufdd0-\ufdef]"
    r"|\b(?:File|Category|Image|Datei|Kategorie|Файл|Категория|Категорія|Catégorie|Fichier):"
)
HOLE = re.compile(r" ,|\([\s,;)]|,\s*[,;.]\s|;,")
LANGUAGES = ("de", "en", "fr", "ru", "uk")


def test_real_dumps_leave_no_markup_and_no_holes(wiki_xml):
    for path in sorted(wiki_xml.glob("*.bz2")):
        (language,) = (code for code in LANGUAGES if f"{code}wiki" in path.name)
        text = [paragraph for page in read(path, language=language)[0] for paragraph in page]
        found = [sentence for paragraph in text for sentence in sentences.split(paragraph, language)]
        words = sum(len(sentence.split()) for sentence in found)
        garbage = [match[0] for sentence in found for match in GARBAGE.finditer(sentence)]
        assert len(garbage) * 1_000_000 < 10 * words, (path.name, garbage)
        holes = [sentence for sentence in found if HOLE.search(sentence)]
        assert len(holes) * 1000 < 2 * len(found), (path.name, holes)
        all_words = sum(
            len(each.split()) for page in read(path, language=language, unknown_templates="ignore")[0] for each in page
        )
        assert words > 0.97 * all_words, (path.name, words, all_words)


@pytest.mark.slow
@pytest.mark.parametrize("amount", ["prose", "all"])
def test_real_dumps_leave_no_markup_when_tables_lists_and_captions_are_kept(wiki_xml, amount):
    kept = {"list_items": amount, "tables": amount, "captions": amount, "headings": "all"}
    for path in sorted(wiki_xml.glob("*.bz2")):
        (language,) = (code for code in LANGUAGES if f"{code}wiki" in path.name)
        text = [paragraph for page in read(path, language=language, **kept)[0] for paragraph in page]
        garbage = [match[0] for paragraph in text for match in GARBAGE.finditer(paragraph)]
        assert len(garbage) * 1_000_000 < 10 * sum(len(paragraph.split()) for paragraph in text), (path.name, garbage)


# Pages of other wikis, each with the namespaces of its own dump: what stays is prose.
WIKIS = {
    "es": (
        {6: "Archivo", 14: "Categoría"},
        """{{Ficha de localidad\n| pie = La [[Giralda]]\n}}
[[Archivo:Giralda.jpg|miniaturadeimagen|izquierda|La [[Giralda]].]]
'''Sevilla''' es una ciudad de [[España]].{{Cita requerida}} Es grande.&lt;ref&gt;{{Cita web|url=http://ine.es}}&lt;/ref&gt;
Tiene {{unidad|3,94|km²}}. __SIN_TDC__ Es vieja.
== Véase también ==
* [[Anexo:Monumentos de Sevilla]]
{{Control de autoridades}}
[[Categoría:Sevilla| ]] [[Categoría:Ciudades]]""",
        ["Sevilla es una ciudad de España. Es grande. Es vieja."],
    ),
    "it": (
        {6: "File", 14: "Categoria"},
        """{{Divisione amministrativa\n|Nome=Firenze\n}}
[[File:Firenze.jpg|thumb|upright=1.2|Veduta di [[Firenze]]]]
'''Firenze''' ({{Xyz|/f/}}; {{lang|la|Florentia}}) è un [[comune]].{{Senza fonte}} L'''Arno'' la attraversa.
{{Vedi anche|Storia di Firenze}}
&lt;references /&gt;
[[Categoria:Firenze| ]]""",
        ["Firenze (Florentia) è un comune. L'Arno la attraversa."],
    ),
    "pl": (
        {6: "Plik", 14: "Kategoria"},
        """{{Miasto infobox|nazwa=Kraków}}
[[Plik:Kraków.jpg|mały|Widok na [[Wawel]].]]
'''Kraków''' – [[miasto]] nad [[Wisła|Wisłą]]{{fakt}}. Ma {{liczba|779115}} osób. Jest stary.
__BEZ_SPISU__
== Przypisy ==
* J. Kowalski, Historia miasta i jego mieszkańców, Warszawa 1990, s. 5.
[[Kategoria:Kraków| ]]""",
        ["Kraków – miasto nad Wisłą. Jest stary."],
    ),
    "ja": (
        {6: "ファイル", 14: "Category"},
        """{{日本の市|画像=[[ファイル:Kyoto.jpg|250px]]}}
[[ファイル:Kinkakuji.jpg|thumb|right|[[金閣寺]]の写真。]]
'''京都市'''は、[[日本]]の[[市]]{{要出典|date=2020年}}。{{仮リンク|歴史|en|History}}も参照。{{Lang|en|Kyoto}}と書く。
__目次非表示__
== 脚注 ==
* 山田 太 郎 京都 の 歴史 を 読む 本。
{{DEFAULTSORT:きようとし}}
[[Category:京都市|*]]
[[カテゴリ:京都]]""",
        ["京都市は、日本の市。 Kyotoと書く。"],
    ),
    "ar": (
        {6: "ملف", 14: "تصنيف"},
        """{{صندوق معلومات مدينة}}
[[ملف:Cairo.jpg|تصغير|يمين|منظر من القاهرة.]]
'''القاهرة''' هي عاصمة [[مصر]].{{حقيقة}} هل هي كبيرة؟ نعم.
__بلا_فهرس__
[[تصنيف:القاهرة]]""",
        ["القاهرة هي عاصمة مصر. هل هي كبيرة؟ نعم."],
    ),
}


@pytest.mark.parametrize("wiki", WIKIS)
def test_any_wiki_leaves_its_prose(wiki, tmp_path):
    namespaces, text, kept = WIKIS[wiki]
    assert read(write(tmp_path / "wiki.xml", namespaces, text))[0] == [kept]
