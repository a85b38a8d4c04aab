"""What a dump says of its wiki, in `<siteinfo>` at its beginning: the names of its namespaces."""

import bz2
import functools
import html
import re
from pathlib import Path

from bertline.wikipedia.readings import Namespaces

_HEAD_BYTES = 1 << 20  # compressed; the first block of a dump takes 900 kB at most
_HEAD_CHARACTERS = 1 << 18  # a wiki with 60 namespaces says all in 6 kB
_NAMESPACE = re.compile(r'<namespace\s+key="(-?\d+)"[^<>]*>([^<>]*)</namespace>')
_PICTURES, _CATEGORIES = {-2, 6}, {14}  # Media, File; Category


def namespaces(dump: Path) -> Namespaces:
    """The namespaces of a dump's pictures and categories; MediaWiki's own names if it doesn't tell."""
    status = dump.stat()
    return _namespaces(dump, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _namespaces(dump: Path, *_: int) -> Namespaces:
    with dump.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"BZh"):
        try:
            head = bz2.BZ2Decompressor().decompress(head, _HEAD_CHARACTERS)
        except OSError:
            head = b""  # whether damage is an error is decided where pages are read
    text = head[:_HEAD_CHARACTERS].decode("utf-8", errors="replace").partition("</siteinfo>")[0]
    told = [(int(key), html.unescape(name).replace("_", " ").strip().lower()) for key, name in _NAMESPACE.findall(text)]
    usual = Namespaces()
    return Namespaces(
        usual.pictures.union(name for key, name in told if key in _PICTURES and name),
        usual.categories.union(name for key, name in told if key in _CATEGORIES and name),
    )
