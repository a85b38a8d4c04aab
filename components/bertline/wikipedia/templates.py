"""Makes a template's text from its arguments, by a table (`template_tables`).

A table describes the text with places for arguments:

    {1}  {text}    an argument by position or name; without it the template's text isn't known
    {2|1}          the first one that is given and not empty; `{2|}` is optional
    [ ({2})]       is left out if one of its arguments is missing
    ¶              the end of a paragraph
    @convert       a function of this module or of `quantities` makes the text; `@ship USS` and `@money €` have a word
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path

from bertline.wikipedia import quantities, template_tables

Arguments = dict[str, str]

_SEPARATORS = re.compile(r"\[\[|\]\]|\|")
_PLACE = re.compile(r"\{([^{}]*)\}|\[([^\[\]]*)\]")
_MAX_NAME = 100
_KNOWN_NAMES = 1 << 15  # spellings that a table remembers

# These are MediaWiki's own functions, with a colon after the name.
_PARSER_FUNCTIONS = {
    "formatnum": "@number",
    "lc": "{1}",
    "uc": "{1}",
    "lcfirst": "{1}",
    "ucfirst": "{1}",
    "#expr": "@expr",
}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


class Entry:
    """What a table says about a template."""

    __slots__ = ("_function", "_spec", "hidden", "name", "shows")

    def __init__(self, name: str, spec: str | None) -> None:
        self.name = name
        self.hidden = spec == ""
        """True if it shows nothing that belongs to a sentence."""
        self.shows = bool(spec)
        self._spec = spec or ""
        self._function = _function(self._spec) if self._spec.startswith("@") else None

    def render(self, inner: str, language: str) -> str | None:
        """The text that a reader sees; None means not known.

        Args:
            inner: the text between the braces, with nested templates rendered.
            language: sets the format of numbers.
        """
        values = arguments(inner)
        return self._function(values, language) if self._function else _fill(self._spec, values)


class Templates:
    """The texts of all templates, from the user's table, the language's table, and other languages' tables."""

    def __init__(self, language: str, first: template_tables.Table | None = None, *, text: bool = True) -> None:
        """Set the tables.

        Args:
            language: Wikipedia's code.
            first: the user's table.
            text: False treats all templates as unknown.
        """
        own = dict(template_tables.own())
        tables = (first, own.pop(language, None), *own.values())
        self.language = language
        self._tables = tuple(table for table in tables if table)
        self._text = text
        self._known: dict[str, Entry] = {}

    def entry(self, raw_name: str) -> Entry:
        """The entry of a template; `raw_name` is the text before the first bar."""
        found = self._known.get(raw_name)
        if found is None:
            if len(self._known) >= _KNOWN_NAMES:
                self._known.clear()
            found = self._find(raw_name)
            if found.shows and not self._text:
                found = Entry(found.name, None)
            self._known[raw_name] = found
        return found

    def _find(self, raw_name: str) -> Entry:
        if len(raw_name) > _MAX_NAME:
            return Entry("", None)
        name = template_tables.normal(raw_name)
        function, colon, _ = name.partition(":")
        if colon and function in _PARSER_FUNCTIONS:
            return Entry(function, _PARSER_FUNCTIONS[function])
        for table in self._tables:
            if name in table.names:
                return Entry(name, table.names[name])
        for table in self._tables:
            for prefix, spec in table.prefixes:
                if name.startswith(prefix):
                    return Entry(name, spec)
        return Entry(name, None)


def of(language: str, path: Path | None = None, *, text: bool = True) -> Templates:
    """The templates of a language, cached for the process.

    Args:
        language: Wikipedia's code.
        path: the user's table.
        text: see `Templates`.

    Raises:
        FileError: mistakes in the user's table.
    """
    status = path.stat() if path else None
    state = (status.st_mtime_ns, status.st_size, status.st_ino) if status else ()
    return _of(language, path, text, *state)


@functools.lru_cache(maxsize=8)
def _of(language: str, path: Path | None, text: bool, *_: int) -> Templates:
    """Cache by the state of the user's table too, so that a changed table is read again."""
    return Templates(language, template_tables.read(path) if path else None, text=text)


def arguments(inner: str) -> Arguments:
    """The arguments by name; positional ones are named "1", "2", …. If a name is repeated, the last one counts."""
    parts = inner.split("|") if "[[" not in inner else _split(inner)
    found: Arguments = {}
    function, colon, value = parts[0].partition(":")
    position = 0
    if colon and function.strip().lower() in _PARSER_FUNCTIONS:
        position, found["1"] = 1, value.strip()
    for part in parts[1:]:
        name, equals, value = part.partition("=")
        if equals and len(name) < _MAX_NAME and not any(character in name for character in "<[{'\""):
            found[name.strip()] = value.strip()
        else:
            position += 1
            found[str(position)] = part.strip()
    return found


def _split(inner: str) -> list[str]:
    """Split at bars outside of links."""
    parts: list[str] = []
    depth = begin = 0
    for match in _SEPARATORS.finditer(inner):
        token = match[0]
        if token == "[[":
            depth += 1
        elif token == "]]":
            depth = max(0, depth - 1)
        elif not depth:
            parts.append(inner[begin : match.start()])
            begin = match.end()
    parts.append(inner[begin:])
    return parts


def _fill(spec: str, values: Arguments) -> str | None:
    is_missing = False

    def place(match: re.Match[str]) -> str:
        nonlocal is_missing
        names, optional = match.groups()
        if names is None:
            return _fill(optional, values) or ""
        for name in names.split("|"):
            if value := values.get(name):
                return value
        is_missing = is_missing or not names.endswith("|")
        return ""

    text = _PLACE.sub(place, spec)
    return None if is_missing else text


def _ship(values: Arguments, _: str, prefix: str = "") -> str | None:
    """{{USS|Enterprise|CV-6}}: the second argument is a hull number, shown unless the third says otherwise."""
    name = values.get("1")
    number = values.get("2")
    shown_as = values.get("3", "")
    if not name:
        return None
    if shown_as == "2" and number:
        return number
    return f"{prefix}{name}" if shown_as or not number else f"{prefix}{name} ({number})"


def _as_of(values: Arguments, _: str) -> str | None:
    """{{as of|2016|3|24}}."""
    year, month, day = (values.get(name, "") for name in "123")
    if not year:
        return None
    if alternative := values.get("alt"):
        return alternative
    words = "Since" if values.get("since") else "As of"
    if values.get("lc"):
        words = words.lower()
    if month.isdigit() and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    day = day.lstrip("0")
    if values.get("df", "").startswith("us") and day:
        return f"{words} {month} {day}, {year}"
    return " ".join(part for part in (words, day, month, year) if part)


def _coloured(values: Arguments, _: str) -> str | None:
    return values.get("2") or values.get("1")


def _last(values: Arguments, _: str) -> str | None:
    """The last positional argument."""
    positional = [name for name in values if name.isdigit()]
    return values[max(positional, key=int)] if positional else None


def _date(values: Arguments, _: str) -> str | None:
    """{{date|14|juillet|1789|en France}}."""
    return " ".join(value for name in "123" if (value := values.get(name))) or None


def _nihongo(values: Arguments, _: str) -> str | None:
    """{{nihongo|English|日本語|Nihongo}}."""
    english, japanese, roman = (values.get(name, "") for name in "123")
    inner = ", ".join(filter(None, (japanese, roman) if english else (roman,)))
    text = english or japanese or roman
    return f"{text} ({inner})" if inner and text != inner else text or None


_CODE = re.compile("[a-z]{2,3}(?:-[a-z]+)?")


def _red(values: Arguments, _: str) -> str | None:
    """{{нп5|Фоо|Фоо-сити|en|Foo City}}: a red link; {{нп5|Фоо|en}} names only the other wiki's language."""
    label = values.get("2", "")
    return values.get("1") if not label or _CODE.fullmatch(label) else label


def _interlanguage(values: Arguments, _: str) -> str | None:
    """{{ill|Hans Meier|de}}; once the language came first: {{ill|de|Hans Meier}}."""
    first, second = values.get("1", ""), values.get("2", "")
    if label := values.get("lt"):
        return label
    return second if _CODE.fullmatch(first) and second and not _CODE.fullmatch(second) else first or None


def _all(values: Arguments, _: str) -> str | None:
    """All positional arguments."""
    return ", ".join(value for name, value in values.items() if name.isdigit() and value) or None


_NO_SOUNDS = frozenset(
    ("lang", "pron", "local", "ipa", "also", "uk", "us", "uklang", "uslang", "ukalso", "usalso", "icon", "audio")
)
_SOUNDS = str.maketrans({"'": "ˈ", ",": "ˌ", "_": " ", "@": "ə"})


def _phonemes(values: Arguments, _: str) -> str | None:
    """{{IPAc-en|ə|ˈ|k|ɪ|l|iː|z}}: an argument a sound."""
    parts = [value for name, value in values.items() if name.isdigit() and value.lower() not in _NO_SOUNDS]
    return f"/{''.join(parts).translate(_SOUNDS)}/" if any(parts) else None


def _ipa(values: Arguments, _: str, bracket: str = "") -> str | None:
    """{{IPA|/bɪt/}}, {{IPA|de|ˈbaɪɐn|lang}}, {{IPA-de|ˈbaɪɐn}}."""
    first, second = values.get("1", ""), values.get("2", "")
    if _CODE.fullmatch(first) and second and second not in _NO_SOUNDS:
        first, bracket = second, "["
    return f"[{first}]" if bracket and first[:1] not in "/[" else first or None


def _french_century(values: Arguments, _: str) -> str | None:
    """{{s|XIX|e}}, {{s-|XIX|e}}."""
    century = values.get("1")
    if not century:
        return None
    return f"{century}{values.get('2', 'e')} siècle"


def _function(spec: str) -> Callable[[Arguments, str], str | None]:
    name, _, argument = spec.partition(" ")
    if name == "@ship":
        return functools.partial(_ship, prefix=f"{argument} " if argument else "")
    if name == "@ipa":
        return functools.partial(_ipa, bracket=argument)
    if name == "@money":
        return functools.partial(quantities.money, sign=argument)
    return _FUNCTIONS[name]


_FUNCTIONS: dict[str, Callable[[Arguments, str], str | None]] = {
    "@as_of": _as_of,
    "@last": _last,
    "@color": _coloured,
    "@date": _date,
    "@all": _all,
    "@nihongo": _nihongo,
    "@red": _red,
    "@ill": _interlanguage,
    "@siècle": _french_century,
    "@phonemes": _phonemes,
    "@convert": quantities.convert,
    "@number": quantities.formatted,
    "@val": quantities.val,
    "@frac": quantities.fraction,
    "@chem": quantities.chemical,
    "@gaps": quantities.gaps,
    "@expr": quantities.expression,
    "@unit": quantities.with_unit,
    "@height": quantities.height,
}
