"""Settings for reading wikitext: which parts become text."""

from dataclasses import dataclass, field
from typing import Literal

from bertline.experiment.corpora import Amount
from bertline.wikipedia import templates
from bertline.wikipedia.templates import Templates


@dataclass(frozen=True)
class Namespaces:
    """Names, in lower case, of namespaces whose links show nothing in the text."""

    pictures: frozenset[str] = frozenset(("file", "image", "media"))
    """MediaWiki's own names, which every wiki accepts, and the dump's names."""
    categories: frozenset[str] = frozenset(("category",))
    """Names of the category namespace."""


@dataclass(frozen=True)
class Reading:
    """The experiment's fields (`corpora.Articles`) and the dump's namespaces."""

    templates: Templates = field(default_factory=lambda: templates.of("en"))
    """The texts of templates, and the language."""
    namespaces: Namespaces = Namespaces()
    formulas: Literal["drop", "placeholder"] = "drop"
    unknown_templates: Literal["drop", "ignore"] = "ignore"
    list_items: Amount = "prose"
    tables: Amount = "none"
    captions: Amount = "none"
    headings: Literal["none", "all"] = "none"

    @property
    def language(self) -> str:
        """Wikipedia's language code, for numbers and sentence boundaries."""
        return self.templates.language
