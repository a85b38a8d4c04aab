"""Measurements from elsewhere, used if the store has none.

Values of the original come from its report: one GTX 1080 Ti, float32, English Wikipedia, 500,000 steps. README's values
come from `make bench`, `make demo` and `make demo-real` on two virtual x86-64 cores without a GPU.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from bertline.experiment.specs import Model


@dataclass(frozen=True)
class Range:
    """The lowest and the highest likely value."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The range from the lowest to the highest of the values."""
        known = list(values)
        return cls(min(known), max(known))

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Range":
        return Range(self.low * factor, self.high * factor)

    def __truediv__(self, rate: "Range") -> "Range":
        """The time that an amount takes at a rate."""
        return Range(self.low / rate.high, self.high / rate.low)

    def document(self) -> dict[str, float | None]:
        """The range for `--json`; None means that the highest value isn't known."""
        return {"low": self.low, "high": None if math.isinf(self.high) else self.high}


NOTHING = Range(0, 0)


@dataclass(frozen=True)
class Rate:
    """Sequences of 128 tokens a second of a model with BERT-Mini's width (256 wide, 4 heads, 1,024 between)."""

    uses_gpu: bool
    layers: int
    batch_size: int
    sequences_per_s: Range
    basis: str

    def fits(self, model: Model, uses_gpu: bool, batch_size: int | None = None) -> bool:
        """Whether it was measured with this shape. Fine-tuning has its own batch size."""
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


# The original's wall-clock at 500,000 steps, from its chart (± 100 s). 32.0 M / 75,240 s and 64.0 M / 88,350 s.
PRETRAINING = (
    _original(6, 64, 20.9, 75_240),
    _original(3, 128, 24.5, 88_350),
    _baseline(6, 64, 9.0, 20.7),
    _baseline(3, 128, 18.0, 31.0),
)
# MNLI's pairs in length buckets. The original's time for fine-tuning isn't known.
FINE_TUNING = (_baseline(6, 32, 24.9, 40.6),)

# Other shapes by their FLOPs (`models.flops`, with padding). FLOP/s of a thread: 6 and 3 layers of 256 on README's
# machine 44 to 52 with one thread and 45 to 50 with two; nano's 2 and 4 layers of 128 there 66 to 112, each with one.
PRETRAINING_FLOPS_PER_THREAD = Range(44e9, 112e9)
# Fine-tuning computes less padding than is counted: MNLI's pairs 80 to 98, nano's sample pairs 114 to 224.
FINE_TUNING_FLOPS_PER_THREAD = Range(80e9, 224e9)
FLOPS_BASIS = "its FLOPs, at what was measured on virtual x86-64 cores with other shapes"
# 2.07 and 2.11 TFLOP/s for the original's two shapes on its GTX 1080 Ti; half to twice that for another shape.
GPU_FLOPS = Range(1.04e12, 4.2e12)
GPU_FLOPS_BASIS = "its FLOPs, at half to twice what the original's GTX 1080 Ti did with its shapes"
GPU = "1080 Ti"
"""The original's GPU, a key of `devices.GPUS`."""

CORPUS_WORDS_PER_S = Range(57_500, 57_500)
"""Speed of one worker with two duplicates of 128 tokens."""
CORPUS_BASIS = "README's baseline: 57,500 words/s a worker on virtual x86-64 cores"
CORPUS_FASTEST_WORDS_PER_S = 260_000
"""Speed of one worker with five duplicates of 64 tokens, on the sample corpus, which has no templates."""

# Training a vocabulary, with reading: 206 pages of English Wikipedia 0.8 M characters/s with 30,522 pieces and
# 1.4 M with 3,000; the sample corpus 1.6 M.
VOCABULARY_CHARACTERS_PER_S = Range(0.8e6, 1.6e6)
VOCABULARY_BASIS = "0.8 to 1.6 M characters/s, measured on virtual x86-64 cores"
CHARACTERS_A_WORD = 6.3
# Of bz2: English Wikipedia 0.13 as a whole, 206 of its pages 0.24; the sample corpus 0.7.
WORDS_A_BYTE = {"dump": Range(0.1, 0.35), "sample": Range(0.6, 0.8)}

# Time of a task beside its work. For pre-training and fine-tuning: TensorFlow's import, tracing, held-out losses,
# saving; in nano this took 9.5 to 23.5 s on two idle cores and up to 29 s on busy ones.
TENSORFLOW_S = Range(9, 40)
# From the command to the first line of a stage: Python, KFP's executor.
PROCESS_S = Range(1, 4)
# On a cluster instead: KFP's driver, Argo's queue, the container; of a loaded node of two cores. Not in it: waiting for
# a node, pulling images.
POD_S = Range(35, 60)
# Between a bucket and a pod, assumed.
STAGING_BYTES_PER_S = Range(50e6, 300e6)

# The original's corpus table: words, and examples by words and duplicates.
WIKIPEDIA = re.compile(r"(?P<language>en|ru)wiki-.+-pages-articles(-multistream)?\.xml\.bz2")
WORDS = {"en": 2.17e9, "ru": 0.45e9}
_ENGLISH, _RUSSIAN = 51.7e6 / (2.17e9 * 2), 78.2e6 / (0.45e9 * 10)
# German, French and Ukrainian weren't in the original; these are the values of the most similar language.
EXAMPLES_A_WORD = {"en": _ENGLISH, "de": _ENGLISH, "fr": _ENGLISH, "ru": _RUSSIAN, "uk": _RUSSIAN}
# Of `make demo-real`: 9,436,276 bytes, 10,781 + 554 examples of 128 tokens.
BYTES_AN_EXAMPLE = 9_436_276 / 11_335
SIZE_BASIS = "examples by words as the original's corpus, 832 bytes each as in `make demo-real`"

MNLI_TRAIN = 392_702
"""Pairs in MNLI's train.tsv."""

# Of `make demo` and `make demo-real`, alone and beside other work; experiments of other sizes take about as long.
REPORT_S = Range(1.4, 10.3)
VOCABULARY_FILE_S = Range(0.05, 1)
