"""From a dump to TFRecords: map over slices, reduce over buckets, each unit resumable by itself.

    rolling/map/<slice>.safetensors + .json      a slice's buckets, then the receipt that makes it count
    <shard>, rolling/reduce/<bucket>.json        a bucket's shard, then its receipt

The slices depend on the dump's size alone and the shards not even on them, so any number of workers, and any number of
attempts, makes the same bytes.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from bertline import progress, wordpiece
from bertline.corpus import passes
from bertline.corpus.buckets import Spread
from bertline.corpus.config import CorpusConfig
from bertline.corpus.passes import Counts, MapUnit, ReduceUnit, Shard
from bertline.errors import TransientError, UserError
from bertline.store import staging
from bertline.store.objects import ObjectStore
from bertline.store.realizations import ROLLING, Build, Outcome, Realization, realize, require
from bertline.store.staging import File
from bertline.wikipedia import dumps

Unit = TypeVar("Unit")
Result = TypeVar("Result")

WORKERS = "BERTLINE_WORKERS"

# A slice is what a kill loses: at most 16 MiB of bz2, about 64 MB of XML, under a minute. Small dumps get small slices,
# so that all cores have work: blocks are up to 900 kB of text, 256 KiB of bz2.
LARGEST_SLICE = 16 << 20
SMALLEST_SLICE = 256 << 10
SLICES = 64


def run(config: CorpusConfig, store: ObjectStore) -> Realization:
    """The corpus: found, or built from where earlier attempts left off.

    Raises:
        UserError: the dump is damaged, not a dump, or holds no article; the vocabulary doesn't fit.
    """
    return realize(store, config.derivation(), lambda build: _build(config, build))


def workers() -> int:
    """Processes to use: `BERTLINE_WORKERS`, or one a core."""
    return int(os.environ.get(WORKERS, 0)) or len(os.sched_getaffinity(0))


def _build(config: CorpusConfig, build: Build) -> Outcome:
    begun = time.perf_counter()
    corpus = config.corpus
    dump = corpus.dump.fetch(build.work)
    dumps.check(dump, corpus.on_corrupt)
    (vocabulary,) = require(build.store, "vocabulary", config.vocabulary).stage(["vocab.txt"], build.work)
    wordpiece.Tokenizer(wordpiece.read(vocabulary), config.lower_case)  # refuses a vocabulary that doesn't fit

    with _pool() as pool:
        counts, slices = _map(config, build, pool, dump, vocabulary)
        if not counts.documents:
            raise UserError(
                f"{corpus.dump.url} has no article with prose: of {counts.pages:,} pages {counts.articles:,} are left "
                "without redirects, other namespaces and those below corpus.min_characters"
            )
        made = _reduce(config, build, pool, slices, vocabulary)
    seconds = time.perf_counter() - begun
    train = {shard.file.path: shard for shard in made if shard.file.path.startswith("train-")}
    held_out = [shard for shard in made if shard.file.path not in train]
    if not any(shard.examples for shard in train.values()):
        raise UserError(f"{corpus.dump.url}: all {counts.documents} documents are held out; lower corpus.held_out")
    return Outcome(
        asdict(counts)
        | {
            "examples": sum(shard.examples for shard in train.values()),
            "held_out_documents": sum(shard.documents for shard in held_out),
            "held_out_examples": sum(shard.examples for shard in held_out),
            "shards": {shard.file.path: shard.examples for shard in made if shard.examples},
        },
        {"seconds": seconds, "workers": workers(), "words_per_s": counts.words / seconds},
    )


def _map(
    config: CorpusConfig, build: Build, pool: ProcessPoolExecutor, dump: Path, vocabulary: Path
) -> tuple[Counts, tuple[Path, ...]]:
    """All slices: their statistics, and their buckets on local disk."""
    size = dump.stat().st_size
    parts = dumps.slices(dump, max(SMALLEST_SLICE, min(LARGEST_SLICE, size // SLICES)))
    receipts: dict[int, dict[str, Any] | None] = {
        part.index: build.rolling(f"map/{part.index:05d}.json") for part in parts
    }
    units = [
        MapUnit(dump, part, config.corpus, vocabulary, config.lower_case, build.work / f"{part.index:05d}.safetensors")
        for part in parts
        if receipts[part.index] is None
    ]
    done = size - sum(unit.part.end - unit.part.begin for unit in units)
    with progress.bar("reading the dump", size, "B", done) as advance:
        for unit, counts in _finished(pool, passes.map_slice, units):
            name = f"{unit.part.index:05d}"
            file = staging.put(build.store, build.prefix, unit.output, f"{ROLLING}map/{name}.safetensors")
            unit.output.unlink()
            receipt: dict[str, Any] = {"file": file.model_dump(), "counts": asdict(counts)}
            build.roll(f"map/{name}.json", receipt)
            receipts[unit.part.index] = receipt
            advance(unit.part.end - unit.part.begin)
    found = [receipt for receipt in receipts.values() if receipt is not None]
    files = [File.model_validate(receipt["file"]) for receipt in found]
    local = staging.fetch(build.store, build.prefix, files, build.work)
    return sum((Counts(**receipt["counts"]) for receipt in found), Counts()), tuple(local)


def _reduce(
    config: CorpusConfig, build: Build, pool: ProcessPoolExecutor, slices: tuple[Path, ...], vocabulary: Path
) -> list[Shard]:
    """All buckets as shards, uploaded. Empty ones are left out of the payload."""
    count = Spread(config.corpus.shards, config.corpus.held_out).count
    receipts: dict[int, dict[str, Any] | None] = {
        bucket: build.rolling(f"reduce/{bucket:05d}.json") for bucket in range(count)
    }
    units = [
        ReduceUnit(bucket, slices, config.corpus, vocabulary, build.work / f"bucket-{bucket:05d}")
        for bucket in range(count)
        if receipts[bucket] is None
    ]
    with progress.bar("making examples", count, "shards", count - len(units)) as advance:
        for unit, shard in _finished(pool, passes.reduce_bucket, units):
            if shard.examples:
                build.store.upload(unit.output, f"{build.prefix}{shard.file.path}")
            unit.output.unlink()
            receipt: dict[str, Any] = {
                "file": shard.file.model_dump(),
                "examples": shard.examples,
                "documents": shard.documents,
            }
            build.roll(f"reduce/{unit.bucket:05d}.json", receipt)
            receipts[unit.bucket] = receipt
            advance(1)
    made = []
    for receipt in filter(None, receipts.values()):
        made.append(Shard(File.model_validate(receipt["file"]), receipt["examples"], receipt["documents"]))
        if receipt["examples"]:
            build.keep(made[-1].file)
    return made


def _finished(
    pool: ProcessPoolExecutor, function: Callable[[Unit], Result], units: Sequence[Unit]
) -> Iterator[tuple[Unit, Result]]:
    """Results as they come. Only a few units are handed out ahead, so that a failure ends the pass soon."""
    left = iter(units)
    running: dict[Future[Result], Unit] = {}
    try:
        while True:
            while len(running) < 2 * workers() and (unit := next(left, None)) is not None:
                running[pool.submit(function, unit)] = unit
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process was killed, probably for lack of memory: use fewer workers (BERTLINE_WORKERS) or more "
            "corpus.shards"
        ) from error


@contextmanager
def _pool() -> Iterator[ProcessPoolExecutor]:
    # Not fork: this process has threads (the lease, uploads), and a fork would copy their locks as they are.
    pool = ProcessPoolExecutor(workers(), mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
