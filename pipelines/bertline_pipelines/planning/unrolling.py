"""From an experiment to its graph, with the configuration and key of each result.

The only files that are read are local sources, for their checksums. The loop is unrolled:

    vocabulary → corpus → pretrain(10) → pretrain(20) → …   for each model and seed
                              ↓              ↓
                          evaluate       evaluate           for each task and seed

Add the edge of a new stage here: a node with the tasks that it needs.
"""

from collections.abc import Iterator
from typing import Any

from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.corpora import Articles
from bertline.experiment.graphs import Graph, Node
from bertline.experiment.specs import Evaluate, Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.sources.files import Source
from bertline.stage.configs import Label
from bertline.vocabulary.config import VocabularyConfig


def build(experiment: Experiment) -> Graph:
    """Unroll the loop.

    Raises:
        UserError: a source on this machine isn't there.
    """
    experiment = experiment.with_sources(Source.pinned)  # so that keys follow the bytes of files on this machine
    return Graph.of(experiment, _nodes(experiment))


def portable(graph: Graph) -> Graph:
    """The same graph with the same keys, without this machine's paths: files have name and checksum only.

    This is for pods: `bertline submit` puts the files into the store, where `Source.fetch` finds them by their
    checksum.
    """
    return build(graph.experiment.with_sources(Source.by_name))


def _nodes(experiment: Experiment) -> Iterator[Node]:
    trained = experiment.vocabulary.train is not None
    articles = (
        Articles(**{name: getattr(experiment.corpus, name) for name in Articles.model_fields}) if trained else None
    )
    vocabulary = Node.of(VocabularyConfig(vocabulary=experiment.vocabulary, articles=articles))
    yield vocabulary
    config = CorpusConfig(
        corpus=experiment.corpus, lower_case=experiment.vocabulary.lower_case, vocabulary=vocabulary.key
    )
    corpus = Node.of(config, [vocabulary.task])
    yield corpus
    for model in experiment.models:
        for seed in experiment.pretrain.seeds:
            yield from _run(experiment, model, seed, vocabulary, corpus)


def _run(experiment: Experiment, model: str, seed: int, vocabulary: Node, corpus: Node) -> Iterator[Node]:
    """All rounds of one model with one seed, each with its evaluations."""
    section = experiment.pretrain
    run = experiment.run_name(model, seed)
    ends = [epoch * section.steps_per_epoch for epoch in section.round_ends]
    before, begin = corpus, 0
    for end in section.round_ends:
        config = PretrainConfig(
            model=experiment.models[model],
            optimizer=section.optimizer,
            learning_rate=section.learning_rate.of_round(
                begin * section.steps_per_epoch, end * section.steps_per_epoch, ends
            ),
            next_sentence=section.next_sentence,
            precision=section.precision,
            xla=section.xla,
            skip_bad_steps=section.skip_bad_steps,
            seed=seed,
            steps_per_epoch=section.steps_per_epoch,
            begin_epoch=begin,
            end_epoch=end,
            held_out_examples=section.held_out_examples,
            corpus=corpus.key,
            vocabulary=vocabulary.key,
            milestone=before.key if begin else None,
            checkpoints=section.checkpoints,
            label=Label(experiment=experiment.name, run=run, model=model, epoch=end),
        )
        place: dict[str, Any] = {"run": run, "model": model, "seed": seed, "epoch": end}
        milestone = Node.of(config, [before.task], steps=config.end_step - config.begin_step, **place)
        yield milestone
        yield from _evaluations(experiment, config.label, vocabulary, milestone, place)
        before, begin = milestone, end


def _evaluations(
    experiment: Experiment, label: Label, vocabulary: Node, milestone: Node, place: dict[str, Any]
) -> Iterator[Node]:
    section = experiment.evaluate
    shared = {name: getattr(section, name) for name in Evaluate.model_fields if name not in ("tasks", "seeds")}
    for task, files in section.tasks.items():
        for seed in section.seeds:
            config = EvaluateConfig(
                task=task,
                files=files,
                model=experiment.models[label.model],
                seed=seed,
                lower_case=experiment.vocabulary.lower_case,
                milestone=milestone.key,
                vocabulary=vocabulary.key,
                label=label,
                **shared,
            )
            yield Node.of(config, [milestone.task], glue_task=task, fine_tuning_seed=seed, **place)
