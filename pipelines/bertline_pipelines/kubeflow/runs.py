"""A run as Kubeflow tells of it, read from the API's JSON.

What 2.16's server says isn't quite what its description says:

- What hasn't happened yet has a time: 1970, or the year 1.
- A terminated run ends as FAILED. Its history seldom knows that it was CANCELING before; Argo's workflow does.
- `task_details` are the nodes of the Argo workflow: each task has one of its own name, one for its driver and one for
  its pod; there are two for the whole graph, and none for tasks whose turn hasn't come. A task's node is RUNNING as
  soon as its pod is wanted, so whether the pod waits for a GPU is for Kubernetes to say, and so is why it failed.
"""

import datetime
from dataclasses import dataclass, field
from typing import Any

FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
"""States that a run doesn't leave. CANCELING isn't one."""

UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED"


@dataclass(frozen=True)
class TaskState:
    """One task of a run."""

    key: str
    """Its name in the compiled document: `pretrain-2`."""
    name: str
    """Its name in the plan: `6L-pretrain-10`."""
    state: str
    """One of KFP's states; PENDING before its turn, SKIPPED if it never came. FAILED also if it was cancelled."""
    started: float | None = None
    """Seconds since the epoch."""
    finished: float | None = None
    message: str = ""
    """What KFP says of a failure, which is rarely anything."""
    pods: tuple[str, ...] = ()
    """KFP's names of what it is made of; the real pod names are Kubernetes' to tell."""


@dataclass(frozen=True)
class Run:
    """One run."""

    id: str
    name: str
    state: str
    """One of KFP's states. CANCELED also where KFP calls a cancelled run FAILED."""
    experiment_id: str
    created: float | None = None
    """Seconds since the epoch."""
    scheduled: float | None = None
    finished: float | None = None
    message: str = ""
    tasks: tuple[TaskState, ...] = ()
    """All tasks of the submitted document, in no particular order."""
    age_s: float = field(default=0.0, compare=False)
    """Seconds from its creation to when this was told, both by the server's clock."""

    @property
    def final(self) -> bool:
        """True if nothing changes any more."""
        return self.state in FINAL


def read(document: dict[str, Any], told: float = 0.0) -> Run:
    """A run from its JSON.

    Args:
        document: What the server says.
        told: When it said so, by its clock, in seconds since the epoch.
    """
    state = _state(document)
    spec = document.get("pipeline_spec") or {}
    spec = spec.get("pipeline_spec") or spec  # beside its platform_spec, where there is one
    tasks = ((spec.get("root") or {}).get("dag") or {}).get("tasks") or {}
    details = (document.get("run_details") or {}).get("task_details") or []
    nodes = {node.get("display_name"): node for node in details}
    created = _time(document.get("created_at"))
    return Run(
        id=document["run_id"],
        name=document.get("display_name", ""),
        state=state,
        experiment_id=document.get("experiment_id", ""),
        created=created,
        scheduled=_time(document.get("scheduled_at")),
        finished=_time(document.get("finished_at")),
        message=(document.get("error") or {}).get("message", ""),
        tasks=tuple(_task(key, task, nodes, state in FINAL) for key, task in tasks.items()),
        age_s=max(0.0, told - created) if created else 0.0,
    )


def _state(document: dict[str, Any]) -> str:
    state: str = document.get("state", UNSPECIFIED)
    before = [entry.get("state") for entry in document.get("state_history") or [] if entry.get("state") != state]
    if state == "FAILED" and before[-1:] == ["CANCELING"]:
        return "CANCELED"
    return "PENDING" if state == UNSPECIFIED else state


def _task(key: str, task: dict[str, Any], nodes: dict[str, Any], over: bool) -> TaskState:
    node, driver = nodes.get(key) or {}, nodes.get(f"{key}-driver") or {}
    state = node.get("state", UNSPECIFIED)
    if state == UNSPECIFIED:  # no node, or one that Argo omitted
        failed = driver.get("state") == "FAILED"
        state = "FAILED" if failed else "SKIPPED" if over else "PENDING"
        node = driver if failed else node
    pods = [child.get("pod_name", "") for child in node.get("child_tasks") or []]
    return TaskState(
        key=key,
        name=(task.get("taskInfo") or {}).get("name") or key,
        state=state,
        started=_time(node.get("start_time")),
        finished=_time(node.get("end_time")),
        message=(node.get("error") or {}).get("message", ""),
        pods=tuple(filter(None, [node.get("pod_name", ""), *pods])),
    )


def _time(text: str | None) -> float | None:
    if not text:
        return None
    moment = datetime.datetime.fromisoformat(text)
    return moment.timestamp() if moment.year > 1970 else None
