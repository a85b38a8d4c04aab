"""A part of a corpus, so that several pods can build one: a share of the slices, or of the buckets.

A part writes its units to the corpus' prefix; the corpus task uses them and does the missing ones. The part's own
realization has no payload and only says that it needn't run again. So a part that failed, or whose work was lost, costs
time but doesn't change the bytes. Parts that reduce start when all parts that map are done.
"""

import time

from bertline.corpus import units, workers
from bertline.corpus.config import CorpusConfig, CorpusPartConfig
from bertline.process import progress
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, find, realize


def run(config: CorpusPartConfig, store: ObjectStore) -> Realization:
    """The part: found, or its missing units are done.

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
                    progress.say("slices are damaged: this part leaves them, and its shards, to the corpus task")
            else:  # otherwise every part that reduces would do the same slices again
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
