"""What is known before anything was measured here, and where it was measured.

The original's figures are those of its report: one GTX 1080 Ti, float32, English Wikipedia, 500,000 steps. README's are
those of `make bench`, `make demo` and `make demo-real` on two virtual x86-64 cores without a GPU.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from bertline.experiments import Model


@dataclass(frozen=True)
class Range:
    """From the lowest to the highest that is likely; one figure if both are the same."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The range that values span."""
        known = list(values)
        return cls(min(known), max(known))

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Range":
        return Range(self.low * factor, self.high * factor)

    def document(self) -> dict[str, float]:
        """For `--json`."""
        return {"low": self.low, "high": self.high}


@dataclass(frozen=True)
class Rate:
    """What BERT-Mini's width (256 wide, 4 heads, 1,024 between) does of sequences of 128."""

    uses_gpu: bool
    layers: int
    batch_size: int
    sequences_per_s: Range
    basis: str

    def fits(self, model: Model, uses_gpu: bool, batch_size: int | None = None) -> bool:
        """Whether it was measured on this shape. Fine-tuning has a batch size of its own."""
        return (
            (self.uses_gpu, self.layers, self.batch_size) == (uses_gpu, model.layers, batch_size or model.batch_size)
        ) and (model.hidden, model.heads, model.intermediate) == (256, 4, 1024)


def _original(layers: int, batch_size: int, hours: float, seconds: float) -> Rate:
    rate = 500_000 * batch_size / seconds
    return Rate(
        True,
        layers,
        batch_size,
        Range(rate, rate),
        f"the original's GTX 1080 Ti: {layers} layers, 500,000 steps in {hours} h, {rate:.0f} sequences/s",
    )


def _baseline(layers: int, batch_size: int, low: float, high: float) -> Rate:
    basis = f"README's baseline: {layers} layers, {low} to {high} sequences/s, 1 to 2 threads on virtual x86-64 cores"
    return Rate(False, layers, batch_size, Range(low, high), basis)


# The original's wall-clock at 500,000 steps, read off its chart (± 100 s). 32.0 M / 75,240 s and 64.0 M / 88,350 s.
PRETRAINING = (
    _original(6, 64, 20.9, 75_240),
    _original(3, 128, 24.5, 88_350),
    _baseline(6, 64, 9.0, 20.7),
    _baseline(3, 128, 18.0, 31.0),
)
# MNLI's pairs in length buckets. The original's time for fine-tuning isn't known.
FINE_TUNING = (_baseline(6, 32, 24.9, 40.6),)

CORPUS_WORDS_PER_S = Range(115_000, 115_000)
CORPUS_BASIS = "README's baseline: 115,000 words/s with 2 workers on virtual x86-64 cores"

# The original's corpus table: words, and examples by words and duplicates.
WIKIPEDIA = re.compile(r"(?P<language>en|ru)wiki-.+-pages-articles(-multistream)?\.xml\.bz2")
WORDS = {"en": 2.17e9, "ru": 0.45e9}
EXAMPLES_A_WORD = {"en": 51.7e6 / (2.17e9 * 2), "ru": 78.2e6 / (0.45e9 * 10)}
# Of `make demo-real`: 9,436,276 bytes, 10,781 + 554 examples of 128 tokens.
BYTES_AN_EXAMPLE = 9_436_276 / 11_335
SIZE_BASIS = "examples by words as the original's corpus, 832 bytes each as in `make demo-real`"

MNLI_TRAIN = 392_702
"""Pairs in MNLI's train.tsv."""

# Of `make demo` and `make demo-real`; experiments of other sizes take about as long.
REPORT_S = Range(3.9, 10.3)
VOCABULARY_FILE_S = Range(0.06, 0.06)
