"""The experiment: one YAML file that says everything that changes a result.

Sections: `corpus`, `vocabulary`, `models`, `pretrain`, `evaluate`. Unknown keys are refused, every value is checked
before anything is downloaded. Defaults are those of the original experiment (StagedML's "Train Large, Then Compress"
on mini-BERT); where they differ a comment says why.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from bertline import yamlfiles
from bertline.errors import UserError
from bertline.schedules import Schedule
from bertline.sources import Source
from bertline.stages import Operational

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,39}$")]
"""Shows in object names, pod labels and charts: letters, digits, `.`, `_`, `-`, at most 40."""

Probability = Annotated[float, Field(ge=0, le=1)]

TrainingSeed = Annotated[int, Field(ge=0, lt=2**47)]
"""The key of dropout's generators has 64 bits, 16 of which tell layers apart and one of which is the sign."""

TaskName = Literal["MNLI-m", "MNLI-mm", "sample-nli"]

# BERT appendix A.2: 1,000,000 steps * 256 sequences * 512 tokens
BERT_TOKENS = 10**6 * 256 * 512


class Section(BaseModel):
    """A part of the experiment: frozen, nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Articles(Section):
    """Which articles of which dump."""

    dump: Source
    """A MediaWiki `pages-articles` dump, bz2, single stream or multistream. `sample:pydoc-topics` is English prose that
    every Python has, made into such a dump."""
    min_characters: int = Field(0, ge=0)
    """Articles with less prose than this are dropped."""
    skip_disambiguation: bool = True
    """Drop disambiguation pages, as the original did."""
    on_corrupt: Literal["fail", "skip"] = "fail"
    """A bz2 block that can't be read: fail, or drop its pages and count the bytes."""
    language: Literal["en", "ru", "de", "fr", "uk"] = "en"
    """Language of templates, numbers and sentence boundaries. Not read from the dump: its `xml:lang` can be wrong."""
    formulas: Literal["drop", "placeholder"] = "drop"
    """A formula that isn't plain text: drop its sentence, or write the word `formula` in its place."""
    unknown_templates: Literal["drop", "ignore"] = "drop"
    """A template in mid-sentence whose text isn't known: drop its sentence, or only the template."""


class Corpus(Articles):
    """From a Wikipedia dump to MLM+NSP examples."""

    sequence_length: int = Field(128, ge=16, le=512)
    """Tokens of one example, with [CLS], two [SEP] and padding."""
    max_predictions: int = Field(20, ge=1)
    """Masked positions of one example at most."""
    masking_rate: float = Field(0.15, gt=0, lt=1)
    """Share of an example's tokens to predict."""
    whole_word_masking: bool = False
    """Mask all pieces of a word together."""
    short_sequence_rate: Probability = 0.1
    """Share of examples that aim at a random shorter length, so that fine-tuning's lengths aren't new to the model."""
    duplicates: int = Field(10, ge=1)
    """How often a document is used, each time with other cuts and masks (`dupe_factor`). The original: en 2, ru 10."""
    shards: int = Field(256, ge=1, le=65536)
    """Buckets that documents are spread over by hash, and so TFRecord files. Random next sentences come from the own
    bucket; one has to fit in a worker's memory: English Wikipedia's 3 Bn tokens / 256 = 12 M tokens, 50 MB as int32."""
    compression: Literal["none", "gzip"] = "none"
    """gzip: a fifth of the size, several times slower to read."""
    held_out: float = Field(0.005, ge=0, lt=0.5)
    """Share of the documents kept out of training for the held-out loss. The original had none: its loss is on training
    data."""
    seed: int = Field(17, ge=0, lt=2**64)
    """Cuts, partners and masks are functions of (seed, document, duplicate)."""

    @model_validator(mode="after")
    def _predictions_fit(self) -> Self:
        if self.max_predictions > self.sequence_length - 3:
            raise ValueError(
                f"max_predictions {self.max_predictions} must be at most {self.sequence_length - 3}: sequence_length "
                f"{self.sequence_length} less [CLS] and two [SEP]"
            )
        return self


class TrainVocabulary(Section):
    """Train a WordPiece vocabulary on the corpus' articles."""

    size: int = Field(30522, ge=100)
    """Pieces at most, the five special ones included; a small corpus gives fewer."""
    max_characters: int = Field(1_000_000_000, ge=1)
    """Prose to read at most, from the dump's beginning: more hardly changes the pieces."""


class Vocabulary(Section):
    """Where the WordPiece vocabulary comes from: `file` or `train`."""

    file: Source | None = None
    """One piece a line, BERT's vocab.txt."""
    train: TrainVocabulary | None = None
    """Train one instead."""
    lower_case: bool
    """Lower-case and strip accents before the pieces are looked up. Must be false for a cased vocabulary: the original
    lower-cased Russian against the multilingual cased one."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.train is None):
            raise ValueError("give either `file` (a vocab.txt) or `train` (size: …), not both and not neither")
        return self


class Model(Section):
    """One BERT. The defaults are BERT-Mini's width."""

    layers: int = Field(ge=1)
    """Transformer layers."""
    batch_size: int = Field(ge=1)
    """Sequences a gradient step."""
    hidden: int = Field(256, ge=8)
    """Width."""
    heads: int = Field(4, ge=1)
    """Attention heads; must divide `hidden`."""
    intermediate: int = Field(1024, ge=8)
    """Width of the feed-forward layer."""
    max_positions: int = Field(512, ge=16)
    """Positions that have an embedding."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of hidden states and attention, in pre-training and fine-tuning."""
    initializer_range: float = Field(0.02, gt=0)
    """Standard deviation of the truncated normal the weights start from."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not divisible by heads {self.heads}")
        return self


class Optimizer(Section):
    """AdamW as BERT used it. LayerNorm and bias are never decayed (the original decayed LayerNorm by mistake)."""

    weight_decay: float = Field(0.01, ge=0)
    beta_1: float = Field(0.9, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-6, gt=0)
    clip_norm: float = Field(1.0, gt=0)
    """Global norm of the gradient at most."""


class Checkpoints(Operational):
    """How often a pre-training attempt saves itself: what a kill costs."""

    every_steps: int = Field(2000, ge=1)
    every_minutes: float = Field(10, gt=0)
    """Whichever comes first."""


class Pretrain(Section):
    """The loop: rounds of epochs, each ending in a milestone that is evaluated."""

    epochs: int = Field(50, ge=1)
    """Epochs in all. An epoch is `steps_per_epoch` steps, not a pass over the data."""
    steps_per_epoch: int = Field(10_000, ge=1)
    """Gradient steps."""
    epochs_per_round: int = Field(10, ge=1)
    """Epochs between two evaluations."""
    learning_rate: Schedule
    """One schedule over all epochs."""
    optimizer: Optimizer = Optimizer()
    next_sentence: bool = True
    """Joint MLM and NSP loss as in BERT; false trains MLM alone."""
    seeds: tuple[TrainingSeed, ...] = Field((1,), min_length=1)
    """One run of every model for each: initial weights, order of the data and dropout are functions of it."""
    held_out_examples: int = Field(4096, ge=1)
    """Held-out examples that each epoch's loss is measured on, at most."""
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
        for name, needed in self.learning_rate.least_steps().items():
            if needed > steps:
                raise ValueError(
                    f"learning_rate.{name} {needed:,} is above the {steps:,} steps of all epochs (epochs {self.epochs} "
                    f"* steps_per_epoch {self.steps_per_epoch:,})"
                )
        return self


class TaskFiles(Section):
    """Where a task's examples are: GLUE's tsv files."""

    train: Source
    dev: Source


class Evaluate(Section):
    """Fine-tuning of every milestone."""

    tasks: dict[TaskName, TaskFiles] = Field(min_length=1)
    """What to fine-tune on."""
    epochs: int = Field(3, ge=1)
    """Passes over the task's training examples."""
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    """Peak. The original's 2e-5 is BERT-base's; for models this small google-research/bert searched 3e-5 to 3e-4."""
    warmup_share: Probability = 0.1
    """Share of the steps that the learning rate rises; then it falls linearly to 0."""
    optimizer: Optimizer = Optimizer()
    sequence_length: int = Field(128, ge=16, le=512)
    """Tokens of a pair at most; longer ones are cut, the longer side first."""
    max_train_examples: int | None = Field(None, ge=1)
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
    """By the name that charts and tables show."""
    pretrain: Pretrain
    evaluate: Evaluate

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        """Case alone doesn't tell files apart everywhere; and a run is named after its model and seed."""
        runs = [self.run_name(model, seed) for model in self.models for seed in self.pretrain.seeds]
        for number, name in enumerate(runs):
            for other in runs[:number]:
                if name.lower() == other.lower():
                    raise ValueError(f"models: two runs would be named {other} and {name}; name the models otherwise")
        return self

    def run_name(self, model: str, seed: int) -> str:
        """Of all rounds of one model with one seed."""
        return model if len(self.pretrain.seeds) == 1 else f"{model}-seed{seed}"

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        longest = max(self.corpus.sequence_length, self.evaluate.sequence_length)
        for name, model in self.models.items():
            if model.max_positions < longest:
                raise ValueError(
                    f"models.{name}.max_positions {model.max_positions} is below the longest sequence {longest}"
                )
        return self

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
    try:
        document = yamlfiles.read(path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; `bertline init` writes one to start from") from error
    return document.validated(Experiment, strict=True, context={"folder": path.parent.absolute()})


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds {list(seeds)} repeat; each seed is one run")
    return seeds
