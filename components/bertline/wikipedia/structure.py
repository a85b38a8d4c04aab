"""Pass 1 of wikitext: nested and opaque structures. Replaces templates by their text, removes tables and comments.

Templates `{{…}}` and tables `{|…|}`, `<table>` nest, so they have a stack; what is nested is rendered first. Comments,
references, formulas, galleries and the like are opaque up to their end tag, which may be in any case and have blanks.
"""

import re
from collections import Counter

from bertline.wikipedia.marks import CELL, FORMULA, GUARD, HOLE, literal
from bertline.wikipedia.readings import Reading

# Dropped with their content, in which nothing is markup.
_OPAQUE = (
    "ref|gallery|timeline|score|pre|hiero|imagemap|templatedata|graph|mapframe|maplink|inputbox|templatestyles|"
    "categorytree|dynamicpagelist|section|indicator|references|style|script|includeonly"
)
# Opaque too, and shown: as code, as a formula, as tabs.
_INLINE = "nowiki|math|chem|ce|source|syntaxhighlight|tabber"
# Every branch starts with one of four characters, which makes the search for a token a C loop. Newlines and not
# MULTILINE's `^` for the same reason; the text gets a newline in front.
_STRUCTURE = re.compile(
    r"\{\{+|\}\}+"
    r"|\n[ \t:*#;]*\{\||\n[ \t]*\|\}(?!\})"
    r"|<!--"
    rf"|<(/?(?i:{_OPAQUE}|{_INLINE}|table))(?=[\s/>])[^<>]*>"
)
_ENDS = {tag: re.compile(rf"</{tag}\s*+>", re.IGNORECASE) for tag in f"{_OPAQUE}|{_INLINE}".split("|")}
_COMMENT_END = re.compile("-->")
_BRACES, _TABLE, _HTML_TABLE = 0, 1, 2
_MAX_HEIGHT = 20  # templates within each other that are shown: each level copies what the ones below show
_IS_INLINE = re.compile(r"\sinline\b|\senclose\s*=\s*[\"']?none", re.IGNORECASE)
_TAB = re.compile(r"(?:^|\|-\|)\s*+[^=|\n]*+=")

# A formula that reads as text: `x`, `n + 1`, `\alpha`.
_PLAIN_FORMULA = re.compile(r"[\w\s=+<>,.()/!'-]*+")
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho _ sigma tau upsilon phi "
    "chi psi omega"
)
_GREEK = {
    rf"\{name}": chr(base + number)
    for number, lower in enumerate(_GREEK_NAMES.split())
    for name, base in ((lower, 0x3B1), (lower.capitalize(), 0x391))
} | {r"\infty": "∞", r"\ell": "ℓ", r"\varepsilon": "ε", r"\varphi": "φ", r"\hbar": "ħ"}
_COMMAND = re.compile(r"\\[A-Za-z]++")


# Letters of scripts that have no spaces between words: there a footnote stands before a mark.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


class _Open:
    """A structure that isn't closed yet."""

    __slots__ = ("braces", "height", "kind", "start")

    def __init__(self, kind: int, braces: int, start: int) -> None:
        self.kind = kind
        self.braces = braces
        self.start = start  # how many pieces precede it
        self.height = 0  # how many levels of templates it holds


class _Scan:
    def __init__(self, text: str, reading: Reading, dropped: Counter[str]) -> None:
        self.text = f"\n{text}"
        self.reading = reading
        self.entry = reading.known_templates().entry
        self.dropped = dropped
        self.pieces: list[str] = []
        self.stack: list[_Open] = []
        self.open_count = [0, 0, 0]  # by kind, so that a stray end doesn't search the whole stack
        self.absent: set[str] = set()  # ends that don't occur in the rest of the text

    def run(self) -> str:
        text, pieces, search = self.text, self.pieces, _STRUCTURE.search
        position = 0
        while match := search(text, position):
            start = match.start()
            if start > position:
                pieces.append(text[position:start])
            position = match.end()
            token = match[0]
            first = token[0]
            if first == "{":
                self._push(_BRACES, len(token))
            elif first == "}":
                if self.open_count[_BRACES]:
                    self._close_braces(len(token), position)
            elif first == "\n":
                pieces.append("\n")
                if token[-1] == "}":
                    self._close(_TABLE)
                else:
                    self._push(_TABLE, 0)
                    line_end = text.find("\n", position)  # its attributes
                    position = len(text) if line_end < 0 else line_end
            elif token == "<!--":
                position = self._comment(start, position)
            else:
                position = self._tag(match[1].lower(), token, position)
        pieces.append(text[position:])
        return "".join(pieces)

    def _push(self, kind: int, braces: int) -> None:
        self.stack.append(_Open(kind, braces, len(self.pieces)))
        self.open_count[kind] += 1

    def _after(self, tag: str, end: re.Pattern[str], position: int) -> tuple[int, int]:
        """Where the next end tag starts and ends; twice `position` if there is none."""
        if tag not in self.absent:
            if match := end.search(self.text, position):
                return match.span()
            self.absent.add(tag)
        return position, position

    def _comment(self, start: int, position: int) -> int:
        _, end = self._after("!", _COMMENT_END, position)
        if end > position and self.pieces:
            # A line that holds nothing but a comment isn't there at all.
            before = start
            while self.text[before - 1] in " \t":
                before -= 1
            at = end
            while self.text[at : at + 1] in (" ", "\t"):
                at += 1
            if self.text[before - 1] == "\n" == self.text[at : at + 1]:
                self.pieces[-1] = self.pieces[-1].rstrip(" \t").removesuffix("\n")
                return at
        return end

    def _tag(self, tag: str, token: str, position: int) -> int:
        if tag == "table":
            self._push(_HTML_TABLE, 0)
        elif tag == "/table":
            self._close(_HTML_TABLE)
        elif tag[0] != "/" and token[-2] != "/":
            stop, end = self._after(tag, _ENDS[tag], position)
            if end > position and tag == "gallery" and self.reading.captions != "none":
                self.pieces.append(_gallery(plain(self.text[position:stop], self.reading, self.dropped)))
            if tag not in _INLINE or end == position:
                return end
            content = self.text[position:stop]
            if tag == "nowiki" or (tag in ("source", "syntaxhighlight") and _IS_INLINE.search(token)):
                self.pieces.append(literal(content))
            elif tag in ("math", "chem", "ce"):
                self.pieces.append(_formula(content))
            elif tag == "tabber":
                self.pieces.append(plain(_TAB.sub("\n\n", content), self.reading, self.dropped))
            return end
        elif tag == "nowiki":
            self.pieces.append(GUARD)
        return position

    def _close(self, kind: int) -> None:
        """Closes the innermost structure of a kind, and what is open within."""
        while self.open_count[kind]:
            closed = self.stack.pop()
            self.open_count[closed.kind] -= 1
            if closed.kind == kind:
                content = self.pieces[closed.start :]
                del self.pieces[closed.start :]
                if self.reading.tables != "none" and closed.height < _MAX_HEIGHT:
                    self.pieces.append(_cells("".join(content)))
                    if self.stack:
                        self.stack[-1].height = max(self.stack[-1].height, closed.height + 1)
                return

    def _close_braces(self, braces: int, position: int) -> None:
        """Closes templates by a run of braces: `{{{1|{{x}}}}}` opens 3 and 2, and closes 5."""
        stack, pieces = self.stack, self.pieces
        while braces > 1 and self.open_count[_BRACES]:
            while stack[-1].kind != _BRACES:
                self.open_count[stack.pop().kind] -= 1
            top = stack[-1]
            matched = min(braces, top.braces)
            braces -= matched
            top.braces -= matched
            shown = None
            if matched == 2 and len(pieces) > top.start and top.height < _MAX_HEIGHT:
                shown = self._shown(top, position, braces)
            del pieces[top.start :]
            if top.braces < 2:
                stack.pop()
                self.open_count[_BRACES] -= 1
            else:
                top.height = 0
            if shown:
                if shown[0] in "*#:;=|!{-":
                    shown = GUARD + shown  # it makes no list and no table
                pieces.append(shown)
                if stack:
                    stack[-1].height = max(stack[-1].height, top.height + 1)
            elif pieces and pieces[-1][-1:] == "'":
                pieces.append(GUARD)  # or the apostrophes around would meet

    def _shown(self, top: _Open, position: int, braces: int) -> str:
        """The text of a template; a mark if it isn't known."""
        pieces = self.pieces
        first = pieces[top.start]
        bar = first.find("|")
        entry = self.entry(first[:bar] if bar >= 0 else first)
        if entry.hidden:
            return ""
        if entry.shows:
            inner = first if len(pieces) == top.start + 1 else "".join(pieces[top.start :])
            shown = entry.render(inner, self.reading.language)
            if shown is not None:
                return shown
        is_hole = not braces and "\n" not in first and self._is_hole(top.start, position)
        if (is_hole or entry.shows) and len(self.stack) == 1:
            self.dropped[entry.name] += 1
        return HOLE if is_hole else ""

    def _is_hole(self, start: int, position: int) -> bool:
        """Whether a sentence would lack something without this template, which isn't the case for a footnote."""
        before = self.pieces[start - 1][-2:] if start else "\n"
        following = self.text[position : position + 2]
        if _UNSPACED.match(following) or (_UNSPACED.match(before[-1:]) and following[:1].isalnum()):
            return True
        if before[-1:] not in " (\n\xa0'":
            return False
        if before[-1:] == "\n":
            return following[:1] == "," or (following[:1] == " " and following[1:].islower())
        if before[:1] in '.!?"”»' or (len(before) == 1 and start > 1):
            return following[:1] == " " and (following[1:].islower() or following[1:].isdigit())
        return bool(following) and following[:1] != "\n"


def _formula(content: str) -> str:
    text = _COMMAND.sub(lambda match: f" {_GREEK.get(match[0], match[0])} ", content)
    if len(text) < 40 and _PLAIN_FORMULA.fullmatch(text):
        return literal(" ".join(text.split()))
    return FORMULA


# Between two cells; behind `|-` are the attributes of a row.
_CELLS = re.compile(r"\n[ \t]*(?:\|-[^\n]*|\|\+|[|!])|\|\||</?(?i:t[dhr]|caption|thead|tbody|tfoot)\b[^<>]*>")
_HEADER = re.compile(r"\n[ \t]*![^\n]*")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")


def _cells(table: str) -> str:
    """The cells of a table; each part of a cell is a separate line with a mark."""
    lines: list[str] = []
    table = _HEADER.sub(lambda match: match[0].replace("!!", "\n!"), table)
    for cell in _CELLS.split(table):
        attributes, bar, content = cell.partition("|")
        for part in _BLANK_LINES.split(content if bar and "[[" not in attributes else cell):
            text: list[str] = []
            for line in part.strip().split("\n"):
                (lines if line[:1] in "*#;" else text).append(line.strip(": \t"))
            if any(text):
                lines.append(f"{CELL}{' '.join(text)}\n")
    return "\n\n" + "\n".join(lines) + "\n"


def _gallery(content: str) -> str:
    """The pictures of a gallery as links."""
    entries = (line.partition("|") for line in content.split("\n"))
    return "".join(f"\n\n[[File:{name}|{caption}]]\n" for name, _, caption in entries if caption.strip())


def plain(text: str, reading: Reading, dropped: Counter[str]) -> str:
    """The text without templates, comments and opaque tags, and mostly without tables; starts with a newline.

    Args:
        text: wikitext.
        reading: which templates show what, and what is kept of tables and galleries.
        dropped: counts templates, by name, that stand in a sentence and whose text isn't known.
    """
    return _Scan(text, reading, dropped).run()


_UNREAD = re.compile(r"<!--|<(nowiki|pre|syntaxhighlight|source)(?=[\s>])[^<>]*>", re.IGNORECASE)


def without_comments(text: str) -> str:
    """The text without comments and literal sections; unclosed ones stay."""
    pieces: list[str] = []
    absent: set[str] = set()
    position = 0
    while match := _UNREAD.search(text, position):
        pieces.append(text[position : match.start()])
        tag = match[1].lower() if match[1] else "!"
        end = None if tag in absent else (_ENDS[tag] if match[1] else _COMMENT_END).search(text, match.end())
        if end is None:
            absent.add(tag)
        position = end.end() if end else match.end()
    return "".join((*pieces, text[position:]))
