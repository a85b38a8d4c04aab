"""The texts of templates: a table for each language (`tables/`), and tables of users.

    "{1}": [nowrap, small]       these show their first argument; `templates` says what else can stand here
    "": [coord, sfn*]            these show nothing that belongs to a sentence; sfn and all whose names begin so

`dropped_templates` in a corpus' results, and `bertline corpus preview`, show the most frequent unknown templates in
sentences.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertline.configuration import mistakes, yamlfiles
from bertline.configuration.mistakes import Location

FOLDER = Path(__file__).parent / "tables"
LANGUAGES = ("en", "ru", "uk", "de", "fr")
"""The order in which other languages' tables are searched."""

FUNCTIONS = (
    *("@as_of", "@last", "@color", "@date", "@all", "@nihongo", "@red", "@ill", "@siècle", "@ship", "@money"),
    *("@ipa", "@phonemes"),
    *("@convert", "@number", "@val", "@frac", "@chem", "@gaps", "@expr", "@unit", "@height"),
)
"""Functions of `templates`."""
_WITH_A_WORD = ("@ship", "@money", "@ipa")

_PLACES = re.compile(r"\{[^{}]*\}|\[(?:[^\[\]{}]|\{[^{}]*\})*\]")


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A table: what templates show, by name in lower case."""

    names: Mapping[str, str]
    prefixes: tuple[tuple[str, str], ...]
    """(beginning of names, text)."""


def read(path: Path) -> Table:
    """Read a table.

    Raises:
        FileNotFoundError: the file doesn't exist.
        FileError: a line for each mistake.
    """
    document = yamlfiles.read(path)
    problems = [*document.problems, *document.located(_problems(document.values))]
    if problems:
        raise yamlfiles.FileError(path, problems)
    names: dict[str, str] = {}
    prefixes = []
    for text, templates in document.values.items():
        for template in templates:
            name = normal(template)
            if name.endswith("*"):
                prefixes.append((name[:-1], text.replace("¶", "\n\n")))
            else:
                names[name] = text.replace("¶", "\n\n")
    return Table(names, tuple(prefixes))


@functools.cache
def own() -> Mapping[str, Table]:
    """The tables that come with bertline, by language."""
    return {language: read(FOLDER / f"{language}.yaml") for language in LANGUAGES}


def normal(name: str) -> str:
    """A template's normalized name in lower case: `Foo_bar` and `Template:foo  bar` are the same."""
    return " ".join(name.replace("_", " ").split()).lower().removeprefix("template:").lstrip()


def _problems(values: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    first: dict[str, str] = {}
    for text, templates in values.items():
        if said := _unreadable(text):
            yield (text,), said
        if not isinstance(templates, list):
            found = f"found {mistakes.shown(templates)}"
            yield (text,), f'expected a list of templates\' names, as "{{1}}": [nowrap, small], {found}'
            continue
        for index, template in enumerate(templates):
            if not isinstance(template, str) or not normal(template).strip("*"):
                found = f"found {mistakes.shown(template)}"
                yield (text, index), f"expected a template's name, {found}; write names with special signs in quotes"
                continue
            name = normal(template)
            if name in first:
                yield (text, index), f"{template} is in the table twice, first under {first[name]!r}; keep one"
            first.setdefault(name, text)


def _unreadable(text: str) -> str:
    """Why this isn't a valid text of a template; empty if it is."""
    if text.startswith("@"):
        name, _, argument = text.partition(" ")
        if name not in FUNCTIONS:
            return f"{name} isn't known{mistakes.accepted(name, FUNCTIONS)}"
        if argument and name not in _WITH_A_WORD:
            return f"{argument!r} behind {name} has no meaning; expected {name} alone"
        return ""
    left = _PLACES.sub("", text)
    if any(sign in left for sign in "{}[]"):
        return (
            "a bracket isn't closed, or brackets are within each other: expected places as {1} or {text|1}, and "
            "[…] around what is left out with them"
        )
    return ""
