"""The two passes as functions of one unit of work, which any process can do.

map      a slice of the dump → its articles' token ids, sorted into buckets
reduce   a bucket, from all slices → one TFRecord shard
"""

import functools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bertline.corpus import buckets, instances
from bertline.corpus.buckets import DamagedPiecesError, Partitioner
from bertline.corpus.instances import InstanceOptions
from bertline.corpus.segments import Document
from bertline.examples import shards
from bertline.experiment.corpora import Corpus
from bertline.store import disks
from bertline.store.staging import File
from bertline.text import sentences, wordpiece
from bertline.wikipedia import dumps, extraction

BATCH = 64  # articles tokenized together: enough for the tokenizer's batches, little memory
NAMES = 500  # of dropped templates in a slice's receipt


@dataclass(frozen=True)
class MapUnit:
    """One slice of the dump."""

    dump: dumps.Dump
    part: dumps.Slice
    corpus: Corpus
    vocabulary: Path
    lower_case: bool
    output: Path
    templates: Path | None = None
    """The file of `corpus.templates`."""


@dataclass
class Counts:
    """Counts of a slice; their sums are the corpus' statistics."""

    pages: int = 0
    articles: int = 0
    documents: int = 0
    words: int = 0
    sentences: int = 0
    tokens: int = 0
    unknown: int = 0
    """Tokens that are [UNK]: words that the vocabulary can't spell."""
    skipped_bytes: int = 0
    dropped_templates: Counter[str] = field(default_factory=Counter)
    """Name → number of templates in sentences whose text isn't known."""

    @property
    def unknown_share(self) -> float:
        """Share of [UNK] among the tokens."""
        return self.unknown / self.tokens if self.tokens else 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class ReduceUnit:
    """One bucket."""

    bucket: int
    sources: tuple[tuple[buckets.Piece, ...], ...]
    """The pieces of each bucket of its shard, in the dump's order; see `buckets.Layout`."""
    corpus: Corpus
    vocabulary: Path
    output: Path


@dataclass(frozen=True)
class Shard:
    """The shard of a bucket."""

    file: File
    examples: int
    documents: int


def map_slice(unit: MapUnit) -> tuple[Counts, buckets.Written]:
    """Read, clean, split and tokenize one slice; write its buckets to `unit.output`."""
    counts, read = Counts(), extraction.Read()
    tokenizer = _tokenizer(unit.vocabulary, unit.lower_case)
    unknown = tokenizer.vocabulary.unk_id
    documents: list[Document] = []
    waiting: list[tuple[int, list[str]]] = []

    def tokenize() -> None:
        encoded = tokenizer.encode_batch([sentence for _, texts in waiting for sentence in texts])
        edges = np.cumsum([0, *(len(texts) for _, texts in waiting)])  # [articles + 1], of their sentences
        token_edges = np.concatenate([[0], np.cumsum(encoded.lengths)])[edges]  # [articles + 1]
        for index, (identity, _) in enumerate(waiting):
            lengths = encoded.lengths[edges[index] : edges[index + 1]]  # [sentences]
            pieces = encoded.pieces[token_edges[index] : token_edges[index + 1]]
            if len(pieces):
                documents.append(Document(identity, pieces, lengths[lengths > 0].astype(np.int32)))
                counts.documents += 1
                counts.sentences += int(np.count_nonzero(lengths))
        counts.tokens += len(encoded.pieces)
        counts.unknown += int((encoded.pieces == unknown).sum())
        waiting.clear()

    for identity, paragraphs in extraction.prose(unit.dump, unit.part, unit.corpus, read, unit.templates):
        # Single spaces are the only blanks of prose.
        counts.words += sum(paragraph.count(" ") + 1 for paragraph in paragraphs)
        waiting.append(
            (identity, [each for part in paragraphs for each in sentences.split(part, unit.corpus.language)])
        )
        if len(waiting) == BATCH:
            tokenize()
    tokenize()
    # A slice has some thousand names at most; the rare ones would only fill the receipts.
    counts.dropped_templates = Counter(dict(extraction.most_frequent(read.dropped_templates, NAMES)))
    counts.pages, counts.articles, counts.skipped_bytes = read.pages, read.articles, read.skipped_bytes
    return counts, buckets.write(unit.output, documents, Partitioner(unit.corpus.shards, unit.corpus.held_out))


def instance_options(corpus: Corpus, *, held_out: bool = False) -> InstanceOptions:
    """The options for a bucket's instances. Held-out documents are used once.

    Raises:
        UserError: the options are invalid.
    """
    return InstanceOptions(
        max_seq_length=corpus.sequence_length,
        max_predictions_per_seq=corpus.max_predictions,
        masked_lm_prob=corpus.masking_rate,
        short_seq_prob=corpus.short_sequence_rate,
        dupe_factor=1 if held_out else corpus.duplicates,
        whole_word_masking=corpus.whole_word_masking,
        max_ngram_size=corpus.max_ngram,
        next_sentence=corpus.next_sentence,
        seed=corpus.seed,
    )


def reduce_bucket(unit: ReduceUnit) -> Shard | DamagedPiecesError:
    """Make the instances of one bucket; write its shard to `unit.output`. Held-out documents are used once.

    Damaged slices are a result, not a failure, because other buckets may find other ones.
    """
    corpus = unit.corpus
    options = instance_options(corpus, held_out=unit.bucket >= corpus.shards)
    try:
        documents = [document for pieces in unit.sources for document in buckets.read(pieces)]
    except DamagedPiecesError as error:
        return error
    made = instances.make(documents, options, _vocabulary(unit.vocabulary), bucket=unit.bucket)
    with disks.explained("write", unit.output):
        stats = shards.write(unit.output, made, corpus.compression)
    name = Partitioner(corpus.shards, corpus.held_out).name(unit.bucket, corpus.compression)
    return Shard(File(path=name, size=stats.bytes, sha256=stats.sha256), stats.examples, len(documents))


# Once per process, not per unit: a vocabulary of 120,000 pieces takes half a second to read, and a tokenizer caches
# words.


@functools.lru_cache(maxsize=1)
def _vocabulary(path: Path) -> wordpiece.Vocabulary:
    return wordpiece.read(path)


@functools.lru_cache(maxsize=1)
def _tokenizer(path: Path, lower_case: bool) -> wordpiece.Tokenizer:
    return wordpiece.Tokenizer(_vocabulary(path), lower_case)
