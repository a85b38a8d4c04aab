"""A run from the JSON of Kubeflow's API.

The 2.16 server differs from its documentation:

- A time in the future is 1970 or the year 1.
- A terminated run ends as FAILED. Its history seldom contains CANCELING; Argo's workflow shows the termination.
- `task_details` are the nodes of the Argo workflow: each task has one of its own name, one for its driver and one for
  its pod. The whole graph has two, and a task that hasn't started has none. A task's node is RUNNING as soon as its pod
  is requested; only Kubernetes knows whether the pod waits for a GPU, and why it failed.
"""

import datetime
from dataclasses import dataclass, field
from typing import Any

FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
"""Final states of a run. CANCELING isn't one of them."""

UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED"


@dataclass(frozen=True)
class TaskState:
    """One task of a run."""

    key: str
    """Its name in the compiled document: `pretrain-2`."""
    name: str
    """Its name in the plan: `6L-pretrain-10`."""
    state: str
    """One of KFP's states: PENDING before it starts, SKIPPED if it never starts, FAILED also if it was cancelled."""
    started: float | None = None
    """Seconds since the epoch."""
    finished: float | None = None
    message: str = ""
    """KFP's message about a failure; rarely present."""
    pods: tuple[str, ...] = ()
    """KFP's names of its pods; only Kubernetes knows their real names."""


@dataclass(frozen=True)
class Run:
    """One run."""

    id: str
    name: str
    state: str
    """One of KFP's states; CANCELED also if KFP calls a cancelled run FAILED."""
    experiment_id: str
    created: float | None = None
    """Seconds since the epoch."""
    scheduled: float | None = None
    finished: float | None = None
    message: str = ""
    tasks: tuple[TaskState, ...] = ()
    """All tasks of the submitted document, in no particular order."""
    age_s: float = field(default=0.0, compare=False)
    """Seconds from its creation to this answer, by the server's clock."""

    @property
    def final(self) -> bool:
        """True if the state can't change any more."""
        return self.state in FINAL


def read(document: dict[str, Any], told: float = 0.0) -> Run:
    """A run from its JSON.

    Args:
        document: The server's answer.
        told: Time of the answer by the server's clock, in seconds since the epoch.
    """
    state = _state(document)
    spec = document.get("pipeline_spec") or {}
    spec = spec.get("pipeline_spec") or spec  # next to a platform_spec, if there is one
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
    if state == UNSPECIFIED:  # no node, or a node that Argo omitted
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
