"""How wikitext is read: what of it becomes text."""

from dataclasses import dataclass, field
from typing import Literal

from bertline.experiment.corpora import Amount
from bertline.wikipedia import templates
from bertline.wikipedia.templates import Templates


@dataclass(frozen=True)
class Namespaces:
    """Names of namespaces, in lower case, to which a link shows nothing in the text around it."""

    pictures: frozenset[str] = frozenset(("file", "image", "media"))
    """MediaWiki's own names, which every wiki accepts, and those that the dump tells."""
    categories: frozenset[str] = frozenset(("category",))
    """The same."""


@dataclass(frozen=True)
class Reading:
    """The fields are those of the experiment (`corpora.Articles`), and what the dump tells."""

    templates: Templates = field(default_factory=lambda: templates.of("en"))
    """Which templates show what, in which language."""
    namespaces: Namespaces = Namespaces()
    formulas: Literal["drop", "placeholder"] = "drop"
    unknown_templates: Literal["drop", "ignore"] = "ignore"
    list_items: Amount = "prose"
    tables: Amount = "none"
    captions: Amount = "none"
    headings: Literal["none", "all"] = "none"

    @property
    def language(self) -> str:
        """Wikipedia's code: how numbers are written and where sentences end."""
        return self.templates.language
