"""From an experiment to the graph of everything it leads to: each realization's configuration, hence key.

Nothing is built or read here, except that sources on this machine are checksummed. The loop is unrolled:

    vocabulary → corpus → pretrain(10) → pretrain(20) → …   for each model and seed
                              ↓              ↓
                          evaluate       evaluate           for each task and seed
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiments import Articles, Evaluate, Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.sources import Source
from bertline.stages import Label
from bertline.store.derivations import Key
from bertline.vocabulary.config import VocabularyConfig


@dataclass(frozen=True)
class Round:
    """One turn of the loop: a milestone and its evaluations."""

    pretrain: PretrainConfig
    evaluations: tuple[EvaluateConfig, ...]


@dataclass(frozen=True)
class Run:
    """All rounds of one model with one seed."""

    name: str
    model: str
    seed: int
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class Graph:
    """Everything an experiment leads to."""

    experiment: Experiment
    vocabulary: VocabularyConfig
    corpus: CorpusConfig
    runs: tuple[Run, ...]

    def document(self) -> dict[str, Any]:
        """As the store's reference keeps it: the experiment, and the keys by what they are for.

        The version's digest counts `experiment`, which leaves out what has its default, and not `resolved`, which
        readers take: so an option that is added later makes no new version of an old experiment.
        """
        experiment = _with_sources(self.experiment, _by_name)
        return {
            "experiment": experiment.model_dump(mode="json", exclude_defaults=True),
            "resolved": experiment.model_dump(mode="json"),
            "vocabulary": _key(self.vocabulary),
            "corpus": _key(self.corpus),
            "runs": [
                {
                    "name": run.name,
                    "model": run.model,
                    "seed": run.seed,
                    "rounds": [
                        {
                            "epoch": turn.pretrain.end_epoch,
                            "pretrain": _key(turn.pretrain),
                            "evaluations": [
                                {"task": evaluation.task, "seed": evaluation.seed, "key": _key(evaluation)}
                                for evaluation in turn.evaluations
                            ],
                        }
                        for turn in run.rounds
                    ],
                }
                for run in self.runs
            ],
        }


def build(experiment: Experiment) -> Graph:
    """Unroll the loop.

    Raises:
        UserError: a source on this machine isn't there.
    """
    experiment = _with_sources(experiment, Source.pinned)  # so that keys follow the bytes of files on this machine
    trained = experiment.vocabulary.train is not None
    articles = (
        Articles(**{name: getattr(experiment.corpus, name) for name in Articles.model_fields}) if trained else None
    )
    vocabulary = VocabularyConfig(vocabulary=experiment.vocabulary, articles=articles)
    corpus = CorpusConfig(
        corpus=experiment.corpus,
        lower_case=experiment.vocabulary.lower_case,
        vocabulary=_key(vocabulary),
    )
    runs = tuple(
        Run(name, model, seed, tuple(_rounds(experiment, name, model, seed, corpus)))
        for model in experiment.models
        for seed in experiment.pretrain.seeds
        for name in [experiment.run_name(model, seed)]
    )
    return Graph(experiment, vocabulary, corpus, runs)


def _rounds(experiment: Experiment, name: str, model: str, seed: int, corpus: CorpusConfig) -> Iterator[Round]:
    pretrain = experiment.pretrain
    milestone, begin = None, 0
    ends = [epoch * pretrain.steps_per_epoch for epoch in pretrain.round_ends]
    for end in pretrain.round_ends:
        label = Label(experiment=experiment.name, run=name, model=model, epoch=end)
        config = PretrainConfig(
            model=experiment.models[model],
            optimizer=pretrain.optimizer,
            learning_rate=pretrain.learning_rate.of_round(
                begin * pretrain.steps_per_epoch, end * pretrain.steps_per_epoch, ends
            ),
            next_sentence=pretrain.next_sentence,
            seed=seed,
            steps_per_epoch=pretrain.steps_per_epoch,
            begin_epoch=begin,
            end_epoch=end,
            held_out_examples=pretrain.held_out_examples,
            corpus=_key(corpus),
            vocabulary=corpus.vocabulary,
            milestone=milestone,
            checkpoints=pretrain.checkpoints,
            label=label,
        )
        milestone, begin = _key(config), end
        yield Round(config, tuple(_evaluations(experiment, label, corpus, milestone)))


def _evaluations(
    experiment: Experiment, label: Label, corpus: CorpusConfig, milestone: Key
) -> Iterator[EvaluateConfig]:
    section = experiment.evaluate
    shared = {name: getattr(section, name) for name in Evaluate.model_fields if name not in ("tasks", "seeds")}
    for task, files in section.tasks.items():
        for seed in section.seeds:
            yield EvaluateConfig(
                task=task,
                files=files,
                model=experiment.models[label.model],
                seed=seed,
                lower_case=experiment.vocabulary.lower_case,
                milestone=milestone,
                vocabulary=corpus.vocabulary,
                label=label,
                **shared,
            )


def portable(graph: Graph) -> Graph:
    """The same graph, hence the same keys, without this machine's paths: files go by name and checksum.

    For pods: `bertline submit` puts the files into the store, where `Source.fetch` finds them by their checksum.
    """
    return build(_with_sources(graph.experiment, _by_name))


def sources(experiment: Experiment) -> Iterator[Source]:
    """Every file from outside that the experiment names."""
    yield experiment.corpus.dump
    if experiment.vocabulary.file:
        yield experiment.vocabulary.file
    for files in experiment.evaluate.tasks.values():
        yield from (files.train, files.dev)


def _by_name(source: Source) -> Source:
    return source.model_copy(update={"url": source.name}) if source.is_local else source


def _with_sources(experiment: Experiment, change: Callable[[Source], Source]) -> Experiment:
    """A copy in which every source is changed."""
    corpus = experiment.corpus.model_copy(update={"dump": change(experiment.corpus.dump)})
    vocabulary = experiment.vocabulary
    if vocabulary.file:
        vocabulary = vocabulary.model_copy(update={"file": change(vocabulary.file)})
    tasks = {
        task: files.model_copy(update={"train": change(files.train), "dev": change(files.dev)})
        for task, files in experiment.evaluate.tasks.items()
    }
    evaluate = experiment.evaluate.model_copy(update={"tasks": tasks})
    return experiment.model_copy(update={"corpus": corpus, "vocabulary": vocabulary, "evaluate": evaluate})


def _key(config: VocabularyConfig | CorpusConfig | PretrainConfig | EvaluateConfig) -> Key:
    return config.derivation().key
