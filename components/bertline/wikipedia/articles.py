"""Wikitext → paragraphs of prose, in time linear in the length of the text, whatever the text.

Three passes, each a scan over tokens that one regular expression finds, with an explicit stack where things nest:

1. *structure*: what disappears with all it holds. Templates `{{…}}`, tables `{|…|}` and `<table>` nest, so they have a
   stack; comments, references, formulas, galleries and the like are opaque up to their end tag.
2. *links*: `[[…]]`, nested only in the captions of pictures, so the stack is 16 deep at most. Ended by a blank line.
3. *lines*: the rest is markup within a line: external links, tags, apostrophes, entities, headings, list items.

Why it is linear: each token is looked at once, pushed and popped at most once; a search for an end tag that failed is
never repeated; no pattern can run over the opening of its own next match. Markup that isn't closed loses its token and
keeps its text. Nothing raises.
"""

import html
import re

# --- pass 1: structure -----------------------------------------------------------------------------------------------

# Dropped with their content, which is opaque: what looks like markup in it isn't.
_OPAQUE = (
    "ref|math|chem|ce|gallery|timeline|score|source|syntaxhighlight|pre|hiero|imagemap|templatedata|graph|mapframe|maplink|"
    "inputbox|templatestyles|categorytree|dynamicpagelist|section|indicator|references|noinclude|nowiki|"
    "style|script|includeonly"
)
# Every branch starts with one of four characters, which makes the search for a token a C loop. Newlines and not
# MULTILINE's `^` for the same reason; the text gets a newline in front.
_STRUCTURE = re.compile(
    r"\{\{+|\}\}+"
    r"|\n[ \t:*#;]*\{\||\n[ \t]*\|\}(?!\})"
    r"|<!--"
    rf"|<(/?(?i:{_OPAQUE}|table))(?=[\s/>])[^<>]*>"
)
_BRACES, _TABLE, _HTML_TABLE = 0, 1, 2

# Apostrophes of <nowiki> must not meet others in pass 3; this character of the private use area stands for them.
_APOSTROPHE = "\ue000"
_NOWIKI = str.maketrans({"'": _APOSTROPHE, **dict.fromkeys("[]{}|<>", None)})


def _without_structure(text: str) -> str:
    text = f"\n{text}"
    pieces: list[str] = []
    # For each open structure: its kind, how many braces it opened with, and how many pieces precede it.
    stack: list[list[int]] = []
    open_count = [0, 0, 0]  # by kind, so that a stray end doesn't search the whole stack
    absent: set[str] = set()  # ends that don't occur in the rest of the text
    position = 0
    while match := _STRUCTURE.search(text, position):
        start = match.start()
        if start > position:
            pieces.append(text[position:start])
        position = match.end()
        token = match[0]
        first = token[0]
        if first == "{":
            stack.append([_BRACES, len(token), len(pieces)])
            open_count[_BRACES] += 1
        elif first == "}":
            _close_braces(stack, open_count, pieces, len(token))
        elif first == "\n":
            pieces.append("\n")
            if token[-1] == "}":
                _close(stack, open_count, pieces, _TABLE)
            else:
                stack.append([_TABLE, 0, len(pieces)])
                open_count[_TABLE] += 1
        elif token == "<!--":
            position = _after(text, "-->", position, absent)
        else:
            tag = match[1].lower()
            if tag == "table":
                stack.append([_HTML_TABLE, 0, len(pieces)])
                open_count[_HTML_TABLE] += 1
            elif tag == "/table":
                _close(stack, open_count, pieces, _HTML_TABLE)
            elif tag[0] != "/" and token[-2] != "/":
                end = _after(text, f"</{match[1]}>", position, absent)
                if tag == "nowiki" and end > position:
                    pieces.append(text[position : end - len("</nowiki>")].translate(_NOWIKI))
                position = end
    pieces.append(text[position:])
    return "".join(pieces)


def _after(text: str, end: str, position: int, absent: set[str]) -> int:
    """Behind the next `end`, or `position` if there is none."""
    if end in absent:
        return position
    at = text.find(end, position)
    if at < 0:
        absent.add(end)
        return position
    return at + len(end)


def _close(stack: list[list[int]], open_count: list[int], pieces: list[str], kind: int) -> None:
    """Closes the innermost structure of a kind, and what is open within."""
    while open_count[kind]:
        closed, _, start = stack.pop()
        open_count[closed] -= 1
        if closed == kind:
            del pieces[start:]
            return


def _close_braces(stack: list[list[int]], open_count: list[int], pieces: list[str], braces: int) -> None:
    """Closes templates by a run of braces: `{{{1|{{x}}}}}` opens 3 and 2, and closes 5."""
    while braces > 1 and open_count[_BRACES]:
        while stack[-1][0] != _BRACES:
            open_count[stack.pop()[0]] -= 1
        top = stack[-1]
        matched = min(braces, top[1])
        braces -= matched
        top[1] -= matched
        if top[1] < 2:
            stack.pop()
            open_count[_BRACES] -= 1
            # A template without others in it is a single piece, so this costs no more than what it holds.
            inner = pieces[-1] if matched == 2 and len(pieces) == top[2] + 1 else ""
            del pieces[top[2] :]
            if shown := _template(inner):
                pieces.append(shown)


# Templates that stand in mid-sentence and show an argument: how many arguments precede it.
_SHOWN_ARGUMENT = {
    **dict.fromkeys(("nowrap", "nobr", "nobreak", "small", "smaller", "abbr", "s", "angbr", "math"), 0),
    **dict.fromkeys(("lang", "transl", "нп", "iw"), 1),
}
_SIGNS = {
    "ndash": "–",
    "mdash": "—",
    "–": "–",
    "—": "—",
    "snd": " – ",
    "spaced ndash": " – ",
    "nbsp": " ",
    "'": "'",
    "'s": "'s",
}
_RANGES = frozenset(("to", "-", "–", "and", "by", "x", "or"))


def _template(inner: str) -> str:
    """What a reader sees of a template, for the few without which a sentence has a hole; else nothing."""
    if not inner or len(inner) > 300:
        return ""
    name, _, rest = inner.partition("|")
    name = name.strip().lower()
    if not rest:
        return _SIGNS.get(name, "")
    if name in ("convert", "cvt"):
        amount = rest.split("|")
        last = 3 if len(amount) > 3 and amount[1].strip() in _RANGES else 1
        return " ".join(part.strip() for part in amount[: last + 1])
    skip = 0 if name.startswith("lang-") else _SHOWN_ARGUMENT.get(name)
    if skip is None:
        return ""
    for _ in range(skip):
        rest = rest.partition("|")[2]
    if "[[" in rest:
        return rest  # the bar may be a link's
    return "" if "=" in rest else rest.partition("|")[0]


# --- pass 2: links ---------------------------------------------------------------------------------------------------

# Namespaces whose links show nothing, or a picture. English names work on every wiki; then the local ones.
_NAMESPACES = (
    "file image media category файл изображение медиа категория категорія зображення datei bild kategorie medium "
    "fichier média catégorie archivo imagen categoría ficheiro imagem categoria immagine bestand afbeelding categorie "
    "plik grafika kategoria soubor fil bilde kategori tiedosto kuva luokka dosya resim fájl kép kategória fișier "
    "αρχείο εικόνα κατηγορία קובץ קטגוריה ملف تصنيف صورة پرونده رده "
    "ファイル 画像 カテゴリ 文件 图像 分类 檔案 分類 파일 분류"
)
_HIDDEN_NAMESPACES = frozenset(_NAMESPACES.split())
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10})*")
_LINKS = re.compile(r"\[\[([^\[\]|\n]*)(?:\|([^\[\]|\n]*))?\]\]|\[\[|\]\]|\n[ \t]*(?=[\n=])")
_MAX_LINK_DEPTH = 16


def _shown(target: str, label: str | None) -> str:
    """What a reader sees of a link."""
    colon = target.find(":")
    if colon > 0:
        namespace = target[:colon].strip()
        if namespace.lower() in _HIDDEN_NAMESPACES:
            return ""
        if label is None and _LANGUAGE.fullmatch(namespace):
            return ""  # an interlanguage link
    if label is None:
        return target.strip().removeprefix(":").replace("_", " ")
    return label or target.rpartition(":")[2].partition("(")[0].strip()  # [[Foo (bar)|]] shows Foo


def _without_links(text: str) -> str:
    pieces: list[str] = []
    stack: list[int] = []  # for each open link, how many pieces precede it
    too_deep = 0
    position = 0
    for match in _LINKS.finditer(text):
        start = match.start()
        if start > position:
            pieces.append(text[position:start])
        position = match.end()
        target, label = match.groups()
        if target is not None:
            pieces.append(_shown(target, label))
            continue
        token = match[0]
        if token == "[[":
            if len(stack) < _MAX_LINK_DEPTH:
                stack.append(len(pieces))
            else:
                too_deep += 1
        elif token == "]]":
            if too_deep:
                too_deep -= 1
            elif stack:
                begin = stack.pop()
                parts = "".join(pieces[begin:]).split("|")
                pieces[begin:] = [_shown(parts[0], parts[-1] if len(parts) > 1 else None)]
        else:
            _abandon(stack, pieces)
            too_deep = 0
            pieces.append(token)
    pieces.append(text[position:])
    _abandon(stack, pieces)
    return "".join(pieces)


def _abandon(stack: list[int], pieces: list[str]) -> None:
    """At a paragraph's end open links are broken ones: their text stays, unless it is a picture's description."""
    if stack:
        begin = stack[0]
        if begin < len(pieces) and pieces[begin].partition(":")[0].strip().lower() in _HIDDEN_NAMESPACES:
            del pieces[begin:]
        stack.clear()


# --- pass 3: lines ---------------------------------------------------------------------------------------------------

_EXTERNAL = re.compile(r"\[(?:(?:https?|ftp|irc|gopher)?:?//|mailto:|news:)[^\s\[\]<>]*+[ \t]*+([^\[\]\n]*+)\]")
_BREAKS = re.compile(r"</?(?i:hr|p|div|blockquote|li|dd|dt|poem|center|h[1-6])\b[^<>]*>")
_LINE_BREAKS = re.compile(r"</?(?i:br)\b[^<>]*>")
_TAGS = re.compile(
    rf"</?(?i:a|abbr|b|bdi|bdo|big|caption|cite|code|del|dfn|dl|em|font|i|img|includeonly|ins|kbd|mark|nobr|ol|onlyinclude|"
    r"q|rp|rt|ruby|s|samp|small|span|strike|strong|sub|sup|table|tbody|td|th|tr|tt|u|ul|var|wbr|"
    rf"{_OPAQUE})\b[^<>]*>"
    r"|<!--|-->"
)
_QUOTES = re.compile(r"''+")
_MAGIC = re.compile(r"__[A-ZА-ЯЁ]{3,}__")
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff\x00-\x08\x0b-\x1f]")
_URL = re.compile(r"https?://[^\s()<>]+")
# Sections whose list items are titles of books, however much they look like sentences.
_TITLES = (
    "references|bibliography|further reading|external links|see also|notes|sources|footnotes|works cited|citations|"
    "literature|publications|works|selected works|discography|filmography|primary sources|secondary sources|"
    "notes and references|"
    "примечания|литература|ссылки|см. также|источники|библиография|сочинения|труды|дискография|фильмография|"
    "примітки|література|посилання|див. також|джерела|"
    "einzelnachweise|literatur|weblinks|siehe auch|quellen|werke|schriften|anmerkungen|"
    "références|bibliographie|liens externes|voir aussi|notes et références|annexes|articles connexes|œuvres|"
    "referencias|bibliografía|enlaces externos|véase también|note|bibliografia|collegamenti esterni|"
    "voci correlate"
)
_REFERENCE_SECTIONS = frozenset(_TITLES.split("|"))
_SENTENCE_END = (".", "!", "?", "…", '."', ".”", ".»", ".)", "!”", "?”", "。", "।")
_MIN_ITEM_WORDS = 8
# html.unescape on a whole text raises on numbers of thousands of digits.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z][A-Za-z\d]{1,31});")
# What a dropped template leaves: `( ; 1900 – 1980)`, `()`, ` ,`.
_HOLLOW = re.compile(r" \([\s,;:–—-]*\)")
_OPENING = re.compile(r"\([\s,;:]+(?=[^\s,;:])")
_CLOSING = re.compile(r" ?[,;] ?\)")
_COMMAS = re.compile(r",(?: ?,)+")
_BEFORE_MARK = re.compile(r" +(?=[,.)](?:\s|$))")


def prose(wikitext: str) -> list[str]:
    """The paragraphs of prose of a page, in order, without markup and with single spaces.

    Headings end a paragraph and are left out. A list item is a paragraph if it reads like prose: it has 8
    words or more, ends as a sentence does and isn't in a section of references. The others are names and titles.
    """
    text = _without_structure(wikitext)
    # Before the links in double brackets, for `[[File:…|[http://… label]]]`; and after, for `[http://… [[label]]]`.
    text = _EXTERNAL.sub(r"\1", text)
    text = _without_links(text)
    text = _EXTERNAL.sub(r"\1", text)
    text = _URL.sub("", text)
    text = _BREAKS.sub("\n\n", text)
    text = _TAGS.sub("", _LINE_BREAKS.sub("\n", text))
    text = _QUOTES.sub(_unquoted, text)
    text = _MAGIC.sub("", text)
    paragraphs: list[str] = []
    current: list[str] = []  # lines of the paragraph that isn't finished
    in_references = False
    for raw in text.split("\n"):
        line = raw.strip()
        first = line[:1]
        if line and first not in "*#:;=|!{-":
            current.append(line)
            continue
        is_heading = first == "=" and line[-1] == "=" and len(line) > 1
        if (first == "=" and not is_heading) or (first == "-" and not line.startswith("----")):
            current.append(line)  # an equation, a dash
            continue
        if current:
            paragraphs.append(_tidy(" ".join(current)))
            current = []
        if is_heading:
            in_references = line.strip("= ").lower() in _REFERENCE_SECTIONS
        elif line and first in "*#:;":
            item = _tidy(line.lstrip("*#:; "))
            if first == ":" or (not in_references and _reads_like_prose(item)):
                paragraphs.append(item)
    if current:
        paragraphs.append(_tidy(" ".join(current)))
    return [paragraph for paragraph in paragraphs if paragraph]


def _reads_like_prose(item: str) -> bool:
    return item.endswith(_SENTENCE_END) and item.count(" ") >= _MIN_ITEM_WORDS - 1


def _unquoted(match: re.Match[str]) -> str:
    # 2 are italic, 3 bold, 5 both; of 4 and 6, one is an apostrophe.
    return "'" if len(match[0]) in (4, 6) else ""


def _character(match: re.Match[str]) -> str:
    return html.unescape(match[0])


def _tidy(paragraph: str) -> str:
    # Most paragraphs need few of these steps, and a test costs a tenth of a substitution.
    if "&" in paragraph:
        paragraph = _ENTITY.sub(_character, paragraph.replace("&nbsp;", " "))
    if not paragraph.isprintable():
        paragraph = _INVISIBLE.sub("", paragraph.replace(_APOSTROPHE, "'"))
        paragraph = " ".join(paragraph.split())
    elif "  " in paragraph:
        paragraph = " ".join(paragraph.split())
    if "(" in paragraph:
        paragraph = _CLOSING.sub(")", _OPENING.sub("(", _HOLLOW.sub("", paragraph)))
    if ",," in paragraph or ", ," in paragraph:
        paragraph = _COMMAS.sub(",", paragraph)
    if " ," in paragraph or " ." in paragraph or " )" in paragraph:
        paragraph = _BEFORE_MARK.sub("", paragraph)
    paragraph = paragraph.strip()
    return paragraph if any(map(str.isalpha, paragraph)) else ""


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
