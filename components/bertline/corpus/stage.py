"""From a dump to TFRecords: map over slices, reduce over buckets (`units`), then the manifest.

Other pods may have done some or all units (`parts`); the stage does the missing ones.
"""

import time
from dataclasses import asdict

from bertline.corpus import units, workers
from bertline.corpus.config import CorpusConfig
from bertline.corpus.passes import Counts
from bertline.errors import UserError
from bertline.process import progress
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, realize
from bertline.wikipedia import extraction


def run(config: CorpusConfig, store: ObjectStore) -> Realization:
    """The corpus: found, or built, using finished units of parts and earlier attempts.

    Raises:
        UserError: the dump is damaged, not a dump, or holds no article; the vocabulary doesn't fit, or can't spell the
            text.
    """
    return realize(store, config.derivation(), lambda build: _build(config, build))


TRIES = 3
"""Slices with damaged files are made at most so often."""


def _check(config: CorpusConfig, counts: Counts) -> None:
    if not counts.documents:
        raise UserError(
            f"{config.corpus.dump.url} has no article with prose: of {counts.pages:,} pages {counts.articles:,} are "
            "left without redirects, other namespaces and those below corpus.min_characters"
        )
    units.check_spelling(config.corpus, counts)


def _build(config: CorpusConfig, build: Build) -> Outcome:
    begun = time.perf_counter()
    corpus = config.corpus
    job = units.Job(config, build.store, build.work, build.check)
    with workers.pool() as pool:
        for left in range(TRIES - 1, -1, -1):
            slices = units.map_slices(job, pool)
            counts = sum((receipt.counts for receipt in slices), Counts())
            _check(config, counts)
            try:
                shards = units.reduce_buckets(job, pool, slices)
                break
            except units.DamagedSlicesError:
                if not left:
                    raise
    progress.say(f"{counts.unknown_share:.2%} of the pieces are [UNK]: {counts.unknown:,} of {counts.tokens:,}")
    if counts.dropped_templates:
        most = ", ".join(f"{name} {count:,}" for name, count in extraction.most_frequent(counts.dropped_templates, 5))
        progress.say(f"most frequent templates in sentences whose text isn't known: {most}")
    documents = sum(shard.documents for shard in shards)
    train = [shard for shard in shards if shard.file.path.startswith("train-")]
    held_out = [shard for shard in shards if not shard.file.path.startswith("train-")]
    if not any(shard.examples for shard in train):
        raise UserError(f"{corpus.dump.url}: all {counts.documents} documents are held out; lower corpus.held_out")
    for shard in shards:
        if shard.examples:  # empty shards aren't in the payload
            build.keep(shard.file)
    worker_s = sum(receipt.seconds for receipt in (*slices, *shards))
    return Outcome(
        asdict(counts)
        | {
            "dropped_templates": dict(extraction.most_frequent(counts.dropped_templates, 50)),
            "documents": documents,
            "repeated_documents": counts.documents - documents,
            "examples": sum(shard.examples for shard in train),
            "held_out_documents": sum(shard.documents for shard in held_out),
            "held_out_examples": sum(shard.examples for shard in held_out),
            "shards": {shard.file.path: shard.examples for shard in shards if shard.examples},
        },
        {
            "seconds": time.perf_counter() - begun,
            "workers": workers.count(),
            "units": len(job.seconds),
            "worker_s": worker_s,
            "words_per_worker_s": counts.words / worker_s,
        }
        | ({"downloads": {corpus.dump.url: state}} if (state := slices[0].dump_state) else {}),
    )
