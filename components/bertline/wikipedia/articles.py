"""Wikitext → paragraphs of prose, always in linear time.

Three passes; each scans the tokens of one regular expression, with an explicit stack for nested structures:

1. `structure`: templates, tables, comments, references, formulas, galleries, …
2. `links`
3. here: markup within a line: external links, tags, apostrophes, entities, headings, list items. The source decides the
   kind of a line: a bold asterisk doesn't begin a list item.

Time is linear because each token is read once and pushed and popped at most once; a failed search for an end tag isn't
repeated; no pattern can run over the begin of its own next match; and nesting is limited. Unclosed markup loses its
token and keeps its text. No input raises an error.
"""

import html
import re
from collections import Counter

from bertline.experiment.corpora import Amount
from bertline.text import sentences
from bertline.wikipedia import links, marks, structure
from bertline.wikipedia.marks import CAPTION, CAPTION_END, CELL, FORMULA, GUARD, HOLE
from bertline.wikipedia.readings import Reading

_DEFAULT = Reading()

_EXTERNAL = re.compile(r"\[(?:(?:https?|ftp|irc|gopher)?:?//|mailto:|news:)[^\s\[\]<>]*+[ \t]*+([^\[\]\n]*+)\]")
_HEADING = re.compile(r"<(?i:h)([1-6])\b[^<>]*>([^<>\n]*+)</(?i:h)\1\s*+>")
_BREAKS = re.compile(r"</?(?i:hr|p|div|blockquote|li|dd|dt|poem|center|h[1-6])\b[^<>]*>")
_LINE_BREAKS = re.compile(r"</?(?i:br)\b[^<>]*>")
_POWERS = re.compile(r"<(?i:su([pb]))\b[^<>]*>(?=[ '−–+-]{0,4}\d)")
# A type that looks like a tag: `List<String>`.
_TYPES = "t|k|v|e|n|x|y|int|char|string|bool|float|double|void|type|name|object|any"
_TAGS = re.compile(rf"</?(?!(?i:{_TYPES})[\s/>])[A-Za-z][A-Za-z\d:-]*+(?:[\s/\"][^<>]*+)?>|<!--|-->")
_QUOTES = re.compile(r"''+")
_MAGIC = re.compile(r"__[^\W\d_]++(?:_[^\W\d_]++)*+__")
# MediaWiki takes these in any case.
_MAGIC_WORDS = frozenset(
    ("notoc", "nogallery", "forcetoc", "toc", "noeditsection", "notitleconvert", "notc", "nocontentconvert", "nocc")
)
# Upper-case words that aren't magic words.
_MACROS = frozenset(("FILE", "LINE", "DATE", "TIME", "FUNC", "FUNCTION", "COUNTER", "VA_ARGS", "END", "DATA", "DIR"))
_VARIANT = re.compile(r"-\{([^{}\n]*+)\}-")
_VARIANT_NAME = re.compile(r"\s*(?:[A-Za-z-]+\s*=>\s*)?[a-z]{2,3}(?:-[a-z]+)*\s*:(?!//)")
_LINE_START = re.compile(r"\n(?=[ \t]*['\[<])")
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff\x00-\x08\x0b-\x1f]")
_URL = re.compile(r"https?://[^\s()<>]+")
# Sections whose list items are titles of books, even if they look like sentences.
_TITLES = (
    "references|bibliography|further reading|external links|see also|notes|sources|footnotes|works cited|citations|"
    "literature|publications|works|selected works|discography|filmography|primary sources|secondary sources|"
    "notes and references|"
    "примечания|литература|ссылки|см. также|источники|библиография|сочинения|труды|дискография|фильмография|"
    "примітки|література|посилання|див. також|джерела|"
    "einzelnachweise|literatur|weblinks|siehe auch|quellen|werke|schriften|anmerkungen|"
    "références|bibliographie|liens externes|voir aussi|notes et références|annexes|articles connexes|œuvres|"
    "referencias|bibliografía|enlaces externos|véase también|note|bibliografia|collegamenti esterni|"
    "voci correlate|"
    "przypisy|bibliografia|linki zewnętrzne|zobacz też|uwagi|"
    "referências|bibliografia|ligações externas|ver também|leitura adicional|"
    "referenties|bronnen|externe links|externe link|zie ook|noten|literatuur|"
    "referenser|källor|externa länkar|se även|vidare läsning|"
    "reference|externí odkazy|související články|poznámky|literatura|"
    "kaynakça|dış bağlantılar|ayrıca bakınız|notlar|"
    "脚注|参考文献|外部リンク|関連項目|出典|注釈|参考资料|參考文獻|參考資料|外部链接|外部連結|参见|參見|注释|註釋|延伸阅读|"
    "مراجع|المراجع|وصلات خارجية|انظر أيضا|منابع|پیوند به بیرون|جستارهای وابسته|"
    "각주|참고 문헌|외부 링크|같이 보기|tham khảo|liên kết ngoài|xem thêm|referensi|pranala luar|lihat pula"
)
_REFERENCE_SECTIONS = frozenset(_TITLES.split("|"))
_SENTENCE_END = (".", "!", "?", "…", '."', ".”", ".»", ".)", "!”", "?”", "。", "।")
_MIN_ITEM_WORDS = 8
# html.unescape on a whole text raises on numbers of thousands of digits.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z][A-Za-z\d]{1,31});")
# Remains of a dropped template: `( ; 1900 – 1980)`, `()`, ` ,`.
_HOLLOW = re.compile(r" \([\s,;:–—-]*\)")
_OPENING = re.compile(r"\([\s,;:]+(?=[^\s,;:])")
_CLOSING = re.compile(r" ?[,;] ?\)")
_BEFORE_MARK = re.compile(r" +(?=[,.)](?:\s|$))")
_COMMA_AT_END = re.compile(r"[,;] ?(?=\.(?:\s|$))")


def prose(wikitext: str, reading: Reading = _DEFAULT, dropped: Counter[str] | None = None) -> list[str]:
    """The paragraphs of prose of a page, in order, without markup and with single spaces.

    Headings end a paragraph and are left out, like tables and captions. A list item is a paragraph if it reads like
    prose: 8 words or more and the end of a sentence; other items are names and titles. Lists in a section of references
    are left out. `reading` can change all this.
    A sentence is left out if it lacks something that a reader sees: a formula, or the text of an unknown template.

    Args:
        wikitext: a page's text.
        reading: which parts to keep, and how.
        dropped: counts, by name, the unknown templates in sentences.
    """
    text = structure.plain(wikitext, reading, Counter() if dropped is None else dropped)
    return _paragraphs(_without_inline_markup(text, reading), reading)


def _without_inline_markup(text: str, reading: Reading) -> str:
    """Without links, tags and magic words."""
    if "-{" in text:
        text = _VARIANT.sub(_variant, text)
    text = _LINE_START.sub(f"\n{GUARD}", text)
    # Before the links in double brackets, for `[[File:…|[http://… label]]]`; and after, for `[http://… [[label]]]`.
    text = _EXTERNAL.sub(r"\1", text)
    text = links.without_links(text, reading)
    text = _EXTERNAL.sub(r"\1", text)
    text = _URL.sub("", text)
    if "<" in text:
        text = _POWERS.sub(_power, text)
        text = _HEADING.sub(r"\n\n== \2 ==\n", text)
        text = _BREAKS.sub(f"\n\n{GUARD}", text)
        text = _TAGS.sub("", _LINE_BREAKS.sub(" ", text))
    if "__" in text:
        text = _MAGIC.sub(_magic, text)
    return text


def _paragraphs(text: str, reading: Reading) -> list[str]:
    paragraphs: list[str] = []
    current: list[str] = []  # lines of the paragraph that isn't finished
    captions: list[str] = []  # of pictures within it
    reference_level = 0  # of the section of references that a line is in; 0 outside
    after_formula = False  # whether the paragraph continues after a blank line
    for raw in text.split("\n"):
        line = raw.strip()
        if CAPTION in line:
            line = _without_captions(line, captions)
        if "''" in line:
            line = _without_quotes(line)
        first = line[:1]
        if first and (first not in "*#:;=|!{-\ufdd0\ufde8" or (first == GUARD and line.strip(_BLANK))):
            if after_formula and not line.lstrip(GUARD)[:1].islower():
                _finish(current, captions, paragraphs, reading)
            after_formula = False
            current.append(line.lstrip(GUARD) if first == GUARD else line)
            continue
        is_heading = first == "=" and line[-1] == "=" and len(line) > 1
        if (first == "=" and not is_heading) or (first == "-" and not line.startswith("----")):
            current.append(line)  # an equation, a dash
            continue
        if first == ":" and FORMULA in line and not any(map(str.isalnum, line)):
            current.append(line.lstrip(":"))  # on a line of its own it belongs to the sentence around it
            after_formula = True
            continue
        if after_formula and line.strip(_BLANK) == "":
            continue
        after_formula = False
        _finish(current, captions, paragraphs, reading)
        if is_heading:
            level = len(line) - len(line.lstrip("="))
            if not reference_level or level <= reference_level:
                title = line.strip(_AROUND_TITLES)
                reference_level = level if title.lower() in _REFERENCE_SECTIONS else 0
                if reading.headings == "all" and not reference_level:
                    _add(_tidy(title, reading), "all", paragraphs)
        elif first and first in "*#:;" and not reference_level:
            _add(_tidy(line.lstrip("*#:; "), reading), "all" if first == ":" else reading.list_items, paragraphs)
        elif first == CELL and not reference_level:
            _add(_tidy(line, reading), reading.tables, paragraphs)
    _finish(current, captions, paragraphs, reading)
    return paragraphs


def _finish(lines: list[str], captions: list[str], paragraphs: list[str], reading: Reading) -> None:
    if lines:
        if paragraph := _tidy(" ".join(lines), reading):
            paragraphs.append(paragraph)
        lines.clear()
    if captions:
        for caption in captions:
            _add(_tidy(caption, reading), reading.captions, paragraphs)
        captions.clear()


def _add(text: str, amount: Amount, paragraphs: list[str]) -> None:
    """Keep a text that isn't a paragraph, if `amount` allows it."""
    if text and (amount == "all" or (amount == "prose" and _reads_like_prose(text))):
        paragraphs.append(text)


_CAPTIONS = re.compile(f"{CAPTION}([^{CAPTION}{CAPTION_END}]*){CAPTION_END}")


def _without_captions(line: str, captions: list[str]) -> str:
    """The line without its captions, which are added to `captions`; they may be nested."""

    def take(match: re.Match[str]) -> str:
        captions.append(_without_quotes(match[1]) if "''" in match[1] else match[1])
        return ""

    count = 1
    while count:
        line, count = _CAPTIONS.subn(take, line)
    return line


def _reads_like_prose(item: str) -> bool:
    return item.endswith(_SENTENCE_END) and item.count(" ") >= _MIN_ITEM_WORDS - 1


def _without_quotes(line: str) -> str:
    """A line without its bold and italic, by MediaWiki's rule.

    2 apostrophes are italic, 3 bold, 5 both; of 4 and 6, one is an apostrophe. Where neither bold nor italic is
    closed, an apostrophe stood before italic.
    """
    runs = [len(run) for run in _QUOTES.findall(line)]
    bold = sum(run >= 3 for run in runs)
    italic = sum(run == 2 or run >= 5 for run in runs)
    if max(runs) <= 5 and 4 not in runs and not (bold and bold == italic) and not (bold % 2 and italic % 2):
        return _QUOTES.sub("", line)
    parts = _QUOTES.split(line)  # text between runs
    if len(runs) >= 4 and (set(runs[::2]), set(runs[1::2])) in (({2}, {3}), ({3}, {2})):
        # ''Title'''s and ''Title'''s: bold and italic would overlap, which isn't intended.
        for number, run in enumerate(runs):
            if run == 3 and parts[number][-1:].isalpha() and parts[number + 1][:1].isalpha():
                parts[number] += "'"
        return "".join(parts)
    for number, run in enumerate(runs):
        parts[number] += "'" if run in (4, 6) else ""
    if bold % 2 and italic % 2:
        candidates = [number for number, run in enumerate(runs) if run in (3, 4)]
        first: dict[str, int] = {}
        for number in candidates:
            before = parts[number]
            kind = "space" if before[-1:] == " " else "letter" if before[-2:-1] == " " else "word"
            first.setdefault(kind, number)
        for kind in ("letter", "word", "space"):
            if kind in first:
                parts[first[kind]] += "'"
                break
    return "".join(parts)


def _power(match: re.Match[str]) -> str:
    """A power keeps a sign if a digit stands before it: 10^23, not 1023."""
    if not match.string[max(0, match.start() - 4) : match.start()].rstrip("'")[-1:].isdigit():
        return ""
    return "^" if match[1] in "pP" else "_"


def _magic(match: re.Match[str]) -> str:
    word = match[0][2:-2]
    if word.lower() in _MAGIC_WORDS or (word.upper() == word and len(word) > 1 and word not in _MACROS):
        return ""
    return match[0]


def _variant(match: re.Match[str]) -> str:
    """`-{zh-hans:A; zh-hant:B}-` shows A, `-{A}-` shows A; of `-{flags|…}-` some show nothing."""
    flags, bar, text = match[1].partition("|")
    if not bar:
        text = match[1]
    elif any(flag.strip() in ("H", "T", "-", "D", "N") for flag in flags.split(";")):
        return ""
    if found := _VARIANT_NAME.match(text):
        return text[found.end() :].partition(";")[0].strip()
    return text


def _character(match: re.Match[str]) -> str:
    return html.unescape(match[0])


_BLANK = f"{GUARD}{HOLE} \t"
_AROUND_TITLES = f"={GUARD}{HOLE} :'"
# A hole alone between the separators of a bracket is removed: `(Name; HOLE, 1900)`.
_HOLE_IN_BRACKETS = re.compile(f"(?<=[(;,])[ {HOLE}]*{HOLE}[ {HOLE}]*(?=[);,])")
_DOUBLED = re.compile(r"[,;](?: ?[,;])+")
_MISSING = re.compile(f"[{HOLE}{FORMULA}]")


def _tidy(paragraph: str, reading: Reading) -> str:
    # Most paragraphs need few of these steps, and a test costs a tenth of a substitution.
    if "&" in paragraph:
        paragraph = _ENTITY.sub(_character, paragraph.replace("&nbsp;", " "))
    has_missing = False
    if not paragraph.isprintable():
        if marks.ANY.search(paragraph):
            paragraph = marks.shown(paragraph)
        paragraph = _INVISIBLE.sub("", paragraph)
        paragraph = " ".join(paragraph.split())
        has_missing = HOLE in paragraph or FORMULA in paragraph
        if has_missing and "(" in paragraph:
            paragraph = _HOLE_IN_BRACKETS.sub("", paragraph)
    elif "  " in paragraph:
        paragraph = " ".join(paragraph.split())
    if has_missing:
        paragraph = _whole(paragraph, reading)
    if "(" in paragraph:
        paragraph = _CLOSING.sub(")", _OPENING.sub("(", _HOLLOW.sub("", paragraph)))
    if ",," in paragraph or ", ," in paragraph or ";," in paragraph or "; ," in paragraph or ",;" in paragraph:
        paragraph = _DOUBLED.sub(_separator, paragraph)
    if ",." in paragraph or ", ." in paragraph:
        paragraph = _COMMA_AT_END.sub("", paragraph)
    if " ," in paragraph or " ." in paragraph or " )" in paragraph:
        paragraph = _BEFORE_MARK.sub("", paragraph)
    paragraph = paragraph.strip()
    return paragraph if any(map(str.isalpha, paragraph)) else ""


def _separator(match: re.Match[str]) -> str:
    return ";" if match[0][0] == ";" and "," not in match[0] else ","


def _whole(paragraph: str, reading: Reading) -> str:
    """The paragraph without sentences that have a hole."""
    if reading.formulas == "placeholder":
        paragraph = paragraph.replace(FORMULA, "formula")
    if reading.unknown_templates == "ignore":
        paragraph = " ".join(paragraph.replace(HOLE, "").split())
    kept = [each for each in sentences.split(paragraph, reading.language) if not _MISSING.search(each)]
    return " ".join(kept)


_TEMPLATE_NAME = re.compile(r"\{\{\s*+([^{}|\n]{1,60})")
_DISAMBIGUATIONS = frozenset(
    (
        *("dab", "hndis", "geodis", "неоднозначность", "многозначность", "список однофамильцев", "багатозначність"),
        *(
            "begriffsklärung",
            "homonymie",
            "paronymie",
            "desambiguación",
            "disambigua",
            "desambiguação",
            "ujednoznacznienie",
        ),
    )
)


def is_disambiguation(wikitext: str) -> bool:
    """Whether a page only lists the meanings of a word, by its templates (en, ru, uk, de, fr, es, it, pt, pl)."""
    if not _lists_meanings(wikitext):
        return False
    # Rare, so most pages are searched only once: comments may contain such templates.
    return "<" not in wikitext or _lists_meanings(structure.without_comments(wikitext))


def _lists_meanings(wikitext: str) -> bool:
    if "__DISAMBIG__" in wikitext:
        return True
    for match in _TEMPLATE_NAME.finditer(wikitext):
        name = match[1].strip().lower()
        if name in _DISAMBIGUATIONS or name.endswith((" disambiguation", " dab")):
            return True
        # {{disambiguation needed}} marks a link in an ordinary article.
        if name.startswith("disambig") and "needed" not in name:
            return True
    return False
