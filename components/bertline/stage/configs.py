"""The base of stages' configurations, from which derivations and keys are computed."""

import math
import struct
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from bertline.store.derivations import Derivation


def _held_by_float32(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {value}")
    try:
        (held,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        held = math.inf
    if held == math.inf or (value and not held) or value < 1 <= held:
        raise ValueError(f"TensorFlow uses 32 bits, in which {value!r} is {held:g}")
    return value


Real = Annotated[float, AfterValidator(_held_by_float32)]
"""A number for TensorFlow: finite, and not rounded to 0, 1 or infinity by float32."""

Count = Annotated[int, Field(ge=1, le=10**9)]
"""A number of things. Larger values are typing errors, and too large for some library."""

TrainingSeed = Annotated[int, Field(ge=0, lt=2**47)]
"""A seed. The key of dropout's generators has 64 bits: 16 for the layer, one for the sign, 47 for the seed."""


Probability = Annotated[Real, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the experiment: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Operational(BaseModel):
    """Settings that change how a stage runs but not its result; they aren't part of the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_serializer(mode="wrap")
    def _not_in_the_key(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        return None if info.context and info.context.get("key") else handler(self)


class Label(Operational):
    """Names of the run, for metrics and logs."""

    experiment: str
    run: str
    """Model and seed, for example `6L` or `6L-seed2`."""
    model: str
    epoch: int
    """Last epoch of the round."""


class StageConfig(BaseModel):
    """Base of `CorpusConfig`, `PretrainConfig` and the others. It is sent to pods as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    STAGE: ClassVar[str]
    """The stage's name in the store."""
    ALGORITHM_VERSION: ClassVar[int]
    """Raise this when the same config gives another result."""
    INPUTS: ClassVar[tuple[str, ...]]
    """The fields that hold keys of other realizations (None if absent)."""

    def derivation(self) -> Derivation:
        """The derivation of this configuration.

        It contains all fields except `Operational` ones, paths of sources, and fields with their default value.
        """
        inputs = {name: key for name in self.INPUTS if (key := getattr(self, name)) is not None}
        return Derivation(self.STAGE, self.ALGORITHM_VERSION, self._config(lean=True), inputs, self._config(lean=False))

    def _config(self, *, lean: bool) -> dict[str, Any]:
        dumped = self.model_dump(mode="json", context={"key": True}, exclude_defaults=lean)
        return {
            name: value
            for name, value in dumped.items()
            if name not in self.INPUTS and not isinstance(getattr(self, name), Operational)
        }
