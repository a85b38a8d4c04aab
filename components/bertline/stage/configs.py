"""What a stage's configuration has in common: from its fields follow the derivation and so the key."""

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
        raise ValueError(f"TensorFlow has 32 bits for it, in which {value!r} is {held:g}")
    return value


Real = Annotated[float, AfterValidator(_held_by_float32)]
"""A number that TensorFlow computes with: neither infinite, nor 0, nor 1 only by rounding."""

Count = Annotated[int, Field(ge=1, le=10**9)]
"""How many of something. What is above is a typing error, and beyond the integers of some library."""

TrainingSeed = Annotated[int, Field(ge=0, lt=2**47)]
"""The key of dropout's generators has 64 bits, 16 of which tell layers apart and one of which is the sign."""


Probability = Annotated[Real, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the experiment: frozen, nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Operational(BaseModel):
    """Settings that change how a stage runs and never what it makes: they aren't part of the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_serializer(mode="wrap")
    def _not_in_the_key(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        return None if info.context and info.context.get("key") else handler(self)


class Label(Operational):
    """Whose work it is, for people: metrics, logs."""

    experiment: str
    run: str
    """Model and seed, as `6L` or `6L-seed2`."""
    model: str
    epoch: int
    """At which the round ends."""


class StageConfig(BaseModel):
    """Base of `CorpusConfig`, `PretrainConfig` and the others. JSON in and out: that is how it reaches a pod."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    STAGE: ClassVar[str]
    """The stage's name, as in architecture and store."""
    ALGORITHM_VERSION: ClassVar[int]
    """Raised when the same config would give another result."""
    INPUTS: ClassVar[tuple[str, ...]]
    """The fields that hold keys of other realizations (None if absent)."""

    def derivation(self) -> Derivation:
        """What this configuration asks for.

        Everything counts but `Operational` fields, the place of sources, and fields that have their default.
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
