"""The vocabulary stage: checks a file, or trains on the articles' prose."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertline.errors import UserError
from bertline.experiment.corpora import Articles
from bertline.experiment.specs import TrainVocabulary
from bertline.process import progress
from bertline.sources import files
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, realize
from bertline.text import wordpiece
from bertline.vocabulary import training
from bertline.vocabulary.config import VocabularyConfig
from bertline.wikipedia import dumps, extraction

PAYLOAD = "vocab.txt"
SLICE = 4 << 20  # bytes of the dump between two updates of the progress


def run(config: VocabularyConfig, store: ObjectStore) -> Realization:
    """The vocabulary as `vocab.txt`.

    Raises:
        UserError: special pieces are missing, a cased vocabulary with `lower_case`, a dump that can't be read.
    """
    return realize(store, config.derivation(), lambda build: _build(config, build))


def _build(config: VocabularyConfig, build: Build) -> Outcome:
    begun = time.perf_counter()
    results: dict[str, Any] = {}
    lower_case = config.vocabulary.lower_case
    if config.vocabulary.file:
        source, obtained = config.vocabulary.file, config.vocabulary.file.obtain(build.work, build.store)
        vocabulary = wordpiece.read(obtained.path)
    else:
        assert config.vocabulary.train is not None
        assert config.articles is not None
        source, obtained = config.articles.dump, config.articles.dump.obtain(build.work, build.store)
        dumps.check(obtained.path, config.articles.on_corrupt)
        own = config.articles.templates
        templates = own.fetch(build.work, build.store) if own else None
        texts = _Texts(obtained.path, config.articles, config.vocabulary.train, templates)
        vocabulary = training.train(iter(texts), config.vocabulary.train.size, lower_case, min_frequency=2)
        results = {"characters": texts.characters, "articles": texts.read.articles}
    wordpiece.Tokenizer(vocabulary, lower_case)
    (build.payload / PAYLOAD).write_text(vocabulary.text, encoding="utf-8")
    results |= {"pieces": vocabulary.size, "sha256": vocabulary.sha256}
    return Outcome(results, {"seconds": time.perf_counter() - begun, **files.measurements((source, obtained))})


class _Texts:
    """Paragraphs from the dump's beginning, up to `max_characters`."""

    def __init__(self, dump: Path, articles: Articles, options: TrainVocabulary, templates: Path | None) -> None:
        self._dump, self._articles, self._options, self._templates = dump, articles, options, templates
        self.characters = 0
        self.read = extraction.Read()

    def __iter__(self) -> Iterator[str]:
        size = self._dump.stat().st_size
        with progress.bar("reading the dump for its words", size, "B") as advance:
            for part in dumps.slices(self._dump, SLICE):
                for _, paragraphs in extraction.prose(self._dump, part, self._articles, self.read, self._templates):
                    for paragraph in paragraphs:
                        yield paragraph
                        self.characters += len(paragraph)
                        if self.characters >= self._options.max_characters:
                            return
                advance(part.end - part.begin)
        if not self.read.articles:
            raise UserError(f"{self._articles.dump.url} has no article with prose to train a vocabulary on")
