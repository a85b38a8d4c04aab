"""Settings for reading wikitext: which parts become text."""

from dataclasses import dataclass
from pathlib import Path
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
    """The fields are those of the experiment (`corpora.Articles`), and what the dump tells."""

    language: str = "en"
    """Wikipedia's code: which templates show what, how numbers are written and where sentences end."""
    templates: Path | None = None
    """The user's table of templates."""
    template_text: Literal["shown", "none"] = "shown"
    namespaces: Namespaces = Namespaces()
    formulas: Literal["drop", "placeholder"] = "drop"
    unknown_templates: Literal["drop", "ignore"] = "ignore"
    list_items: Amount = "prose"
    tables: Amount = "none"
    captions: Amount = "none"
    headings: Literal["none", "all"] = "none"

    def known_templates(self) -> Templates:
        """What is known of templates.

        Raises:
            FileError: what is wrong in the user's table.
        """
        return templates.of(self.language, self.templates, text=self.template_text == "shown")
