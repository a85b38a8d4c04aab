"""The experiment: one YAML file with everything that changes a result.

Sections: `corpus`, `vocabulary`, `models`, `pretrain`, `evaluate`. Unknown keys are refused, every value is checked
before anything is downloaded. Defaults are those of the original experiment (StagedML's "Train Large, Then Compress"
on mini-BERT); where they differ a comment says why.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from bertline.configuration import mistakes, yamlfiles
from bertline.errors import UserError
from bertline.experiment.corpora import Corpus
from bertline.experiment.schedules import Schedule
from bertline.sources.files import Source
from bertline.stage.configs import Count, Operational, Probability, Real, Section, TrainingSeed

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,39}$")]
"""Part of object names, pod labels and charts: letters, digits, `.`, `_`, `-`, at most 40."""

Precision = Literal["float32", "bfloat16", "float16"]

TaskName = Literal["MNLI-m", "MNLI-mm", "sample-nli"]

MOST_TASKS = 10_000
"""Largest number of tasks of an experiment: pre-trainings and evaluations of all rounds."""

# BERT appendix A.2: 1,000,000 steps * 256 sequences * 512 tokens
BERT_TOKENS = 10**6 * 256 * 512


S = TypeVar("S", bound=Section)


class TrainVocabulary(Section):
    """Train a WordPiece vocabulary on the corpus' articles."""

    size: int = Field(30522, ge=100, le=10**7)
    """Largest number of pieces, with the five special ones; a small corpus has fewer."""
    max_characters: int = Field(1_000_000_000, ge=1, le=10**15)
    """Characters of prose to read at most, from the dump's beginning; more hardly changes the pieces."""


class Vocabulary(Section):
    """Where the WordPiece vocabulary comes from: `file` or `train`."""

    file: Source | None = None
    """One piece a line, BERT's vocab.txt."""
    train: TrainVocabulary | None = None
    """Train a vocabulary instead."""
    lower_case: bool
    """Lower-case and strip accents before the pieces are looked up. Must be false for a cased vocabulary: the original
    lower-cased Russian against the multilingual cased one."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.train is None):
            raise ValueError("give either `file` (a vocab.txt) or `train` (size: …), exactly one of them")
        return self


class Model(Section):
    """One BERT. The defaults are BERT-Mini's width."""

    layers: int = Field(ge=1, le=1000)
    """Transformer layers."""
    batch_size: int = Field(ge=1, le=2**20)
    """Sequences a gradient step."""
    hidden: int = Field(256, ge=8, le=2**16)
    """Width."""
    heads: Count = 4
    """Attention heads; must divide `hidden`."""
    intermediate: int = Field(1024, ge=8, le=2**18)
    """Width of the feed-forward layer."""
    max_positions: int = Field(512, ge=16, le=2**16)
    """Positions that have an embedding."""
    dropout: Real = Field(0.1, ge=0, lt=1)
    """Dropout of hidden states and attention, in pre-training and fine-tuning."""
    initializer_range: Real = Field(0.02, gt=0)
    """Standard deviation of the truncated normal the weights start from."""
    accumulate: Count = 1
    """Parts that a pre-training step's batch is computed in, one after the other; must divide `batch_size`. Memory is
    needed for one part, and a step takes a little longer. The gradient is the whole batch's."""

    @model_validator(mode="after")
    def _parts_divide(self) -> Self:
        if self.batch_size % self.accumulate:
            divisors = [str(parts) for parts in range(1, min(self.batch_size, 64) + 1) if not self.batch_size % parts]
            said = (
                f"batch_size {self.batch_size} is not divisible by accumulate {self.accumulate}; accepted: "
                f"{', '.join(divisors)}"
            )
            mistakes.refuse([(("accumulate",), said)])
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden % self.heads:
            divisors = [str(heads) for heads in range(1, min(self.hidden, 64) + 1) if not self.hidden % heads]
            said = f"hidden {self.hidden} is not divisible by heads {self.heads}; accepted: {', '.join(divisors)}"
            mistakes.refuse([(("heads",), said)])
        return self


class Optimizer(Section):
    """AdamW as BERT used it. LayerNorm and bias have no weight decay (in the original LayerNorm had it by mistake)."""

    weight_decay: Real = Field(0.01, ge=0)
    beta_1: Real = Field(0.9, ge=0, lt=1)
    beta_2: Real = Field(0.999, ge=0, lt=1)
    epsilon: Real = Field(1e-6, gt=0)
    clip_norm: Real = Field(1.0, gt=0)
    """Global norm of the gradient at most."""


class Checkpoints(Operational):
    """Interval of pre-training's checkpoints; a kill loses the work since the last one."""

    every_steps: Count = 2000
    every_minutes: Real = Field(10, gt=0)
    """Whichever comes first."""


class Pretrain(Section):
    """The loop: rounds of epochs, each ending in a milestone that is evaluated."""

    epochs: Count = 50
    """Epochs in total. An epoch is `steps_per_epoch` steps, not a pass over the data."""
    steps_per_epoch: Count = 10_000
    """Gradient steps."""
    epochs_per_round: Count = 10
    """Epochs between two evaluations."""
    learning_rate: Schedule
    """One schedule over all epochs."""
    optimizer: Optimizer = Optimizer()
    next_sentence: bool = True
    """Joint MLM and NSP loss as in BERT; false trains only MLM."""
    seeds: tuple[TrainingSeed, ...] = Field((1,), min_length=1)
    """One run of every model for each: initial weights, order of the data and dropout are functions of it."""
    precision: Precision = "float32"
    """Type of the products. bfloat16: half the memory traffic, and about twice the speed on processors and GPUs that
    have it; float16 for GPUs that don't, with a loss scale that adapts itself. Weights, optimizer, sums, LayerNorm and
    losses are float32 in any case."""
    xla: bool = False
    """Let XLA compile a step as a whole: for GPUs. On a CPU its products are slower than TensorFlow's."""
    skip_bad_steps: int = Field(0, ge=0, le=10**9)
    """Steps of a round at most that may be left out because their loss or gradient isn't finite; one more ends the
    round, as the first does by default. Not in the key, so such a round can continue from its last checkpoint."""
    held_out_examples: Count = 4096
    """Largest number of held-out examples for each epoch's loss."""
    checkpoints: Checkpoints = Checkpoints()

    @property
    def round_ends(self) -> tuple[int, ...]:
        """The epochs at which a round ends, the last one at `epochs`."""
        return (*range(self.epochs_per_round, self.epochs, self.epochs_per_round), self.epochs)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return _distinct(seeds)

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        steps = self.epochs * self.steps_per_epoch
        too_long = {name: needed for name, needed in self.learning_rate.least_steps().items() if needed > steps}
        for name, needed in too_long.items():
            default = "" if name in self.learning_rate.model_fields_set else " (the default)"
            said = (
                f"{name} {needed:,}{default} is above the {steps:,} steps of all epochs (epochs {self.epochs} * "
                f"steps_per_epoch {self.steps_per_epoch:,})"
            )
            mistakes.refuse([(("learning_rate", name), said)])
        return self


class TaskFiles(Section):
    """A task's files: GLUE's tsv files."""

    train: Source
    dev: Source


class Evaluate(Section):
    """Fine-tuning of every milestone."""

    tasks: dict[TaskName, TaskFiles] = Field(min_length=1)
    """The tasks to fine-tune on."""
    epochs: Count = 3
    """Passes over the task's training examples."""
    batch_size: int = Field(32, ge=1, le=2**20)
    learning_rate: Real = Field(1e-4, gt=0)
    """Peak. The original's 2e-5 is BERT-base's; for models this small google-research/bert searched 3e-5 to 3e-4."""
    warmup_share: Probability = 0.1
    """Share of the steps that the learning rate rises; then it falls linearly to 0."""
    optimizer: Optimizer = Optimizer()
    sequence_length: int = Field(128, ge=16, le=512)
    """Tokens of a pair at most; longer ones are cut, the longer side first."""
    max_train_examples: Count | None = None
    """Use only so many training examples (a random choice by seed); None uses all."""
    seeds: tuple[TrainingSeed, ...] = Field((1,), min_length=1)
    """One fine-tuning for each: initial head, order of examples, dropout."""

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return _distinct(seeds)


class Experiment(Section):
    """The whole file."""

    name: Name
    """Names the experiment in the store, in pod labels and in the report."""
    description: str = ""
    """A sentence for the report."""
    corpus: Corpus
    vocabulary: Vocabulary
    models: dict[Name, Model] = Field(min_length=1)
    """Name in charts and tables → model."""
    pretrain: Pretrain
    evaluate: Evaluate

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        found = [*self._too_many_tasks(), *self._too_short_positions(), *self._missing_next_sentences()]
        mistakes.refuse(found or self._names_that_differ_by_case())
        return self

    def _missing_next_sentences(self) -> Iterator[tuple[mistakes.Location, str]]:
        if self.pretrain.next_sentence and not self.corpus.next_sentence:
            said = "corpus.next_sentence is false, so there are none to train on: write next_sentence: false here too"
            yield ("pretrain", "next_sentence"), said

    def _too_many_tasks(self) -> Iterator[tuple[mistakes.Location, str]]:
        every = self.pretrain.epochs_per_round
        rounds = -(-self.pretrain.epochs // every)
        tasks = len(self.models) * len(self.pretrain.seeds) * rounds * (1 + len(self.evaluate.tasks))
        if tasks > MOST_TASKS:
            said = (
                f"{self.pretrain.epochs:,} epochs in rounds of {every:,} are {rounds:,} rounds, with all models, seeds "
                f"and evaluations {tasks:,} tasks; accepted: at most {MOST_TASKS:,}"
            )
            yield ("pretrain", "epochs_per_round"), said

    def _too_short_positions(self) -> Iterator[tuple[mistakes.Location, str]]:
        lengths = {"corpus": self.corpus.sequence_length, "evaluate": self.evaluate.sequence_length}
        section, longest = max(lengths.items(), key=lambda each: each[1])
        for model, values in self.models.items():
            if values.max_positions < longest:
                said = f"max_positions {values.max_positions} is below {section}.sequence_length {longest}"
                yield ("models", model, "max_positions"), said

    def _names_that_differ_by_case(self) -> Iterator[tuple[mistakes.Location, str]]:
        """Refuse names of runs that differ only by case, because some file systems ignore case."""
        first: dict[str, str] = {}
        for model in self.models:
            runs = [self.run_name(model, seed) for seed in self.pretrain.seeds]
            if again := next((run for run in runs if run.lower() in first), None):
                said = f"two runs would be named {first[again.lower()]} and {again}; choose other names"
                yield ("models", model), said
            first |= {run.lower(): run for run in runs}

    def run_name(self, model: str, seed: int) -> str:
        """The name of a model's run with one seed."""
        return model if len(self.pretrain.seeds) == 1 else f"{model}-seed{seed}"

    def sources(self) -> Iterator[Source]:
        """All input files of the experiment."""
        yield self.corpus.dump
        if self.corpus.templates:
            yield self.corpus.templates
        if self.vocabulary.file:
            yield self.vocabulary.file
        for files in self.evaluate.tasks.values():
            yield from (files.train, files.dev)

    def with_sources(self, change: Callable[[Source], Source]) -> Self:
        """A copy in which every source is changed."""
        vocabulary = self.vocabulary
        if vocabulary.file:
            vocabulary = vocabulary.model_copy(update={"file": change(vocabulary.file)})
        tasks = {
            task: files.model_copy(update={"train": change(files.train), "dev": change(files.dev)})
            for task, files in self.evaluate.tasks.items()
        }
        evaluate = self.evaluate.model_copy(update={"tasks": tasks})
        return self.model_copy(
            update={"corpus": self.corpus.with_sources(change), "vocabulary": vocabulary, "evaluate": evaluate}
        )

    def reference_epochs(self, model: str) -> float:
        """Epochs in which a model sees as many token slots as BERT did (appendix A of the original report).

        BERT: 10^6 steps * 256 * 512 tokens. At batch 128, length 128 and 10,000 steps an epoch that is 800 epochs, at
        batch 64 it is 1600.
        """
        tokens_a_step = self.models[model].batch_size * self.corpus.sequence_length
        return float(BERT_TOKENS / tokens_a_step // self.pretrain.steps_per_epoch)


def load(path: Path) -> Experiment:
    """Read an experiment file; relative paths in it count from its folder.

    Raises:
        UserError: unreadable, not YAML, or not an experiment; a line for each thing that is wrong.
    """
    return of(read(path))


def read(path: Path) -> yamlfiles.Document:
    """An experiment file, not yet checked.

    Raises:
        UserError: the file doesn't exist, can't be read, or isn't YAML.
    """
    try:
        return yamlfiles.read(path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; `bertline init` writes one to start from") from error


def of(document: yamlfiles.Document) -> Experiment:
    """The experiment in a file.

    Raises:
        FileError: a line for each thing that is wrong.
    """
    return document.validated(Experiment, strict=True, context=_folder(document))


def section(document: yamlfiles.Document, name: str, kind: type[S]) -> S | None:
    """A section, independent of mistakes in other sections; None if it has mistakes itself."""
    try:
        return kind.model_validate_json(json.dumps(document.values.get(name)), strict=True, context=_folder(document))
    except ValidationError:
        return None


def _folder(document: yamlfiles.Document) -> dict[str, Path]:
    return {"folder": document.path.parent.absolute()}


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds {list(seeds)} repeat; each seed is one run")
    return seeds
