"""Pass 2 of wikitext: replaces links by their text. Links are nested in captions of pictures, at most 16 deep.

Names of namespaces come from the dump. Old names that wikis accept but the dump lacks are recognized by their targets:
a picture has a file's ending, and a line with nothing but links to a namespace isn't prose.
"""

import re
from collections.abc import Sequence

from bertline.wikipedia.marks import CAPTION, CAPTION_END, GUARD
from bertline.wikipedia.readings import Reading

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10})*")
_PICTURE = re.compile(r"\.(?:jpe?g|png|gif|svg|tiff?|webp|xcf|og[gvam]|webm|pdf|djvu|mid|wav|mp3)\s*$", re.IGNORECASE)
_LINKS = re.compile(r"\[\[([^\[\]|\n]*)(?:\|([^\[\]|\n]*))?\]\]|\[\[|\]\]|\n[ \t]*(?=[\n=])")
# A line with nothing but links to another namespace isn't prose, even if the namespace isn't known.
_LONE = re.compile(
    GUARD + r"[ \t]*+(?:\[\[[^\[\]|:\n]{1,40}:[^\[\]|\s][^\[\]|\n]*+(?:\|[^\[\]\n]*+)?\]\][ \t]*+)++(?=\n|$)"
)
# Options of a picture, not its caption: `thumb`, `alt=…`.
_OPTION = re.compile(r"\s*(?:[\w-]+=.*|\S*)\s*", re.DOTALL)
_MAX_DEPTH = 16


def without_links(text: str, reading: Reading) -> str:
    """The text with links replaced by what a reader sees; an unclosed caption ends at the next blank line.

    Args:
        text: wikitext after pass 1.
        reading: which namespaces there are, and whether captions are kept, with marks around.
    """
    if reading.captions == "none":
        text = _LONE.sub("", text)
    else:
        text = _LONE.sub(lambda match: match[0] if _PICTURE.search(match[0].partition("|")[0]) else "", text)
    pieces: list[str] = []
    stack: list[int] = []  # for each open link, how many pieces precede it
    blank = 0  # how many pieces precede the first blank line within an open caption
    too_deep = 0
    position = 0
    for match in _LINKS.finditer(text):
        start = match.start()
        if start > position:
            pieces.append(text[position:start])
        position = match.end()
        target, label = match.groups()
        if target is not None:
            pieces.append(_shown(target, () if label is None else (label,), reading))
            continue
        token = match[0]
        if token == "[[":
            if len(stack) < _MAX_DEPTH:
                stack.append(len(pieces))
            else:
                too_deep += 1
        elif token == "]]":
            if too_deep:
                too_deep -= 1
            elif stack:
                begin = stack.pop()
                target, *labels = "".join(pieces[begin:]).split("|")
                pieces[begin:] = [_shown(target, labels, reading)]
                if not stack:
                    blank = 0
        else:
            too_deep = 0
            if stack and text[position : position + 1] != "=" and (kept := _captions(stack, pieces, reading)):
                # A caption may have several paragraphs.
                del stack[kept:]
                blank = blank or len(pieces)
            else:
                _abandon(stack, pieces, blank, reading)
                blank = 0
            pieces.append(token)
    pieces.append(text[position:])
    _abandon(stack, pieces, blank, reading)
    return "".join(pieces)


def _shown(target: str, labels: Sequence[str], reading: Reading) -> str:
    """What a reader sees of a link."""
    colon = target.find(":")
    if colon > 0:
        namespace = target[:colon].replace("_", " ").strip().lower()
        if namespace in reading.namespaces.pictures or _PICTURE.search(target):
            return "" if reading.captions == "none" else _caption(labels)
        if namespace in reading.namespaces.categories:
            return ""
        if not labels and _LANGUAGE.fullmatch(target[:colon].strip()):
            return ""  # an interlanguage link
    if not labels:
        return target.strip().removeprefix(":").replace("_", " ")
    return labels[-1] or target.rpartition(":")[2].partition("(")[0].strip()  # [[Foo (bar)|]] shows Foo


def _caption(labels: Sequence[str]) -> str:
    """The last label that isn't an option; a single word usually is an option."""
    text = next((label for label in reversed(labels) if not _OPTION.fullmatch(label)), "")
    return f"{CAPTION}{' '.join(text.split())}{CAPTION_END}" if text else ""


def _is_picture(pieces: list[str], begin: int, reading: Reading) -> bool:
    if begin >= len(pieces):
        return False
    target = pieces[begin].partition("|")[0]
    namespace, colon, _ = target.partition(":")
    return bool(colon) and (
        namespace.replace("_", " ").strip().lower() in reading.namespaces.pictures or bool(_PICTURE.search(target))
    )


def _captions(stack: list[int], pieces: list[str], reading: Reading) -> int:
    """Number of open links that continue after a blank line: those up to the first picture."""
    return next((depth for depth, begin in enumerate(stack, 1) if _is_picture(pieces, begin, reading)), 0)


def _abandon(stack: list[int], pieces: list[str], blank: int, reading: Reading) -> None:
    """Close unclosed links: their text stays, except descriptions of pictures."""
    if stack:
        begin = next((begin for begin in stack if _is_picture(pieces, begin, reading)), None)
        if begin is not None:
            del pieces[begin : blank or len(pieces)]
        stack.clear()
