"""An experiment's results as rows, at any time, also half-way: for notebooks, `bertline results` and `bertline pull`.

import pandas
from bertline_pipelines import results
frame = pandas.DataFrame(results.rows("gs://my-bucket/bert", "wiki-en"))
"""

from collections.abc import Iterator
from typing import TypedDict

from bertline.report.collect import Collected, collect
from bertline.report.manifests import EvaluateManifest, PretrainManifest
from bertline.store import backends, references


class Row(TypedDict):
    """One fine-tuning that is done, or a milestone of which none is done yet. None means not known."""

    run: str
    """Model and seed of pre-training, as `6L-seed2`."""
    model: str
    pretrain_seed: int | None
    epoch: int
    step: int
    wall_clock_s: float | None
    """Training only, from the first step of the run to this milestone."""
    held_out_mlm_loss: float | None
    task: str | None
    seed: int | None
    """Seed of fine-tuning."""
    accuracy: float | None
    """On the whole dev set."""
    correct: int | None
    examples: int | None
    loss: float | None
    """On the dev set."""
    host_memory_peak_bytes: int | None
    """Of pre-training, like the following fields."""
    gpu_memory_peak_bytes: int | None
    parameters: int
    key: str | None
    """Key of the evaluation."""
    milestone: str
    """Key of the pre-training."""


def rows(store: str, experiment: str) -> list[Row]:
    """The results of the current version of an experiment.

    Args:
        store: A directory, `file://`, `gs://` or `s3://`.
        experiment: Its name.

    Raises:
        UserError: the store has no experiment of that name.
        DamagedError: a manifest can't be read.
        TransientError: the store can't be reached.
    """
    connected = backends.connect(store)
    return of(collect(connected, references.current(connected, experiment)))


def of(collected: Collected) -> list[Row]:
    """Rows from manifests that were read before."""
    return list(_rows(collected))


def _rows(collected: Collected) -> Iterator[Row]:
    for item in collected.of(PretrainManifest):
        if (pretrained := item.manifest) is None:
            continue
        node, last = item.node, pretrained.results.epochs[-1]
        row = Row(
            run=node.run,
            model=node.model,
            pretrain_seed=node.seed,
            epoch=node.epoch,
            step=pretrained.results.step,
            wall_clock_s=pretrained.measurements.wall_clock_s,
            held_out_mlm_loss=last.held_out.mlm_loss if last.held_out else None,
            task=None,
            seed=None,
            accuracy=None,
            correct=None,
            examples=None,
            loss=None,
            host_memory_peak_bytes=pretrained.measurements.host_memory_peak_bytes,
            gpu_memory_peak_bytes=pretrained.measurements.gpu_memory_peak_bytes,
            parameters=pretrained.results.parameters.total,
            key=None,
            milestone=node.key,
        )
        evaluations = [each for each in collected.of(EvaluateManifest, run=node.run, epoch=node.epoch) if each.manifest]
        for evaluation in evaluations:
            manifest = evaluation.manifest
            assert manifest is not None
            yield Row(
                {
                    **row,
                    "task": evaluation.node.glue_task,
                    "seed": evaluation.node.fine_tuning_seed,
                    "accuracy": manifest.results.accuracy,
                    "correct": manifest.results.correct,
                    "examples": manifest.results.examples,
                    "loss": manifest.results.loss,
                    "key": evaluation.node.key,
                }
            )
        if not evaluations:
            yield row
