"""Makes a vocabulary or a corpus as plain files, without an experiment.

The stages work in a temporary store beside the result. So a killed build can continue, and the files are the same as
those of an experiment with the same settings. At the end the files get their names (by links, if the disk has them),
then the manifest is written, and the store is deleted.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertline.corpus import stage as corpus_stage
from bertline.corpus.config import CorpusConfig
from bertline.errors import UserError
from bertline.experiment.corpora import Articles, Corpus
from bertline.experiment.specs import Vocabulary
from bertline.sources.files import Source
from bertline.store import backends, disks
from bertline.store.objects import ObjectStore
from bertline.store.realizations import DERIVATION, MANIFEST, Manifest, Realization
from bertline.vocabulary import stage as vocabulary_stage
from bertline.vocabulary.config import VocabularyConfig

UNFINISHED = "unfinished"
"""Name of the store's folder until the result is complete."""


@dataclass(frozen=True)
class Result:
    """A finished result."""

    manifest: Manifest
    is_new: bool
    """False if it already existed."""


def make_corpus(corpus: Corpus, vocabulary: Vocabulary, folder: Path) -> Result:
    """TFRecords in a folder: found, or built, continuing an earlier attempt.

    Args:
        corpus: The corpus' settings.
        vocabulary: A vocabulary from a file.
        folder: Folder for `train-….tfrecord`, `held-out-….tfrecord`, `vocab.txt`, `derivation.json` (the request) and
            `manifest.json`.

    Raises:
        UserError: the input is wrong, or the folder has other content.
    """
    corpus = corpus.with_sources(Source.pinned)
    file = vocabulary.file.pinned() if vocabulary.file else None
    pieces = VocabularyConfig(vocabulary=vocabulary.model_copy(update={"file": file}))
    config = CorpusConfig(corpus=corpus, lower_case=vocabulary.lower_case, vocabulary=pieces.derivation().key)
    wanted = config.derivation()
    store = folder / UNFINISHED
    if found := _found(folder / MANIFEST, wanted.key):
        return Result(found, is_new=False)
    if not store.exists() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(_occupied(folder, wanted.document()))

    def build(connected: ObjectStore) -> Manifest:
        vocabulary_files = vocabulary_stage.run(pieces, connected)
        made = corpus_stage.run(config, connected)
        _link(vocabulary_files, {name: folder / name for name in vocabulary_files.paths()})
        _link(made, {name: folder / name for name in (*made.paths(), DERIVATION, MANIFEST)})
        return made.manifest

    return Result(_built(store, build), is_new=True)


def make_vocabulary(articles: Articles, vocabulary: Vocabulary, file: Path) -> Result:
    """A vocabulary's file with its manifest: found, or trained.

    Args:
        articles: The articles to train on.
        vocabulary: The training's settings.
        file: The vocabulary, one piece a line; `FILE.manifest.json` describes its input.

    Raises:
        UserError: the input is wrong, or another file exists there.
    """
    config = VocabularyConfig(vocabulary=vocabulary, articles=articles.with_sources(Source.pinned))
    manifest = file.with_name(f"{file.name}.{MANIFEST}")
    if found := _found(manifest, config.derivation().key):
        return Result(found, is_new=False)
    store = file.with_name(f"{file.name}.{UNFINISHED}")
    if file.exists() and not store.exists():
        raise UserError(f"{file} already exists with other settings; give another name, or delete it")

    def build(connected: ObjectStore) -> Manifest:
        made = vocabulary_stage.run(config, connected)
        _link(made, {vocabulary_stage.PAYLOAD: file, MANIFEST: manifest})
        return made.manifest

    return Result(_built(store, build), is_new=True)


def _found(path: Path, key: str) -> Manifest | None:
    with contextlib.suppress(FileNotFoundError, ValueError), disks.explained("read", path):
        manifest = Manifest.model_validate_json(path.read_bytes())
        return manifest if manifest.key == key else None
    return None


def _built(store: Path, build: Callable[[ObjectStore], Manifest]) -> Manifest:
    with disks.output(store.parent):
        store.mkdir(parents=True, exist_ok=True)
        manifest = build(backends.connect(str(store)))
        shutil.rmtree(store, ignore_errors=True)
    return manifest


def _link(made: Realization, places: Mapping[str, Path]) -> None:
    """Link or copy files of a realization to their final places, in this order."""
    for name, place in places.items():
        source = made.store.local_path(f"{made.prefix}{name}")
        assert source is not None
        fresh = place.with_name(f".{place.name}.new")
        fresh.unlink(missing_ok=True)
        try:
            os.link(source, fresh)
        except OSError:  # a disk without links
            shutil.copyfile(source, fresh)
        fresh.replace(place)


def _occupied(folder: Path, wanted: Mapping[str, Any]) -> str:
    """Why a folder can't be used."""
    try:
        there = json.loads((folder / DERIVATION).read_bytes())
        differences = list(_differences(there["resolved"], wanted["resolved"]))
    except (OSError, ValueError, KeyError):
        return f"{folder} isn't empty; give a new folder, or delete it"
    if there["inputs"] != wanted["inputs"]:
        differences.append("another vocabulary")
    if there["version"] != wanted["version"]:
        differences.append("made by another version of bertline")
    return f"{folder} holds another corpus: {'; '.join(differences)}. Give another folder, or delete it"


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*there, *wanted)):
        before, now = there.get(name), wanted.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now)
        elif before != now:
            yield f"{name} is {before} there and {now} here"
