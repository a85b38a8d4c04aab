"""From a dump to TFRecords: map over slices, reduce over buckets, each unit resumable by itself.

    rolling/map/<slice>.safetensors + .json      a slice's buckets, then the receipt that makes it count
    <shard>, rolling/reduce/<bucket>.json        a bucket's shard, then its receipt

The slices depend on the dump's size alone and the shards not even on them, so any number of workers, and any number of
attempts, makes the same bytes.
"""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from bertline import progress, wordpiece
from bertline.corpus import passes, workers
from bertline.corpus.buckets import Spread
from bertline.corpus.config import CorpusConfig
from bertline.corpus.passes import Counts, MapUnit, ReduceUnit, Shard
from bertline.errors import PreemptedError, UserError
from bertline.store import staging
from bertline.store.objects import ObjectStore
from bertline.store.realizations import ROLLING, Build, Outcome, Realization, realize, require
from bertline.store.staging import File
from bertline.wikipedia import dumps

Receipt = dict[str, Any]

MAP = f"{ROLLING}map/"
THREADS = 8  # enough to hide a bucket's latency

# A slice is what a kill loses: at most 16 MiB of bz2, about 64 MB of XML, under a minute. Small dumps get small slices,
# so that all cores have work: blocks are up to 900 kB of text, 256 KiB of bz2.
LARGEST_SLICE = 16 << 20
SMALLEST_SLICE = 256 << 10
SLICES = 64


def run(config: CorpusConfig, store: ObjectStore) -> Realization:
    """The corpus: found, or built from where earlier attempts left off.

    Raises:
        UserError: the dump is damaged, not a dump, or holds no article; the vocabulary doesn't fit.
        PreemptedError: SIGTERM came. What units had finished is kept.
    """
    with _preemptible():
        return realize(store, config.derivation(), lambda build: _build(config, build))


@contextmanager
def _preemptible() -> Iterator[None]:
    """SIGTERM ends the attempt at once, but properly: workers killed, lease released for the next attempt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can have handlers
        return

    def stop(*_: object) -> NoReturn:
        raise PreemptedError("told to stop by SIGTERM; what is finished is kept, run it again to go on")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _build(config: CorpusConfig, build: Build) -> Outcome:
    begun = time.perf_counter()
    corpus = config.corpus
    dump = corpus.dump.fetch(build.work)
    dumps.check(dump, corpus.on_corrupt)
    (vocabulary,) = require(build.store, "vocabulary", config.vocabulary).stage(["vocab.txt"], build.work)
    wordpiece.Tokenizer(wordpiece.read(vocabulary), config.lower_case)  # refuses a vocabulary that doesn't fit

    with workers.pool() as pool:
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
        {"seconds": seconds, "workers": workers.count(), "words_per_s": counts.words / seconds},
    )


def _map(
    config: CorpusConfig, build: Build, pool: ProcessPoolExecutor, dump: Path, vocabulary: Path
) -> tuple[Counts, tuple[Path, ...]]:
    """All slices: their statistics, and their buckets on local disk."""
    size = dump.stat().st_size
    parts = dumps.slices(dump, max(SMALLEST_SLICE, min(LARGEST_SLICE, size // SLICES)))
    # A receipt of another program's slice with this number is of no use: programs may slice differently.
    receipts = {
        index: receipt
        for index, receipt in _receipts(build, "map").items()
        if index < len(parts) and receipt["slice"] == [parts[index].begin, parts[index].end]
    }
    units = [
        MapUnit(
            dump, part, config.corpus, vocabulary, config.lower_case, build.work / f"{MAP}{part.index:05d}.safetensors"
        )
        for part in parts
        if part.index not in receipts
    ]
    (build.work / MAP).mkdir(parents=True, exist_ok=True)
    done = size - sum(unit.part.end - unit.part.begin for unit in units)
    with progress.bar("reading the dump", size, "B", done) as advance:
        for unit, counts in workers.finished(pool, passes.map_slice, units):
            file = staging.put(build.store, build.prefix, unit.output, f"{MAP}{unit.output.name}")
            receipt: Receipt = {
                "slice": [unit.part.begin, unit.part.end],
                "file": file.model_dump(),
                "counts": asdict(counts),
            }
            build.roll(f"map/{unit.part.index:05d}.json", receipt)
            receipts[unit.part.index] = receipt
            if build.store.local_path(f"{build.prefix}{file.path}") is not None:
                unit.output.unlink()  # the store's copy serves as well
            advance(unit.part.end - unit.part.begin)
    files = [File.model_validate(receipt["file"]) for receipt in receipts.values()]
    local = [build.work / file.path for file in files]
    elsewhere = [file for file, path in zip(files, local, strict=True) if not path.exists()]
    local = [path for path in local if path.exists()]
    local += staging.fetch(build.store, build.prefix, elsewhere, build.work)
    return sum((Counts(**receipt["counts"]) for receipt in receipts.values()), Counts()), tuple(local)


def _reduce(
    config: CorpusConfig, build: Build, pool: ProcessPoolExecutor, slices: tuple[Path, ...], vocabulary: Path
) -> list[Shard]:
    """All buckets as shards, uploaded. Empty ones are left out of the payload."""
    count = Spread(config.corpus.shards, config.corpus.held_out).count
    receipts = _receipts(build, "reduce")
    units = [
        ReduceUnit(bucket, slices, config.corpus, vocabulary, build.work / f"bucket-{bucket:05d}")
        for bucket in range(count)
        if bucket not in receipts
    ]
    with progress.bar("making examples", count, "shards", count - len(units)) as advance:
        for unit, shard in workers.finished(pool, passes.reduce_bucket, units):
            if shard.examples:
                build.store.upload(unit.output, f"{build.prefix}{shard.file.path}")
            unit.output.unlink()
            receipt: Receipt = {
                "file": shard.file.model_dump(),
                "examples": shard.examples,
                "documents": shard.documents,
            }
            build.roll(f"reduce/{unit.bucket:05d}.json", receipt)
            receipts[unit.bucket] = receipt
            advance(1)
    made = []
    for _, receipt in sorted(receipts.items()):
        made.append(Shard(File.model_validate(receipt["file"]), receipt["examples"], receipt["documents"]))
        if receipt["examples"]:
            build.keep(made[-1].file)
    return made


def _receipts(build: Build, folder: str) -> dict[int, Receipt]:
    """What earlier attempts finished. A fresh build asks once, not once a unit."""
    found = build.store.list(f"{build.prefix}{ROLLING}{folder}/")
    numbers = [int(Path(each.name).stem) for each in found if each.name.endswith(".json")]
    with ThreadPoolExecutor(THREADS) as threads:
        documents = threads.map(lambda number: build.rolling(f"{folder}/{number:05d}.json"), numbers)
        return {number: document for number, document in zip(numbers, documents, strict=True) if document is not None}
