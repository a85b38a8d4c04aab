"""Makes metric families from a task's values at each scrape. A value that is None has no series."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, fields

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import bertline
from bertline.metrics import memories
from bertline.metrics.gauges import PHASES, Gauges, Labels
from bertline.models import flops
from bertline.store.provenances import processor

Value = float | None
Values = tuple[str, Mapping[str, Value]] | Value
"""A number; or the name of an additional label, and the label's value → number."""

LABELS = tuple(field.name for field in fields(Labels))
GPU = "0"
"""The device's number; a process trains on its first device."""


def _gauges(now: Gauges) -> Iterator[tuple[str, str, Values]]:
    memory, device, allocated = now.memory, now.memory.device(), now.memory.allocated()
    yield "training_step", "Gradient steps done.", now.step
    yield "training_first_step", "Steps that were done when this round began.", now.first_step
    yield "training_last_step", "Last step of this round.", now.last_step
    yield "training_epoch", "Epochs done.", now.epoch
    yield "training_loss", "Loss in nats, mean over the last call of several steps.", ("kind", now.losses)
    yield "training_accuracy", "Share of correct predictions, over the same steps.", ("kind", now.accuracies)
    yield "held_out_loss", "Loss on held-out examples at the last epoch's end.", ("kind", now.held_out_losses)
    yield "held_out_accuracy", "Share of correct predictions on held-out examples.", ("kind", now.held_out_accuracies)
    yield "learning_rate", "Learning rate of the last step.", now.learning_rate
    yield "batch_size", "Sequences a step.", now.batch_size
    yield "model_parameters", "Weights of the model, heads included.", now.parameters
    yield "model_flops_per_second", "Operations of the model per second.", now.flops_per_second
    yield "model_flop_utilization_ratio", "Model FLOP/s as a share of the device's peak.", _utilization(now)
    yield "checkpoint_last_success_timestamp_seconds", "When the last checkpoint was saved.", now.checkpoint_saved_at
    yield (
        "checkpoint_last_duration_seconds",
        "Seconds that the last checkpoint took.",
        now.checkpoint_seconds,
    )
    yield "checkpoint_last_bytes", "Bytes of the last checkpoint.", now.checkpoint_bytes
    yield "checkpoint_interval_seconds", "Configured interval between checkpoints.", now.checkpoint_interval_s
    yield "attempt", "Number of this attempt at the task; 1 if it was never restarted.", now.attempt
    yield "repeated_steps", "Steps of this round that earlier attempts lost.", now.repeated_steps
    yield "last_progress_timestamp_seconds", "When training last advanced.", now.advanced_at
    yield "stall_limit_seconds", "Seconds without progress after which training counts as hanging.", now.stall_limit_s
    yield "phase", "1 for the current phase of the task.", ("phase", {phase: phase == now.phase for phase in PHASES})
    yield "evaluation_accuracy", "Share of correct predictions on the dev set.", ("seed", now.evaluation_accuracies)
    yield "host_memory_resident_bytes", "Resident memory of this process.", memories.host_resident()
    yield "host_memory_peak_bytes", "Peak resident memory of this process.", memory.host_peak()
    yield "host_memory_limit_bytes", "Memory limit of the control group.", memories.host_limit()
    yield "gpu_present", "1 if this process has a GPU.", memory.gpu_present
    if allocated:
        yield "gpu_allocator_bytes", "Memory that TensorFlow has allocated.", ("gpu", {GPU: allocated.current})
        yield (
            "gpu_allocator_peak_bytes",
            "Peak memory that TensorFlow allocated.",
            ("gpu", {GPU: allocated.peak}),
        )
    if device:
        yield "gpu_memory_used_bytes", "Used memory of the device, by all processes.", ("gpu", {GPU: device.used})
        yield "gpu_memory_total_bytes", "Total memory of the device.", ("gpu", {GPU: device.total})
        yield "gpu_utilization_ratio", "Share of the time in which a kernel ran.", ("gpu", {GPU: device.utilization})


def _counters(now: Gauges) -> Iterator[tuple[str, str, Values]]:
    counts = now.counts
    yield "training_steps", "Gradient steps.", counts.steps
    yield "training_sequences", "Sequences trained on.", counts.sequences
    yield "training_tokens", "Tokens trained on, without padding.", counts.tokens
    yield "training_seconds", "Seconds in training calls, with waiting for data.", counts.seconds
    yield "training_data_wait_seconds", "Seconds of waiting for data.", counts.waited_s
    yield "checkpoints", "Checkpoints saved.", counts.checkpoints
    yield "checkpoint_failures", "Checkpoints that couldn't be saved.", counts.checkpoint_failures
    yield "checkpoint_pause_seconds", "Seconds that training waited for checkpoints.", counts.checkpoint_pause_s
    yield "gpu_errors", "Calls of the driver's library that failed.", now.memory.device_errors()


class TaskCollector(Collector):
    """All metric families of the running task."""

    def __init__(self, find: Callable[[], Gauges | None]) -> None:
        self._find = find

    def collect(self) -> Iterator[Metric]:
        """Read the values."""
        now = self._find()
        if now is None:
            return
        yield _info(now)
        kinds = ((GaugeMetricFamily, _gauges(now)), (CounterMetricFamily, _counters(now)))
        for kind, families in kinds:
            for name, text, values in families:
                label, named = values if isinstance(values, tuple) else ("", {"": values})
                family = kind(f"bertline_{name}", text, labels=[*LABELS, *filter(None, [label])])
                for own, value in list(named.items()):  # a copy: training may add to it
                    if value is not None:
                        family.add_metric([*astuple(now.labels), *filter(None, [own])], float(value))
                if family.samples:
                    yield family


def registry(find: Callable[[], Gauges | None]) -> CollectorRegistry:
    """The registry of this process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(TaskCollector(find))
    return made


def _info(now: Gauges) -> Metric:
    told = {
        "image": os.environ.get("BERTLINE_IMAGE") or "",
        "version": bertline.__version__,
        "revision": os.environ.get("BERTLINE_REVISION") or "",
        "processor": processor(),
        "gpu": now.memory.gpu_name or "",
        "key": now.key[:12],
    }
    family = GaugeMetricFamily("bertline_info", "Task, code and hardware.", labels=[*LABELS, *told])
    family.add_metric([*astuple(now.labels), *told.values()], 1)
    return family


def _utilization(now: Gauges) -> Value:
    peak = flops.PEAKS.get(now.memory.gpu_name or "")
    return now.flops_per_second / peak if peak and now.flops_per_second is not None else None
