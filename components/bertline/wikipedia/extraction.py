"""From a slice of a dump to the prose of its articles, for the vocabulary and the corpus."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bertline.experiment.corpora import Articles
from bertline.wikipedia import articles, dumps, pages, siteinfo
from bertline.wikipedia.readings import Reading


@dataclass
class Read:
    """Counts that change while `prose` is iterated."""

    pages: int = 0
    articles: int = 0
    """Articles with prose, without redirects, other namespaces and those below `min_characters`."""
    skipped_bytes: int = 0
    """Compressed bytes of damaged blocks that were left out."""
    dropped_templates: Counter[str] = field(default_factory=Counter)
    """Name → number of unknown templates in sentences."""


def most_frequent(names: Counter[str], count: int) -> list[tuple[str, int]]:
    """The most frequent names; equally frequent ones in alphabetical order."""
    return sorted(names.items(), key=lambda item: (-item[1], item[0]))[:count]


def prose(
    dump: dumps.Dump, part: dumps.Slice, choice: Articles, read: Read, templates: Path | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Page id and paragraphs of each article that the slice owns, in the order of the dump.

    Args:
        dump: a dump on this machine, or parts of a dump elsewhere.
        part: a slice of the dump.
        choice: the articles, and the parts of their text.
        read: counts what was read.
        templates: the file of `choice.templates` on local disk.

    Raises:
        UserError: a damaged block, unless `choice.on_corrupt` is "skip"; a table of templates that can't be read.
    """
    for page, paragraphs in found(dump, part, choice, read, templates):
        yield page.id, paragraphs


def found(
    dump: dumps.Dump, part: dumps.Slice, choice: Articles, read: Read, templates: Path | None = None
) -> Iterator[tuple[pages.Page, list[str]]]:
    """Like `prose`, but with the whole page."""
    damage = dumps.Damage()
    how = reading(dump, choice, templates)
    for xml in dumps.pages(dump, part, choice.on_corrupt, damage):
        read.pages += 1
        page = pages.parse(xml)
        if page.namespace != 0 or page.redirect:
            continue
        if choice.skip_disambiguation and articles.is_disambiguation(page.text):
            continue
        paragraphs = articles.prose(page.text, how, read.dropped_templates)
        if not paragraphs or sum(map(len, paragraphs)) < choice.min_characters:
            continue
        read.articles += 1
        yield page, paragraphs
    read.skipped_bytes += damage.skipped_bytes


def reading(dump: dumps.Dump, choice: Articles, templates: Path | None = None) -> Reading:
    """How a dump's wikitext is read."""
    return Reading(
        language=choice.language,
        templates=templates,
        template_text=choice.template_text,
        namespaces=siteinfo.namespaces(dump),
        formulas=choice.formulas,
        unknown_templates=choice.unknown_templates,
        list_items=choice.list_items,
        tables=choice.tables,
        captions=choice.captions,
        headings=choice.headings,
    )
