"""Characters that stand for something between the passes: noncharacters, which Unicode leaves to programs' own use."""

import re

GUARD = "\ufdd0"
"""Shows nothing. What follows isn't at its line's beginning, and apostrophes on both sides don't meet."""
HOLE = "\ufdd1"
"""A template whose text isn't known."""
FORMULA = "\ufdd2"
"""A formula."""
CELL = "\ufde8"
"""At the beginning of a line: the text of a table's cell."""
CAPTION, CAPTION_END = "\ufde9", "\ufdea"
"""Around a picture's caption, which may stand within a line."""

_LITERAL = {"\n": " "} | {character: chr(0xFDD3 + number) for number, character in enumerate("'[]{}|<>=*#:;!_-/")}
_AS_LITERAL = str.maketrans(_LITERAL)
_SHOWN = str.maketrans(
    {mark: character for character, mark in _LITERAL.items() if mark != " "}
    | dict.fromkeys((GUARD, CELL, CAPTION, CAPTION_END), "")
)

ANY = re.compile("[\ufdd0-\ufdef]")


def literal(text: str) -> str:
    """Text in which nothing is markup."""
    return text.translate(_AS_LITERAL)


def shown(text: str) -> str:
    """The same as a reader sees it, with holes and formulas still marked."""
    return text.translate(_SHOWN)
