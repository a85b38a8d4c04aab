"""From a task's numbers to metric families, when somebody asks. A number that there isn't has no series."""

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
"""A number; or the label that a family has beside the common ones, and numbers by its value."""

LABELS = tuple(field.name for field in fields(Labels))
GPU = "0"
"""The device as this process counts: it trains on its first one."""


def _gauges(now: Gauges) -> Iterator[tuple[str, str, Values]]:
    memory, device, allocated = now.memory, now.memory.device(), now.memory.allocated()
    yield "training_step", "Gradient steps done.", now.step
    yield "training_first_step", "Steps that were done when this round began.", now.first_step
    yield "training_last_step", "Steps that are done when this round is.", now.last_step
    yield "training_epoch", "Epochs done.", now.epoch
    yield "training_loss", "Loss in nats, mean over the last call of several steps.", ("kind", now.losses)
    yield "training_accuracy", "Share that was right, over the same steps.", ("kind", now.accuracies)
    yield "held_out_loss", "Loss on held-out examples at the last epoch's end.", ("kind", now.held_out_losses)
    yield "held_out_accuracy", "Share of them that was right.", ("kind", now.held_out_accuracies)
    yield "learning_rate", "Of the last step.", now.learning_rate
    yield "batch_size", "Sequences a step.", now.batch_size
    yield "model_parameters", "Weights of the model, heads included.", now.parameters
    yield "model_flops_per_second", "Operations that the model needs, done per second.", now.flops_per_second
    yield "model_flop_utilization_ratio", "The same as a share of what the device could do.", _utilization(now)
    yield "checkpoint_last_success_timestamp_seconds", "When the last checkpoint was saved.", now.checkpoint_saved_at
    yield "checkpoint_last_duration_seconds", "How long writing and uploading it took.", now.checkpoint_seconds
    yield "checkpoint_last_bytes", "How large it is.", now.checkpoint_bytes
    yield "checkpoint_interval_seconds", "How old it may get, as configured.", now.checkpoint_interval_s
    yield "attempt", "Number of this attempt at the task; 1 if it was never restarted.", now.attempt
    yield "repeated_steps", "Steps of this round that earlier attempts lost.", now.repeated_steps
    yield "last_progress_timestamp_seconds", "When training last advanced.", now.advanced_at
    yield "stall_limit_seconds", "How long it may stand still before it is said to hang.", now.stall_limit_s
    yield "phase", "1 for what the task does now.", ("phase", {phase: phase == now.phase for phase in PHASES})
    yield "evaluation_accuracy", "Share of the dev set that was right.", ("seed", now.evaluation_accuracies)
    yield "host_memory_resident_bytes", "Of this process.", memories.host_resident()
    yield "host_memory_peak_bytes", "The most it ever was.", memory.host_peak()
    yield "host_memory_limit_bytes", "Of the control group.", memories.host_limit()
    yield "gpu_present", "1 if this process has a GPU.", memory.gpu_present
    if allocated:
        yield "gpu_allocator_bytes", "What TensorFlow has given out.", ("gpu", {GPU: allocated.current})
        yield "gpu_allocator_peak_bytes", "The most it had given out.", ("gpu", {GPU: allocated.peak})
    if device:
        yield "gpu_memory_used_bytes", "Used on the device, by whomever.", ("gpu", {GPU: device.used})
        yield "gpu_memory_total_bytes", "What the device has.", ("gpu", {GPU: device.total})
        yield "gpu_utilization_ratio", "Share of the time in which a kernel ran.", ("gpu", {GPU: device.utilization})


def _counters(now: Gauges) -> Iterator[tuple[str, str, Values]]:
    counts = now.counts
    yield "training_steps", "Gradient steps.", counts.steps
    yield "training_sequences", "Sequences trained on.", counts.sequences
    yield "training_tokens", "Tokens trained on, without padding.", counts.tokens
    yield "training_seconds", "In training calls, waiting for data included.", counts.seconds
    yield "training_data_wait_seconds", "Of them, waiting for data.", counts.waited_s
    yield "checkpoints", "Checkpoints saved.", counts.checkpoints
    yield "checkpoint_failures", "Checkpoints that couldn't be saved.", counts.checkpoint_failures
    yield "checkpoint_pause_seconds", "Training stood still for checkpoints.", counts.checkpoint_pause_s
    yield "gpu_errors", "Calls of the driver's library that failed.", now.memory.device_errors()


class TaskCollector(Collector):
    """All families of the task at work."""

    def __init__(self, find: Callable[[], Gauges | None]) -> None:
        self._find = find

    def collect(self) -> Iterator[Metric]:
        """Read the numbers."""
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
    """Of one process."""
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
    family = GaugeMetricFamily("bertline_info", "What runs here.", labels=[*LABELS, *told])
    family.add_metric([*astuple(now.labels), *told.values()], 1)
    return family


def _utilization(now: Gauges) -> Value:
    peak = flops.PEAKS.get(now.memory.gpu_name or "")
    return now.flops_per_second / peak if peak and now.flops_per_second is not None else None
