"""The report stage: reads the manifests of an experiment and writes the report."""

import time
from pathlib import Path

from bertline.errors import UserError
from bertline.report import pages
from bertline.report.collect import Collected, collect
from bertline.report.config import ReportConfig
from bertline.report.manifests import EvaluateManifest
from bertline.store import realizations, references
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization
from bertline.store.references import Reference


def run(config: ReportConfig, store: ObjectStore) -> Realization:
    """The report as a realization. The experiment must be finished, because a realization never changes.

    Results: `accuracies`: [{task, run, epoch, seed, accuracy, key}], the basis of its conclusion. Measurements:
    `seconds`.

    Raises:
        UserError: the store has no such version of the experiment.
        DamagedError: something isn't done yet, or a manifest is damaged; names it.
    """

    def build(build: Build) -> Outcome:
        begun = time.monotonic()
        collected = collect(store, _reference(config, store))
        for gap in collected.gaps():
            realizations.require(store, gap.node.stage, gap.node.key)
        pages.write(collected, build.payload)
        return Outcome({"accuracies": _accuracies(collected)}, {"seconds": time.monotonic() - begun})

    return realizations.realize(store, config.derivation(), build)


def render(store: ObjectStore, reference: Reference, directory: Path) -> Path:
    """Write the report of what is done so far into a directory; return the HTML page.

    Missing results are gaps with a reason.

    Raises:
        DamagedError: a manifest is damaged; names it.
    """
    return pages.write(collect(store, reference), directory)


def _reference(config: ReportConfig, store: ObjectStore) -> Reference:
    for reference in references.read(store, config.name):
        if reference.digest == config.graph:
            return reference
    raise UserError(
        f"store {store.uri} has no version {config.graph} of experiment {config.name!r}; "
        "`bertline run EXPERIMENT.yaml` writes it before anything runs"
    )


def _accuracies(collected: Collected) -> list[dict[str, object]]:
    return [
        {
            "task": item.node.glue_task,
            "run": item.node.run,
            "epoch": item.node.epoch,
            "seed": item.node.fine_tuning_seed,
            "accuracy": item.manifest.results.accuracy,
            "key": item.node.key,
        }
        for item in collected.of(EvaluateManifest)
        if item.manifest
    ]
