"""Processes a dump's first articles with the stages' code: prose, sentences, pieces, examples.

Only the beginning of the dump is read. Unknown templates and [UNK] are counted in more articles than are shown.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bertline.corpus import instances, passes
from bertline.corpus.segments import Document
from bertline.errors import UserError
from bertline.examples.shards import Instances
from bertline.experiment.corpora import Corpus
from bertline.experiment.specs import Vocabulary
from bertline.sources.files import Source
from bertline.text import sentences, wordpiece
from bertline.vocabulary import training
from bertline.wikipedia import dumps, extraction
from bertline.wikipedia.pages import Page

MOST = 64 << 20
"""Bytes of a dump in which to look for articles."""

ARTICLES = 200
"""Number of articles in which templates and [UNK] are counted; this takes one or two seconds."""


@dataclass(frozen=True)
class Masked:
    """A masked position of an example."""

    position: int
    piece: str
    """The piece in the text."""
    shown: str
    """The piece in the example: usually [MASK], else the piece itself or another one."""


@dataclass(frozen=True)
class Example:
    """One of the examples that begin in a document."""

    pieces: tuple[str, ...]
    """The example's pieces without padding."""
    masked: tuple[Masked, ...]
    is_random_next: bool
    """True if segment B comes from another document."""


@dataclass(frozen=True)
class Article:
    """One article, step by step."""

    id: int
    title: str
    wikitext: str
    prose: tuple[str, ...]
    """Paragraphs."""
    sentences: tuple[str, ...]
    pieces: tuple[tuple[str, ...], ...]
    """The pieces of each sentence."""
    example: Example | None
    """None if no example begins in it."""


@dataclass(frozen=True)
class Preview:
    """A dump's first articles, with counts."""

    articles: tuple[Article, ...]
    looked_at: int
    """Number of articles for the following counts."""
    dropped_templates: dict[str, int]
    """Name → number of unknown templates in sentences, the most frequent first."""
    unknown_share: float
    """Share of [UNK] among the pieces."""
    is_trained_here: bool
    """True if the vocabulary was trained only on these articles."""


def preview(corpus: Corpus, vocabulary: Vocabulary, count: int, work: Path) -> Preview:
    """Process the first articles.

    Args:
        corpus: Settings with a dump on this machine, or on a server that supports ranges.
        vocabulary: A file, or a vocabulary to train; it is trained on these articles only.
        count: Number of articles to show.
        work: Folder for samples and downloads.

    Raises:
        UserError: the dump, the vocabulary or the templates' table can't be read; there is no article.
        TransientError: a server failed repeatedly.
    """
    dump, size = _dump(corpus.dump, work)
    templates = corpus.templates.fetch(work) if corpus.templates else None
    dumps.check(dump, "skip")  # the beginning of an incomplete dump is good enough
    read = extraction.Read()
    part = dumps.Slice(0, 0, min(size, MOST))
    found = list(itertools.islice(extraction.found(dump, part, corpus, read, templates), max(count, ARTICLES)))
    if not found:
        raise UserError(f"{dump} has no article with prose among its {read.pages:,} pages")
    tokenizer = _tokenizer(vocabulary, found, work)
    texts = [
        [each for part in paragraphs for each in sentences.split(part, corpus.language)] for _, paragraphs in found
    ]
    encoded = [tokenizer.encode_batch(text) for text in texts]
    documents = [
        Document(page.id, of_page.pieces, of_page.lengths) for (page, _), of_page in zip(found, encoded, strict=True)
    ]
    examples = _examples(corpus, documents[: max(count, 8)], tokenizer.vocabulary)[:count]
    tokens = np.concatenate([of_page.pieces for of_page in encoded])
    return Preview(
        articles=tuple(
            Article(
                id=page.id,
                title=page.title,
                wikitext=page.text,
                prose=tuple(paragraphs),
                sentences=tuple(text),
                pieces=tuple(tuple(_named(each.tolist(), tokenizer.vocabulary)) for each in of_page),
                example=example,
            )
            for (page, paragraphs), text, of_page, example in zip(found, texts, encoded, examples, strict=False)
        ),
        looked_at=len(found),
        dropped_templates=dict(extraction.most_frequent(Counter(read.dropped_templates), 50)),
        unknown_share=int((tokens == tokenizer.vocabulary.unk_id).sum()) / max(1, len(tokens)),
        is_trained_here=vocabulary.file is None,
    )


def _dump(source: Source, work: Path) -> tuple[dumps.Dump, int]:
    """The dump and its size in bytes; a remote dump isn't downloaded as a whole."""
    if source.is_local or source.is_sample or source.member:
        path = source.fetch(work) if source.member else source.look(work)
        return path, path.stat().st_size
    from bertline.sources import ranges  # the HTTP library takes 0.1 s to import

    if (ranged := ranges.look(source.url)) is None:
        raise UserError(f"{source.url} can't be read in parts; download it, or its beginning, and give the path")
    return ranged, ranged.size


def _tokenizer(vocabulary: Vocabulary, found: Sequence[tuple[Page, list[str]]], work: Path) -> wordpiece.Tokenizer:
    if vocabulary.file:
        return wordpiece.Tokenizer(wordpiece.read(vocabulary.file.fetch(work)), vocabulary.lower_case)
    assert vocabulary.train
    texts = (paragraph for _, paragraphs in found for paragraph in paragraphs)
    pieces = training.train(texts, vocabulary.train.size, vocabulary.lower_case)
    return wordpiece.Tokenizer(pieces, vocabulary.lower_case)


def _named(ids: Sequence[int], vocabulary: wordpiece.Vocabulary) -> list[str]:
    return [vocabulary.pieces[each] for each in ids]


def _examples(corpus: Corpus, documents: Sequence[Document], vocabulary: wordpiece.Vocabulary) -> list[Example | None]:
    """For each document the first example whose first segment comes from it."""
    options = passes.instance_options(corpus.model_copy(update={"duplicates": 1}))
    joined = [" ".join(map(str, ["", *each.pieces.tolist(), ""])) for each in documents]
    found: list[Example | None] = [None] * len(documents)
    for made in instances.make(documents, options, vocabulary):
        for row in range(len(made)):
            ids = _unmasked(made, row)
            first = ids[1 : ids.index(vocabulary.sep_id)]
            needle = " ".join(map(str, ["", *first, ""]))
            for number, text in enumerate(joined):
                if found[number] is None and needle in text:
                    found[number] = _example(made, row, ids, vocabulary)
                    break
    return found


def _unmasked(made: Instances, row: int) -> list[int]:
    ids = made.input_ids[row].copy()
    chosen = made.masked_lm_weights[row] > 0
    ids[made.masked_lm_positions[row][chosen]] = made.masked_lm_ids[row][chosen]
    return [int(each) for each in ids[: int(made.input_mask[row].sum())]]


def _example(made: Instances, row: int, ids: Sequence[int], vocabulary: wordpiece.Vocabulary) -> Example:
    pieces = _named(made.input_ids[row][: len(ids)].tolist(), vocabulary)
    positions = made.masked_lm_positions[row][made.masked_lm_weights[row] > 0].tolist()
    return Example(
        tuple(pieces),
        tuple(Masked(each, vocabulary.pieces[ids[each]], pieces[each]) for each in positions),
        bool(made.next_sentence_labels[row, 0]),
    )
