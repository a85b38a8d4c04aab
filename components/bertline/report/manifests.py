"""The parts of other stages' manifests that the report reads.

A missing result, or one of another type, means that the manifest is damaged. A measurement may be missing and is then
shown as a dash.
"""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Manifest(_Shape):
    """The parts that the report reads in every manifest."""

    STAGE: ClassVar[str] = ""

    results: Any
    measurements: Any
    provenance: dict[str, Any]


class Duration(_Shape):
    """The measurement of every stage."""

    seconds: float | None = None


class VocabularyResults(_Shape):
    """Results of `vocabulary`."""

    pieces: int
    sha256: str


class CorpusResults(_Shape):
    """Results of `corpus`."""

    documents: int
    words: int
    sentences: int
    tokens: int
    examples: int
    held_out_documents: int
    held_out_examples: int
    skipped_bytes: int
    unknown: int | None = None
    """Tokens that are [UNK]; None in a corpus of an older version."""
    dropped_templates: dict[str, int] = {}
    """The most frequent templates in sentences whose text isn't known → how often."""

    @property
    def unknown_share(self) -> float | None:
        """Share of [UNK] among the tokens."""
        return None if self.unknown is None or not self.tokens else self.unknown / self.tokens


class Losses(_Shape):
    """Loss in nats and accuracies on one set; `nsp_*` is absent if next sentences aren't trained."""

    loss: float
    mlm_loss: float
    mlm_accuracy: float
    nsp_loss: float | None = None
    nsp_accuracy: float | None = None


class Epoch(_Shape):
    """One epoch of a round."""

    epoch: int
    step: int
    train: Losses
    held_out: Losses | None = None
    """None if nothing was held out."""

    @field_validator("held_out", mode="before")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        return value or None


class Parameters(_Shape):
    """How many weights a model has."""

    encoder: int
    heads: int
    total: int


class PretrainResults(_Shape):
    """Results of one round of `pretrain`."""

    step: int
    epochs: tuple[Epoch, ...] = Field(min_length=1)
    parameters: Parameters
    sequences: int
    tokens: int


class PretrainMeasurements(_Shape):
    """Measurements of one round of `pretrain`; wall-clock counts training only."""

    wall_clock_s: float | None = None
    """Seconds of all rounds so far."""
    round_wall_clock_s: float | None = None
    epoch_wall_clock_s: tuple[float, ...] | None = None
    """Seconds of all rounds so far, at the end of each of this round's epochs."""
    sequences_per_s: float | None = None
    tokens_per_s: float | None = None
    host_memory_peak_bytes: int | None = None
    gpu_present: int | None = None
    gpu_memory_peak_bytes: int | None = None
    lost_steps: int | None = None
    lost_s: float | None = None
    attempts: int | None = None


class EvaluateResults(_Shape):
    """Results of one fine-tuning."""

    task: str
    labels: tuple[str, ...] = Field(min_length=2)
    examples: int = Field(ge=1)
    correct: int
    accuracy: float
    loss: float
    train_examples: int
    dropped: int
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Examples by their class and by the predicted one; None in older manifests."""

    @property
    def majority(self) -> float | None:
        """Share of the largest class, the accuracy of always answering it; None means not known."""
        return max(map(sum, self.confusion)) / self.examples if self.confusion else None

    @property
    def is_collapsed(self) -> bool:
        """True if all examples are predicted to be of one class."""
        return bool(self.confusion) and sum(any(column) for column in zip(*self.confusion or (), strict=True)) == 1


class EvaluateMeasurements(Duration):
    """Measurements of one fine-tuning."""

    sequences_per_s: float | None = None
    host_memory_peak_bytes: int | None = None


class VocabularyManifest(Manifest):
    """Manifest of `vocabulary`."""

    STAGE: ClassVar[str] = "vocabulary"

    results: VocabularyResults
    measurements: Duration


class CorpusManifest(Manifest):
    """Manifest of `corpus`."""

    STAGE: ClassVar[str] = "corpus"

    results: CorpusResults
    measurements: Duration


class PretrainManifest(Manifest):
    """Manifest of `pretrain`."""

    STAGE: ClassVar[str] = "pretrain"

    results: PretrainResults
    measurements: PretrainMeasurements

    @model_validator(mode="after")
    def _times_match(self) -> Self:
        times, epochs = self.measurements.epoch_wall_clock_s, self.results.epochs
        if times is not None and len(times) != len(epochs):
            raise ValueError(f"epoch_wall_clock_s has {len(times)} entries for {len(epochs)} epochs")
        return self


class EvaluateManifest(Manifest):
    """Manifest of `evaluate`."""

    STAGE: ClassVar[str] = "evaluate"

    results: EvaluateResults
    measurements: EvaluateMeasurements


def shape(stage: str) -> type[Manifest]:
    """The class of a stage's manifests."""
    return next((shape for shape in Manifest.__subclasses__() if stage == shape.STAGE), Manifest)
