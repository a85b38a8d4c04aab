"""Marks between the passes: noncharacters, which Unicode reserves for internal use."""

import re

GUARD = "\ufdd0"
"""Shows nothing. Text after it isn't at the beginning of a line, and apostrophes on both sides aren't adjacent."""
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
    """The text with all markup escaped."""
    return text.translate(_AS_LITERAL)


def shown(text: str) -> str:
    """The text as a reader sees it, with marks for holes and formulas."""
    return text.translate(_SHOWN)
