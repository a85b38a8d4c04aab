"""Cheap looks at an experiment's inputs, so that a bad one is found before any work."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bertline import wordpiece
from bertline.corpus import passes
from bertline.errors import UserError
from bertline.evaluate import glue
from bertline.experiments import Corpus, Experiment
from bertline.sources import Source
from bertline.wikipedia import dumps, extraction
from bertline_pipelines import graphs


def inputs(experiment: Experiment) -> None:
    """Look at what is on this machine: both ends of the dump, the vocabulary, every line of the task files.

    And let the corpus stage, whose last pass would refuse them after hours, look at its options.

    Raises:
        UserError: all that is wrong, and where.
    """
    corpus, vocabulary = experiment.corpus, experiment.vocabulary
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        work = Path(directory)
        looks: list[Callable[[], object]] = [lambda: passes.instance_options(corpus)]
        if _is_here(corpus.dump):
            looks.append(lambda: _look_at_dump(corpus, work))
        if (file := vocabulary.file) and _is_here(file):
            looks.append(lambda: wordpiece.Tokenizer(wordpiece.read(file.look(work)), vocabulary.lower_case))
        for files in experiment.evaluate.tasks.values():
            looks += [
                functools.partial(_read_task, source, work) for source in (files.train, files.dev) if _is_here(source)
            ]
        problems = []
        for look in looks:
            try:
                look()
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))


_LOOK = 4 << 20
"""Bytes of a dump in which an article is looked for: some seconds, if there is none."""


def _look_at_dump(corpus: Corpus, work: Path) -> None:
    """Both ends, and that an article is at its beginning or in its middle: stubs and talk pages have none."""
    dump = corpus.dump.look(work)
    dumps.check(dump, corpus.on_corrupt)
    size, read = dump.stat().st_size, extraction.Read()
    for begin in {0, max(0, size // 2 - _LOOK)}:
        part = dumps.Slice(0, begin, min(size, begin + _LOOK))
        if any(extraction.prose(dump, part, corpus, read)):
            return
    raise UserError(
        f"{dump} has no article with prose among the {read.pages:,} pages looked at, which are redirects, of other "
        "namespaces, without text or shorter than corpus.min_characters. Expected …-pages-articles.xml.bz2; a stub "
        "dump has no text"
    )


def _read_task(source: Source, work: Path) -> None:
    glue.read(source.look(work))


def unpinned(experiment: Experiment) -> Iterator[Source]:
    """Sources that are elsewhere and have no checksum: their bytes may change under the same key."""
    for source in graphs.sources(experiment):
        if not _is_here(source) and not (source.sha256 or source.sha1):
            yield source


def _is_here(source: Source) -> bool:
    return source.is_local or source.is_sample
