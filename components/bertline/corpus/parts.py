"""A part of a corpus, so that several pods can build one: a share of the slices, or of the buckets.

A part works in the corpus' place, where the corpus task finds what it did and does the rest. Its own realization has no
payload and says only that this part needn't run again. So a part that failed, or whose work is lost, costs time and
never changes a byte. Parts that reduce start when all that map are done.
"""

import time

from bertline.corpus import units, workers
from bertline.corpus.config import CorpusConfig, CorpusPartConfig
from bertline.process import progress
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, find, realize


def run(config: CorpusPartConfig, store: ObjectStore) -> Realization:
    """The part: found, or its units done from where earlier attempts left off.

    Raises:
        UserError: the dump is damaged or not a dump; the vocabulary doesn't fit.
    """
    return realize(store, config.derivation(), lambda build: _build(config, build))


def _build(config: CorpusPartConfig, build: Build) -> Outcome:
    begun = time.perf_counter()
    job = units.Job(config.corpus, build.store, build.work, build.check, config.index, config.count)
    if find(build.store, CorpusConfig.STAGE, config.corpus.derivation().key):
        progress.say("the corpus is complete: nothing is left for this part")
    else:
        with workers.pool() as pool:
            if config.work == "map":
                units.map_slices(job, pool)
            elif slices := units.mapped(job):
                try:
                    units.reduce_buckets(job, pool, slices)
                except units.DamagedSlicesError:
                    progress.say("damaged slices are left, with this part's shards, to the corpus task")
            else:  # every part that reduces would do the same slices again: better one task does
                progress.say("slices are missing: this part leaves them, and its shards, to the corpus task")
    return Outcome(
        {},
        {
            "seconds": time.perf_counter() - begun,
            "workers": workers.count(),
            "units": len(job.seconds),
            "worker_s": sum(job.seconds),
        },
    )
