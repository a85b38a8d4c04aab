"""The experiment's section `corpus`: the dump, its articles, their text, and the examples made from it.

`bertline corpus` and `bertline vocabulary` have options of the same names.
"""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from bertline.configuration import mistakes
from bertline.sources.files import Source
from bertline.stage.configs import Count, Probability, Real, Section

Amount = Literal["none", "prose", "all"]
"""How much to keep of parts that aren't paragraphs; `prose`: with 8 words or more and the end of a sentence."""


class Articles(Section):
    """The dump, and the articles to use."""

    dump: Source
    """A MediaWiki `pages-articles` dump, bz2, single stream or multistream. `sample:pydoc-topics` is English prose that
    every Python has, made into such a dump."""
    min_characters: int = Field(0, ge=0, le=10**9)
    """Articles with less prose than this are dropped."""
    skip_disambiguation: bool = True
    """Drop disambiguation pages, as the original did."""
    on_corrupt: Literal["fail", "skip"] = "fail"
    """A bz2 block that can't be read: fail, or drop its pages and count the bytes."""
    language: Literal["en", "ru", "de", "fr", "uk"] = "en"
    """Language of templates, numbers and sentence boundaries. Not read from the dump: its `xml:lang` can be wrong."""
    formulas: Literal["drop", "placeholder"] = "drop"
    """A formula that isn't plain text: drop its sentence, or write the word `formula` in its place."""
    unknown_templates: Literal["drop", "ignore"] = "drop"
    """A template in mid-sentence whose text isn't known: drop its sentence, or only the template."""
    templates: Source | None = None
    """A YAML table of templates' texts in the form of `wikipedia/tables`; it has priority over bertline's own."""
    template_text: Literal["shown", "none"] = "shown"
    """Keep the text that templates show, or treat every template as unknown."""
    list_items: Amount = "prose"
    """Items of lists: none, those that read like prose (8 words or more and the end of a sentence), or all."""
    tables: Amount = "none"
    """Cells of tables, each a paragraph: none, those that read like prose, or all."""
    captions: Amount = "none"
    """Captions of pictures and galleries, after their paragraph: none, prose, or all."""
    headings: Literal["none", "all"] = "none"
    """Headings: leave them out, or make each one a paragraph."""

    def with_sources(self, change: Callable[[Source], Source]) -> Self:
        """A copy in which every source is changed."""
        templates = self.templates and change(self.templates)
        return self.model_copy(update={"dump": change(self.dump), "templates": templates})


class Corpus(Articles):
    """From a Wikipedia dump to examples."""

    sequence_length: int = Field(128, ge=16, le=512)
    """Tokens of one example, with [CLS], two [SEP] and padding."""
    next_sentence: bool = True
    """Two segments in an example, for MLM and NSP as in BERT. False packs whole sentences across documents, for MLM
    only (RoBERTa's FULL-SENTENCES), and needs `pretrain.next_sentence: false`."""
    max_predictions: Count = 20
    """Masked positions of one example at most."""
    masking_rate: Real = Field(0.15, gt=0, lt=1)
    """Share of an example's tokens to predict."""
    whole_word_masking: bool = False
    """Mask all pieces of a word together."""
    max_ngram: int = Field(1, ge=1, le=16)
    """Mask up to so many neighbouring words together, n of them with weight 1/n; above 1 only with whole words."""
    short_sequence_rate: Probability = 0.1
    """Share of examples that aim at a random shorter length, so that fine-tuning's lengths aren't new to the model.
    No effect if `next_sentence` is false."""
    duplicates: int = Field(10, ge=1)
    """Each document is used so often, with different cuts and masks (`dupe_factor`). The original: en 2, ru 10."""
    shards: int = Field(256, ge=1, le=65536)
    """Number of TFRecord files and of their buckets; a hash assigns documents to buckets. Random next sentences come
    from the same bucket, whose text and plan are in a worker's memory: English Wikipedia's 3 Bn tokens / 256 = 12 M
    tokens, 280 MB with 10 duplicates. That grows by 8 bytes a token, and a byte a token and duplicate."""
    compression: Literal["none", "gzip"] = "none"
    """gzip: a fifth of the size, several times slower to read."""
    held_out: float = Field(0.005, ge=0, lt=0.5)
    """Share of the documents kept out of training for the held-out loss. The original had none: its loss is on training
    data."""
    seed: int = Field(17, ge=0, lt=2**64)
    """Cuts, partners and masks are functions of (seed, document, duplicate)."""
    max_unknown: Probability = 0.01
    """Largest share of [UNK] among the pieces; above it the vocabulary is probably for another language. Not in the
    key."""

    @model_serializer(mode="wrap")
    def _limit_not_in_the_key(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        fields = handler(self)
        if info.context and info.context.get("key"):
            fields.pop("max_unknown", None)
        return fields

    @model_validator(mode="after")
    def _predictions_fit(self) -> Self:
        if self.max_predictions > self.sequence_length - 3:
            said = (
                f"max_predictions {self.max_predictions} must be at most {self.sequence_length - 3}: sequence_length "
                f"{self.sequence_length} less [CLS] and two [SEP]"
            )
            mistakes.refuse([(("max_predictions",), said)])
        return self

    @model_validator(mode="after")
    def _grams_are_of_words(self) -> Self:
        if self.max_ngram > 1 and not self.whole_word_masking:
            said = f"max_ngram {self.max_ngram} is of whole words: write whole_word_masking: true as well"
            mistakes.refuse([(("max_ngram",), said)])
        return self
