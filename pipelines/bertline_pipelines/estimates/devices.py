"""The devices of a stage's tasks, and how much faster one GPU is than another.

On most GPUs we haven't measured anything. There the time of training is scaled from a GPU with measurements, once by
memory bandwidth and once by float32 FLOP/s (TF32 if the GPU has it); these are the bounds of the estimate.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bertline.models import flops
from bertline.process.processors import cores
from bertline.store.provenances import processor
from bertline_pipelines.estimates.baselines import Range
from bertline_pipelines.places.profiles import Pod, Profile
from bertline_pipelines.stages import STAGES


@dataclass(frozen=True)
class Gpu:
    """A GPU's values from its data sheet."""

    flops: float
    """FLOP/s of float32 models in TensorFlow: TF32 without sparsity if the GPU has it, else float32."""
    bandwidth: float
    """Bytes a second of its memory."""


GPUS = {
    "1080 Ti": Gpu(11.3e12, 484e9),
    "T4": Gpu(flops.PEAKS["Tesla T4"], 320e9),
    "V100": Gpu(flops.PEAKS["Tesla V100-SXM2-16GB"], 900e9),
    "L4": Gpu(flops.PEAKS["NVIDIA L4"], 300e9),
    "A100": Gpu(flops.PEAKS["NVIDIA A100-SXM4-40GB"], 1555e9),
    "H100": Gpu(flops.PEAKS["NVIDIA H100 80GB HBM3"], 3350e9),
}

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Device:
    """The device of a stage's tasks."""

    threads: int = 2
    gpu: str | None = None
    """One of `GPUS`, `UNKNOWN` for another model, None without a GPU."""
    gpus: int = 0
    """Number of reserved GPUs."""
    price: float | None = None
    """Price of one GPU with its node for an hour."""
    is_pod: bool = False
    processor: str | None = None
    """The name in the provenance; None if it isn't known."""


def of(profile: Profile | None, price: float | None = None) -> dict[str, Device]:
    """Stage → its device: the pod in a profile, or a task's share of this machine under `bertline run`.

    Args:
        profile: None, or one without Kubeflow, is this machine.
        price: Price of one GPU for an hour, instead of the profile's.
    """
    if profile is None or profile.kubeflow is None:
        here = _here(price)
        return {stage.name: here for stage in STAGES}
    return {stage.name: _pod(profile.pods.of(stage.name), price) for stage in STAGES}


def side_by_side() -> int:
    """Tasks that `bertline run` starts at once on this machine, by default."""
    return 1 if Path("/dev/nvidia0").exists() else min(4, cores())


def model(text: str) -> str:
    """The key of `GPUS` for a GPU's name or a node's label: `NVIDIA A100-SXM4-40GB`, `nvidia-tesla-a100`."""
    words = f" {' '.join(re.findall('[a-z0-9]+', text.lower()))} "
    return next((name for name in GPUS if f" {name.lower()} " in words), UNKNOWN)


def speed(of: str, to: str) -> Range | None:
    """The factor by which `to` is faster than `of`; None if one of them isn't in `GPUS`."""
    if of == to:
        return Range(1, 1)
    if of not in GPUS or to not in GPUS:
        return None
    ours, others = GPUS[to], GPUS[of]
    return Range.of((ours.bandwidth / others.bandwidth, ours.flops / others.flops))


def _here(price: float | None) -> Device:
    threads = max(1, cores() // side_by_side())
    if Path("/dev/nvidia0").exists():
        return Device(threads, UNKNOWN, 1, price, processor=processor())
    return Device(threads, processor=processor())


def _pod(pod: Pod, price: float | None) -> Device:
    if pod.gpu is None or pod.gpu.fake:  # a fake GPU computes on the CPU and costs nothing
        return Device(pod.threads, is_pod=True)
    return Device(
        pod.threads,
        _selected(pod.node_selector),
        pod.gpu.count,
        pod.gpu.price_per_hour if price is None else price,
        is_pod=True,
    )


def _selected(labels: Mapping[str, str]) -> str:
    """The GPU that a node selector asks for."""
    return next((found for value in labels.values() if (found := model(value)) != UNKNOWN), UNKNOWN)
