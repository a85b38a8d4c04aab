"""The names of a wiki's namespaces, from `<siteinfo>` at the beginning of its dump."""

import bz2
import functools
import html
import os
import re
from pathlib import Path

from bertline.wikipedia import blocks, dumps
from bertline.wikipedia.readings import Namespaces

_STEP_BYTES = 1 << 16  # compressed
_HEAD_BYTES = 1 << 20  # the first block of a dump takes 900 kB at most
_HEAD_CHARACTERS = 1 << 18  # a wiki with 60 namespaces says all in 6 kB
_NAMESPACE = re.compile(r'<namespace\s+key="(-?\d+)"[^<>]*>([^<>]*)</namespace>')
_END = "</siteinfo>"
_PICTURES, _CATEGORIES = {-2, 6}, {14}  # Media, File; Category


def namespaces(dump: dumps.Dump) -> Namespaces:
    """The namespaces of a dump's pictures and categories; MediaWiki's own names if it has none.

    Raises:
        UserError: it can't be opened.
    """
    if not isinstance(dump, str | Path):
        return _namespaces(dump)
    status = os.stat(dump)
    return _namespaces(dump, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _namespaces(dump: dumps.Dump, *_: int) -> Namespaces:
    with dumps.open_dump(dump) as file:
        text = _head(file).decode("utf-8", errors="replace").partition(_END)[0]
    told = [(int(key), html.unescape(name).replace("_", " ").strip().lower()) for key, name in _NAMESPACE.findall(text)]
    usual = Namespaces()
    return Namespaces(
        usual.pictures.union(name for key, name in told if key in _PICTURES and name),
        usual.categories.union(name for key, name in told if key in _CATEGORIES and name),
    )


def _head(file: blocks.File) -> bytes:
    """The text of the dump's beginning, as short as possible. Damage isn't an error here, only when pages are read."""
    decompressor = bz2.BZ2Decompressor()
    text, read, is_bz2 = b"", 0, blocks.is_bz2(file)
    file.seek(0)
    while read < _HEAD_BYTES and len(text) < _HEAD_CHARACTERS and _END.encode() not in text:
        piece = file.read(_STEP_BYTES)
        if not piece:
            break
        read += len(piece)
        if not is_bz2:
            text += piece
            continue
        try:
            while piece:
                text += decompressor.decompress(piece)
                piece = decompressor.unused_data
                if decompressor.eof:  # a multistream dump says all in a stream of its own
                    decompressor = bz2.BZ2Decompressor()
        except OSError:
            break
    return text[:_HEAD_CHARACTERS]
