"""From a slice of a dump to the prose of its articles: what the vocabulary and the corpus both read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bertline.experiments import Articles
from bertline.wikipedia import articles, dumps, pages


@dataclass
class Read:
    """What was met on the way; changed while `prose` is iterated over."""

    pages: int = 0
    articles: int = 0
    """With prose: no redirects, no other namespaces, none below `min_characters`."""
    skipped_bytes: int = 0
    """Compressed bytes of damaged blocks that were left out."""


def prose(dump: Path, part: dumps.Slice, choice: Articles, read: Read) -> Iterator[tuple[int, list[str]]]:
    """Page id and paragraphs of each article that the slice owns, in the order of the dump.

    Raises:
        UserError: a damaged block, unless `choice.on_corrupt` is "skip".
    """
    damage = dumps.Damage()
    for xml in dumps.pages(dump, part, choice.on_corrupt, damage):
        read.pages += 1
        page = pages.parse(xml)
        if page.namespace != 0 or page.redirect:
            continue
        if choice.skip_disambiguation and articles.is_disambiguation(page.text):
            continue
        paragraphs = articles.prose(page.text)
        if not paragraphs or sum(map(len, paragraphs)) < choice.min_characters:
            continue
        read.articles += 1
        yield page.id, paragraphs
    read.skipped_bytes += damage.skipped_bytes
