"""A run as Argo's Workflow object describes it, with pods that Kubernetes deleted or refused to create."""

import base64
import datetime
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertline_pipelines.cluster.nodes import order, time


@dataclass(frozen=True)
class Step:
    """A pod that Argo has run, runs or will run."""

    id: str
    kfp_task: str
    driver: bool
    phase: str
    """Pending, Running, Succeeded, Failed, Error, Omitted."""
    message: str
    started: datetime.datetime | None
    finished: datetime.datetime | None


@dataclass(frozen=True)
class Workflow:
    """A run's workflow."""

    name: str
    terminated: bool
    """True after `bertline cancel`, or "terminate" on KFP's page."""
    steps: tuple[Step, ...]
    """Its pods, in the order in which they began."""


def workflow(document: Mapping[str, Any]) -> Workflow:
    """A workflow from its JSON."""
    status = document.get("status") or {}
    return Workflow(document["metadata"]["name"], _is_terminated(document.get("spec") or {}, status), _steps(document))


def _is_terminated(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """KFP terminates with a deadline of 0 s, Argo with `shutdown`; our pipelines have no deadlines."""
    if "activeDeadlineSeconds" in spec or spec.get("shutdown"):
        return spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))
    return any("exceeded its deadline" in (each.get("message") or "") for each in _nodes(status).values())


def _steps(workflow: Mapping[str, Any]) -> tuple[Step, ...]:
    name, status = workflow["metadata"]["name"], workflow.get("status") or {}
    found = [
        Step(
            id=key,
            kfp_task=kfp_task(value.get("name", ""), name),
            driver=_task_path(value.get("name", ""), name).endswith("-driver"),
            phase=value.get("phase") or "Pending",
            message=value.get("message") or "",
            started=time(value.get("startedAt")),
            finished=time(value.get("finishedAt")),
        )
        for key, value in _nodes(status).items()
        if value.get("type") == "Pod"
    ]
    return tuple(sorted(found, key=lambda step: (order(step.started), step.id)))


def kfp_task(name: str, workflow: str) -> str:
    """`pretrain-2` from Argo's `<workflow>.root.pretrain-2.executor(0)` or `<workflow>.root.pretrain-2-driver`.

    If the cluster's defaults retry every template (KFP 2.17), each part has a number: `<workflow>(0).root(0).…`.
    """
    return _task_path(name, workflow).removesuffix("-driver")


def _task_path(name: str, workflow: str) -> str:
    """The part of an Argo node's name that names the KFP task."""
    path = re.sub(r"\(\d+\)", "", name.removeprefix(workflow))
    return path.removeprefix(".root").lstrip(".").split(".")[0]


def _nodes(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes of a workflow; Argo compresses them if the object is large."""
    nodes: dict[str, dict[str, Any]] = dict(status.get("nodes") or {})
    if not nodes and status.get("compressedNodes"):
        nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
    return nodes
