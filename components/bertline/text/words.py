"""A text's words, as BERT sees them before they become pieces: the Model Garden's ``tokenization.BasicTokenizer``.

The Unicode tables are Python's own, which the Model Garden uses as well.
"""

import dataclasses
import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Sequence

_CJK = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002ceaf\uf900-\ufaff"
    "\U0002f800-\U0002fa1f"
)
"""BERT's notion of a Chinese character, as the inside of a character class."""

_CONTROL_BLANKS = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
"""Blanks to Python's split, control characters to drop for BERT."""
_DROP_CONTROL_BLANKS = str.maketrans("", "", _CONTROL_BLANKS)

SPACE, LINE = " ", "\u2028"
"""Blanks to set parts apart when many become words together: the first for printable ASCII, which it is itself."""


def split_all(texts: Sequence[str]) -> list[list[str]]:
    """Each text, split at blanks into *parts*."""
    together = "".join(texts)
    if any(blank in together for blank in _CONTROL_BLANKS):
        texts = [text.translate(_DROP_CONTROL_BLANKS) for text in texts]
    return [text.split() for text in texts]


def of(text: str, lower_case: bool) -> list[str]:
    """The words and marks of a part; of many parts with separators between them, which are found like marks.

    Separators are spaces if all parts are printable ASCII, U+2028 otherwise.
    """
    characters = _characters()
    if not (text.isascii() and text.isprintable()):
        text = characters.dropped.sub("", text)
        text = characters.chinese.sub(r"\n\g<0>\n", text)
    if lower_case:
        text = uncased(text)
    found: list[str] = characters.words.findall(text)
    return found


def uncased(part: str) -> str:
    """Lower-cased and without accents."""
    part = part.lower()
    return part if part.isascii() else _characters().accents.sub("", unicodedata.normalize("NFD", part))


@dataclasses.dataclass(frozen=True, slots=True)
class _Characters:
    """What BERT does to characters, by Python's Unicode tables."""

    dropped: re.Pattern[str]
    """Control and format characters, the replacement character."""
    chinese: re.Pattern[str]
    accents: re.Pattern[str]
    """Nonspacing marks."""
    words: re.Pattern[str]
    """A punctuation mark, a separator of parts, or whatever is between such marks and blanks."""


@functools.cache
def _characters() -> _Characters:
    # 1.1 million look-ups, a quarter of a second: once a process, and not on import.
    by_category: dict[str, list[str]] = {}
    for category, group in itertools.groupby(map(chr, range(sys.maxunicode + 1)), unicodedata.category):
        run = list(group)
        by_category.setdefault(category, []).append(f"{re.escape(run[0])}-{re.escape(run[-1])}")
    # ASCII has marks like "$", "^" and "`" that aren't punctuation to Unicode, but to BERT.
    marks = "!-/:-@\\[-`{-~" + "".join(
        itertools.chain.from_iterable(runs for category, runs in by_category.items() if category[0] == "P")
    )
    return _Characters(
        # Blanks that are control characters (tab, line ends) never get here.
        dropped=re.compile(f"[\ufffd{''.join(by_category['Cc'] + by_category['Cf'])}]+"),
        chinese=re.compile(f"[{_CJK}]"),
        accents=re.compile(f"[{''.join(by_category['Mn'])}]+"),
        words=re.compile(f"[{SPACE}{LINE}{marks}]|[^\\s{marks}]+"),
    )
