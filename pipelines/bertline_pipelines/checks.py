"""Cheap looks at an experiment's inputs, so that a bad one is found before any work."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bertline import wordpiece
from bertline.evaluate import glue
from bertline.experiments import Experiment
from bertline.sources import Source
from bertline.wikipedia import dumps
from bertline_pipelines import graphs


def sources(experiment: Experiment) -> None:
    """Look at what is on this machine: both ends of the dump, the vocabulary, every line of the task files.

    Raises:
        UserError: the first thing that is wrong, and where.
    """
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        work = Path(directory)
        if _is_here(experiment.corpus.dump):
            dumps.check(experiment.corpus.dump.look(work), experiment.corpus.on_corrupt)
        vocabulary = experiment.vocabulary
        if vocabulary.file and _is_here(vocabulary.file):
            wordpiece.Tokenizer(wordpiece.read(vocabulary.file.look(work)), vocabulary.lower_case)
        for files in experiment.evaluate.tasks.values():
            for source in (files.train, files.dev):
                if _is_here(source):
                    glue.read(source.look(work))


def unpinned(experiment: Experiment) -> Iterator[Source]:
    """Sources that are elsewhere and have no checksum: their bytes may change under the same key."""
    for source in graphs.sources(experiment):
        if not _is_here(source) and not (source.sha256 or source.sha1):
            yield source


def _is_here(source: Source) -> bool:
    return source.is_local or source.is_sample
