"""Quick checks of an experiment's inputs, before any work."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bertline.configuration.mistakes import Location
from bertline.corpus import passes, units
from bertline.errors import UserError
from bertline.evaluate import glue
from bertline.experiment.corpora import Articles, Corpus
from bertline.experiment.specs import Evaluate, Experiment, Vocabulary
from bertline.sources import releases
from bertline.sources.files import Source
from bertline.text import wordpiece
from bertline.wikipedia import dumps, extraction, template_tables


def inputs(
    corpus: Articles | None, vocabulary: Vocabulary | None, evaluate: Evaluate | None
) -> Iterator[tuple[Location, str]]:
    """Check local inputs: both ends of the dump, the vocabulary, every line of the task files.

    It also checks the corpus stage's options, which its last pass would refuse only after hours.

    Args:
        corpus: None if this section of the experiment has other mistakes; the same for the others.
        vocabulary: Where the pieces come from.
        evaluate: The task files.

    Yields:
        (location in the experiment, mistake).
    """
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        work, wrong = Path(directory), set()
        for location, look in _looks(corpus, vocabulary, evaluate, work):
            if said := _wrong(look):
                wrong.add(location[0])
                yield location, said
        if not isinstance(corpus, Corpus) or vocabulary is None or wrong & {"corpus", "vocabulary"}:
            return
        if said := _wrong(functools.partial(_compare, corpus, vocabulary, work)):
            yield ("vocabulary", "file"), said


def _wrong(look: Callable[[], object]) -> str:
    try:
        look()
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"can't read {error.filename or 'it'}: {error.strerror}"
    return ""


def _looks(
    corpus: Articles | None, vocabulary: Vocabulary | None, evaluate: Evaluate | None, work: Path
) -> Iterator[tuple[Location, Callable[[], object]]]:
    if corpus:
        if isinstance(corpus, Corpus):
            yield ("corpus",), lambda: passes.instance_options(corpus)
        if (table := corpus.templates) and _is_here(table):
            yield ("corpus", "templates"), lambda: template_tables.read(table.look(work))
        if _is_here(corpus.dump):
            yield ("corpus", "dump"), lambda: _look_at_dump(corpus, work)
    if vocabulary and (file := vocabulary.file) and _is_here(file):
        yield (
            ("vocabulary", "file"),
            lambda: wordpiece.Tokenizer(wordpiece.read(file.look(work)), vocabulary.lower_case),
        )
    for task, files in evaluate.tasks.items() if evaluate else ():
        for name, source in (("train", files.train), ("dev", files.dev)):
            if _is_here(source):
                yield ("evaluate", "tasks", task, name), functools.partial(_read_task, source, work)


_LOOK = 4 << 20
"""Bytes of a dump in which to look for an article; this takes some seconds if there is none."""


def _look_at_dump(corpus: Articles, work: Path) -> None:
    """Check both ends, and that the beginning or the middle has an article, unlike stub dumps and talk pages."""
    dump = corpus.dump.look(work)
    dumps.check(dump, corpus.on_corrupt)
    templates = corpus.templates.look(work) if corpus.templates and _is_here(corpus.templates) else None
    size, read = dump.stat().st_size, extraction.Read()
    for begin in {0, max(0, size // 2 - _LOOK)}:
        part = dumps.Slice(0, begin, min(size, begin + _LOOK))
        if any(extraction.prose(dump, part, corpus, read, templates)):
            return
    raise UserError(
        f"{dump} has no article with prose among the first {read.pages:,} pages, which are redirects, of other "
        "namespaces, without text or shorter than corpus.min_characters. Expected …-pages-articles.xml.bz2; a stub "
        "dump has no text"
    )


_SAMPLE = 10_000
"""Pieces at the dump's beginning and in its middle by which a vocabulary is judged: a second."""


def _compare(corpus: Corpus, vocabulary: Vocabulary, work: Path) -> None:
    """Check with a sample that the vocabulary can spell the dump."""
    if not (vocabulary.file and _is_here(vocabulary.file) and _is_here(corpus.dump)):
        return
    tokenizer = wordpiece.Tokenizer(wordpiece.read(vocabulary.file.look(work)), vocabulary.lower_case)
    unknown, counts = tokenizer.vocabulary.unk_id, passes.Counts()
    for texts in _samples(corpus, work):
        pieces = 0
        for paragraph in texts:
            ids = tokenizer.encode(paragraph)
            pieces += len(ids)
            counts.tokens += len(ids)
            counts.unknown += ids.count(unknown)
            if pieces >= _SAMPLE:
                break
    units.check_spelling(corpus, counts)


def _samples(corpus: Articles, work: Path) -> Iterator[Iterator[str]]:
    """Paragraphs from the dump's beginning, and from its middle."""
    dump = corpus.dump.look(work)
    templates = corpus.templates.look(work) if corpus.templates and _is_here(corpus.templates) else None
    size = dump.stat().st_size
    for begin in sorted({0, max(0, size // 2 - _LOOK)}):
        part = dumps.Slice(0, begin, min(size, begin + _LOOK))
        read = extraction.prose(dump, part, corpus, extraction.Read(), templates)
        yield (paragraph for _, paragraphs in read for paragraph in paragraphs)


def _read_task(source: Source, work: Path) -> None:
    glue.read(source.look(work))


def warnings(experiment: Experiment) -> Iterator[str]:
    """Warnings about settings that are valid but probably not intended."""
    for source in experiment.sources():
        if not _is_here(source) and not (source.sha256 or source.sha1) and not releases.has_more(source):
            yield f"{source.url} has no checksum: if its bytes change, results won't be updated; add sha256 (or sha1)"
    pretrain, corpus = experiment.pretrain, experiment.corpus
    if pretrain.epochs_per_round > pretrain.epochs and "epochs_per_round" in pretrain.model_fields_set:
        yield (
            f"pretrain.epochs_per_round {pretrain.epochs_per_round} is above pretrain.epochs {pretrain.epochs}: each "
            "model is evaluated once, at its end"
        )
    wanted = round(corpus.masking_rate * corpus.sequence_length)
    if wanted > corpus.max_predictions:
        yield (
            f"corpus.masking_rate {corpus.masking_rate:g} of {corpus.sequence_length} tokens is {wanted}, and "
            f"corpus.max_predictions allows {corpus.max_predictions}: fewer tokens of long examples are masked"
        )
    if not corpus.next_sentence and "short_sequence_rate" in corpus.model_fields_set:
        yield "corpus.short_sequence_rate has no effect where corpus.next_sentence is false: examples are packed full"
    for task, files in experiment.evaluate.tasks.items():
        if files.train.pinned().identity == files.dev.pinned().identity:
            yield f"evaluate.tasks.{task}: train and dev are one file: the accuracy would be on training data"


def _is_here(source: Source) -> bool:
    return source.is_local or source.is_sample
