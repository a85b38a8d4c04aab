"""A small dump made of what every Python ships, so that demos and tests need no download.

`pydoc_data.topics` is the language reference that `help()` shows: English prose by many hands, under Python's own
licence. In Python 3.11 it makes a dump of 79 articles with 51,000 words in 2,900 sentences, 70 kB of bz2; besides them
a redirect and a talk page, so that filters have something to drop. What isn't prose is left out: code, grammar,
signatures, tables.
"""

import bz2
import functools
import hashlib
import pathlib
import re
from xml.sax import saxutils

_NAMESPACES = {0: "", 1: "Talk", 10: "Template", 14: "Category"}
_UNDERLINE = re.compile(r"([*=\-^~\"])\1+")
_FOOTNOTE = re.compile(r"\s?\[\d+\]")
_EMPHASIS = re.compile(r"\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\s](?:[^*\n]*[^*\s])?)\*(?![\w*])")
_PLAIN_WORD = re.compile(r"[(\"“‘]*[A-Za-z’'-]+[)\"”’,.;:!?]*")
_WRAPPED_HYPHEN = re.compile(r"(?<=[a-z])-\n\s*(?=[a-z])")
_ANNOUNCEMENT = re.compile(r"(?<=[.!?)”\"]) [A-Z][^.!?:]{0,24}:$")  # "For example:", "Syntax:"
_MIN_WORDS = 6
_PLAIN_SHARE = 0.6

# Wikitext's own markup in prose about braces and brackets; entities survive the parser as characters.
_MARKUP = re.compile(r"\[(?=\[)|\](?=\])|\{(?=[{|])|\}(?=\})|'(?=')|_(?=_)|~(?=~~)|<|&")


def write_pydoc_dump(path: str | pathlib.Path) -> None:
    """Writes a MediaWiki export-0.10 dump, bz2, one article a topic. The same Python writes the same bytes.

    Args:
        path: where to; usually ends in `.xml.bz2`. An existing file is replaced.
    """
    pathlib.Path(path).write_bytes(_compressed())


@functools.cache  # a plan asks for it a dozen times
def _compressed() -> bytes:
    return bz2.compress(_dump().encode(), 9)


def _dump() -> str:
    # 750 kB of text: not at import.
    from pydoc_data import topics

    articles = [(name, _wikitext(name, text)) for name, text in sorted(topics.topics.items())]
    pages = [(0, name, text) for name, text in articles if text]
    title = pages[0][1]
    pages.append((0, f"About {title}", f"#REDIRECT [[{title}]]"))
    pages.append((1, f"Talk:{title}", f"Is ''{title}'' the best name for this page? I think so. ~~~~"))
    namespaces = "".join(
        f'      <namespace key="{key}" case="first-letter">{name}</namespace>\n' for key, name in _NAMESPACES.items()
    )
    return (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">\n'
        "  <siteinfo>\n    <sitename>pydoc</sitename>\n    <dbname>pydoc</dbname>\n"
        f"    <case>first-letter</case>\n    <namespaces>\n{namespaces}    </namespaces>\n  </siteinfo>\n"
        + "".join(_page(number, *page) for number, page in enumerate(pages, start=1))
        + "</mediawiki>\n"
    )


def _page(number: int, namespace: int, title: str, text: str) -> str:
    target = re.match(r"#REDIRECT \[\[(.*)\]\]", text)
    redirect = f"    <redirect title={saxutils.quoteattr(target[1])} />\n" if target else ""
    return (
        f"  <page>\n    <title>{saxutils.escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n"
        f"{redirect}"
        f"    <revision>\n      <id>{number}</id>\n      <timestamp>2001-01-15T00:00:00Z</timestamp>\n"
        "      <contributor><username>pydoc</username><id>1</id></contributor>\n"
        "      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text xml:space="preserve">{saxutils.escape(text)}</text>\n'
        f"      <sha1>{_base36(hashlib.sha1(text.encode()).digest())}</sha1>\n    </revision>\n  </page>\n"
    )


def _base36(digest: bytes) -> str:
    """As MediaWiki writes its sha1: 160 bits are 31 digits of base 36."""
    number, digits = int.from_bytes(digest), ""
    for _ in range(31):
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def _wikitext(name: str, text: str) -> str:
    """A topic as an article; "" if it holds no prose."""
    blocks: list[str] = []
    has_prose = False
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip().split("\n")
        if len(lines) == 2 and _UNDERLINE.fullmatch(lines[1]):
            blocks.append(f"== {_escaped(lines[0])} ==")
        elif paragraph := _paragraph(block):
            blocks.append(_escaped(paragraph))
            has_prose = True
    if not has_prose:
        return ""
    return f"{{{{Infobox topic|name={name}}}}}\n" + "\n\n".join(blocks) + "\n\n[[Category:Python]]"


def _paragraph(block: str) -> str:
    """The block on one line, without reStructuredText's markup; "" if it isn't prose."""
    text = " ".join(_WRAPPED_HYPHEN.sub("-", block).split())
    text = _FOOTNOTE.sub("", text).strip().removeprefix("* ").removeprefix("Note: ").strip()
    if "::=" in text or ">>>" in text or "|--" in text or "+--" in text:
        return ""
    text = _EMPHASIS.sub(lambda match: match[1] or match[2], text)
    words = text.split()
    if len(words) < _MIN_WORDS or not text.rstrip(')"”').endswith((".", ":", "!", "?")):
        return ""
    if not text.lstrip("(\"“'")[:1].isupper() and text[:1] != '"':
        return ""
    if sum(_PLAIN_WORD.fullmatch(word) is not None for word in words) < _PLAIN_SHARE * len(words):
        return ""
    # What a paragraph announces with its colon was code, or is a paragraph of its own.
    text = _ANNOUNCEMENT.sub("", text)
    return text[:-1] + "." if text.endswith(":") else text


def _escaped(paragraph: str) -> str:
    text = _MARKUP.sub(lambda match: f"&#{ord(match[0])};", paragraph)
    return f"&#{ord(text[0])};{text[1:]}" if text[0] in "*#:;=|!{ -" else text
