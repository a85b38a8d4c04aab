"""Nodes, quotas and amounts, from Kubernetes' JSON.

The client's generated classes aren't used, because they refuse fields of newer servers.
"""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", start=1)
}


@dataclass(frozen=True)
class Condition:
    """A condition of a pod or a node."""

    type: str
    status: str
    """True, False or Unknown."""
    reason: str = ""
    message: str = ""
    since: datetime.datetime | None = None


@dataclass(frozen=True)
class Taint:
    """A taint of a node; it keeps away pods that don't tolerate it."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    def __str__(self) -> str:
        return f"{self.key}{f'={self.value}' if self.value else ''}:{self.effect}"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    capacity: Mapping[str, float]
    allocatable: Mapping[str, float]
    unschedulable: bool
    """True if the node is cordoned."""
    conditions: tuple[Condition, ...]
    images: frozenset[str]
    """Names of images on the node; Kubernetes lists only the 50 largest."""

    @property
    def ready(self) -> bool:
        """False if the node doesn't answer or can't run pods."""
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.conditions)


@dataclass(frozen=True)
class Quota:
    """A namespace's limit on one resource."""

    name: str
    resource: str
    hard: float
    used: float


def node(document: Mapping[str, Any]) -> Node:
    """From core/v1 Node."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    return Node(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        taints=tuple(
            Taint(taint["key"], taint.get("value") or "", taint.get("effect") or "")
            for taint in spec.get("taints") or ()
        ),
        capacity=quantities(status.get("capacity")),
        allocatable=quantities(status.get("allocatable")),
        unschedulable=bool(spec.get("unschedulable")),
        conditions=conditions(status),
        images=frozenset(name for image in status.get("images") or () for name in image.get("names") or ()),
    )


def quotas(document: Mapping[str, Any]) -> tuple[Quota, ...]:
    """From core/v1 ResourceQuota."""
    status = document.get("status") or {}
    hard, used = quantities(status.get("hard")), quantities(status.get("used"))
    return tuple(Quota(document["metadata"]["name"], each, hard[each], used.get(each, 0.0)) for each in sorted(hard))


def quantity(text: str | float) -> float:
    """`500m`, `8Gi`, `129e6` as a number."""
    match = re.fullmatch(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)([A-Za-z]*)", str(text))
    return float(match[1]) * SUFFIXES[match[2]] if match and match[2] in SUFFIXES else 0.0


def quantities(amounts: Mapping[str, Any] | None) -> dict[str, float]:
    """Resource → amount as a number."""
    return {resource: quantity(amount) for resource, amount in (amounts or {}).items()}


def conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions in a pod's or a node's status."""
    return tuple(
        Condition(
            each.get("type", ""),
            each.get("status", ""),
            each.get("reason") or "",
            each.get("message") or "",
            time(each.get("lastTransitionTime")),
        )
        for each in status.get("conditions") or ()
    )


def time(text: str | None) -> datetime.datetime | None:
    """A time in the API's notation."""
    return datetime.datetime.fromisoformat(text) if text else None


def order(moment: datetime.datetime | None) -> float:
    """A key to sort by time; None comes first."""
    return moment.timestamp() if moment else 0.0
