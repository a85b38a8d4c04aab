"""Hours, bytes and cost of a plan's missing tasks, each with its basis (`times`).

A task's seconds include its work and its start-up: process or pod, imports, tracing, staging, saving. They don't
include waiting for a node, pulling images, downloads and lost work. If the time of a task isn't known, a sum has no
highest value: it is "at least". Bytes are those of milestones and corpus; manifests, predictions and reports add a few
MB.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bertline.store.objects import ObjectStore
from bertline_pipelines.estimates import baselines, times, volumes
from bertline_pipelines.estimates.baselines import NOTHING, Range
from bertline_pipelines.estimates.devices import Device
from bertline_pipelines.estimates.earlier_runs import EarlierRuns
from bertline_pipelines.planning.plans import Plan, Task

HOUR = 3600.0
UNKNOWN = Range(0, math.inf)


@dataclass(frozen=True)
class TaskEstimate:
    """The remaining work of one task."""

    task: Task
    device: Device
    seconds: Range | None
    """Seconds with start-up; None means not known."""
    start_up: Range
    """Seconds beside the work."""
    basis: str
    """The basis of `seconds`, or why they aren't known."""
    written: float | None
    """Bytes that stay in the store; None means not known."""
    written_basis: str
    """The basis of `written`."""

    @property
    def uses_gpu(self) -> bool:
        """True if it reserves a GPU."""
        return self.device.gpu is not None

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.task.name,
            "stage": self.task.stage,
            "gpu": self.uses_gpu,
            "steps": self.task.steps,
            "seconds": self.seconds and self.seconds.document(),
            "start_up": self.start_up.document(),
            "basis": self.basis,
            "bytes": None if self.written is None else round(self.written),
            "bytes_basis": self.written_basis,
        }


@dataclass(frozen=True)
class Estimate:
    """The remaining work of a plan."""

    tasks: tuple[TaskEstimate, ...]
    """Each after those that it needs."""
    rolling_peak: float | None
    """Bytes of rolling checkpoints while all runs train at the same time; they are deleted at the end."""
    currency: str
    """Currency of the price."""

    @property
    def steps(self) -> int:
        """Gradient steps of pre-training."""
        return sum(each.task.steps for each in self.tasks)

    @property
    def gpu_hours(self) -> Range:
        """Hours of all reserved GPUs."""
        return _sum(task.seconds and task.seconds * (task.device.gpus / HOUR) for task in self.tasks if task.uses_gpu)

    @property
    def cpu_hours(self) -> Range:
        """Hours of tasks without a GPU; an hour of a task, not of a core."""
        return _sum(task.seconds and task.seconds * (1 / HOUR) for task in self.tasks if not task.uses_gpu)

    @property
    def start_up_hours(self) -> Range:
        """Hours of start-up of all tasks, with and without a GPU."""
        return _sum(task.start_up * (1 / HOUR) for task in self.tasks)

    @property
    def chain_hours(self) -> Range:
        """Hours of the longest chain of dependent tasks; a run can't be faster than this."""
        ends: dict[str, Range] = {}
        for each in self.tasks:
            before = [ends[name] for name in each.task.after]
            begun = Range(max((end.low for end in before), default=0), max((end.high for end in before), default=0))
            ends[each.task.name] = begun + (each.seconds or UNKNOWN)
        longest = ends.values()
        return Range(
            max((each.low for each in longest), default=0), max((each.high for each in longest), default=0)
        ) * (1 / HOUR)

    def hours(self, side_by_side: int) -> Range:
        """Hours from first begin to last end with so many tasks at a time; Graham's bounds for any order."""
        work, chain = self.gpu_hours + self.cpu_hours, self.chain_hours
        return Range(max(chain.low, work.low / side_by_side), min(work.high, chain.high + work.high / side_by_side))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Tasks whose time isn't known."""
        return tuple(each.task.name for each in self.tasks if each.seconds is None)

    @property
    def written(self) -> float:
        """Bytes that stay in the store; see `unknown_written`."""
        return sum(task.written or 0 for task in self.tasks)

    @property
    def unknown_written(self) -> tuple[str, ...]:
        """Tasks whose bytes aren't known."""
        return tuple(each.task.name for each in self.tasks if each.written is None)

    @property
    def cost(self) -> Range | None:
        """Cost of the GPU-hours; None without a GPU or without a price."""
        tasks = [task for task in self.tasks if task.uses_gpu]
        if not tasks or any(task.device.price is None for task in tasks):
            return None
        return _sum(task.seconds and task.seconds * (_price(task.device) / HOUR) for task in tasks)

    def document(self) -> dict[str, Any]:
        """The estimate for `--json`. A highest value is null if the sum lacks tasks, which are in `unknown`."""
        prices = {task.device.price for task in self.tasks if task.uses_gpu}
        return {
            "tasks": [task.document() for task in self.tasks],
            "steps": self.steps,
            "gpu_hours": self.gpu_hours.document(),
            "cpu_hours": self.cpu_hours.document(),
            "start_up_hours": self.start_up_hours.document(),
            "chain_hours": self.chain_hours.document(),
            "unknown": list(self.unknown),
            "bytes": round(self.written),
            "bytes_unknown": list(self.unknown_written),
            "rolling_peak_bytes": None if self.rolling_peak is None else round(self.rolling_peak),
            "price_per_gpu_hour": prices.pop() if len(prices) == 1 else None,
            "currency": self.currency if self.cost else None,
            "cost": self.cost and self.cost.document(),
        }


def estimate(
    plan: Plan, store: ObjectStore | None, devices: Mapping[str, Device], *, currency: str = "USD"
) -> Estimate:
    """Estimate the missing tasks. Reads manifests, writes nothing.

    Args:
        plan: The plan with the missing tasks.
        store: The store with earlier manifests; None means no store.
        devices: Stage → device, see `devices.of`.
        currency: Currency of the prices.
    """
    known = EarlierRuns(plan, store)
    tasks = tuple(_task(task, known, devices[task.stage]) for task in plan.missing)
    return Estimate(tasks, volumes.rolling_peak(plan, known), currency)


def _task(task: Task, known: EarlierRuns, device: Device) -> TaskEstimate:
    """The estimate of a task's missing results; one process or pod makes them."""
    left = [node.config for node in task.left if node.config]
    taken = [times.of(config, known, device) for config in left]
    amounts = [volumes.of(config, known) for config in left]
    works = [time.work for time in taken if time.work]
    written = [amount.written for amount in amounts if amount.written is not None]
    start = sum((time.start for time in taken), baselines.POD_S if device.is_pod else baselines.PROCESS_S)
    return TaskEstimate(
        task,
        device,
        sum(works, start) if len(works) == len(left) else None,
        start,
        "; ".join(dict.fromkeys(time.basis for time in taken)),
        sum(written) if len(written) == len(left) else None,
        "; ".join(dict.fromkeys(amount.basis for amount in amounts)),
    )


def _price(device: Device) -> float:
    """Price of all its GPUs for an hour."""
    assert device.price is not None
    return device.price * device.gpus


def _sum(parts: Iterable[Range | None]) -> Range:
    return sum((part or UNKNOWN for part in parts), NOTHING)
