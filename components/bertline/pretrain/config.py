"""The configuration of the pretrain stage."""

from typing import Any, ClassVar

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from bertline.experiment.schedules import Piece
from bertline.experiment.specs import Checkpoints, Model, Optimizer, Precision
from bertline.stage.configs import Label, StageConfig, TrainingSeed
from bertline.store.derivations import Key


class PretrainConfig(StageConfig):
    """One round: epochs `begin_epoch` (exclusive) to `end_epoch` of one model, from the previous milestone.

    Payload: `encoder.safetensors` (weights by variable name, for evaluation) and `state.safetensors` (heads and
    optimizer, for the next round). Results and measurements: see `pretrain.stage`.
    """

    STAGE: ClassVar[str] = "pretrain"
    ALGORITHM_VERSION: ClassVar[int] = 3
    INPUTS: ClassVar[tuple[str, ...]] = ("corpus", "vocabulary", "milestone")

    model: Model
    optimizer: Optimizer
    learning_rate: tuple[Piece, ...]
    """The schedule, clipped to this round."""
    next_sentence: bool
    precision: Precision = "float32"
    xla: bool = False
    skip_bad_steps: int = 0
    seed: TrainingSeed
    steps_per_epoch: int = Field(ge=1)
    begin_epoch: int = Field(ge=0)
    """Epochs of the previous milestone; 0 starts from scratch."""
    end_epoch: int = Field(ge=1)
    held_out_examples: int
    corpus: Key
    vocabulary: Key
    milestone: Key | None
    """Key of the previous milestone; None starts from scratch."""
    checkpoints: Checkpoints
    label: Label

    @model_serializer(mode="wrap")
    def _patience_not_in_the_key(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        fields = handler(self)
        if info.context and info.context.get("key"):
            fields.pop("skip_bad_steps", None)
        return fields

    @property
    def begin_step(self) -> int:
        """First step of the round."""
        return self.begin_epoch * self.steps_per_epoch

    @property
    def end_step(self) -> int:
        """Number of steps at the end of the round."""
        return self.end_epoch * self.steps_per_epoch
