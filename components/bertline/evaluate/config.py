"""The configuration of the evaluate stage."""

from typing import ClassVar

from pydantic import Field

from bertline.experiment.specs import Model, Optimizer, TaskFiles, TaskName
from bertline.stage.configs import Label, StageConfig, TrainingSeed
from bertline.store.derivations import Key


class EvaluateConfig(StageConfig):
    """One fine-tuning of one milestone on one task with one seed.

    Payload: `predictions.tsv` (index, label, prediction; every dev example). Results: `task`, `labels` (names),
    `examples`, `correct`, `accuracy`, `loss` (mean cross-entropy, nats), `train_examples`, `dropped` (rows of the dev
    file without a gold label), `confusion` (examples by gold class, then by predicted class, in the order of `labels`).
    Measurements: see `evaluate.stage`.
    """

    STAGE: ClassVar[str] = "evaluate"
    ALGORITHM_VERSION: ClassVar[int] = 1
    INPUTS: ClassVar[tuple[str, ...]] = ("milestone", "vocabulary")

    task: TaskName
    files: TaskFiles
    model: Model
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float
    warmup_share: float
    optimizer: Optimizer
    sequence_length: int
    max_train_examples: int | None
    seed: TrainingSeed
    lower_case: bool
    milestone: Key
    vocabulary: Key
    label: Label
