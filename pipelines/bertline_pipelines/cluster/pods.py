"""Pods and their events, from Kubernetes' JSON."""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bertline_pipelines.cluster.nodes import Condition, Taint, conditions, order, quantities, time
from bertline_pipelines.cluster.steps import kfp_task

MAIN = "main"  # Argo's name of the container that runs our code
RUN_ID = "pipeline/runid"
WORKFLOW = "workflows.argoproj.io/workflow"
NODE_NAME = "workflows.argoproj.io/node-name"
NODE_ID = "workflows.argoproj.io/node-id"
LABEL = "bertline.dev/"

LOST = ("DeletionByTaintManager", "DeletionByPodGC")


@dataclass(frozen=True)
class Container:
    """A container of a pod and its state."""

    name: str
    image: str
    state: str
    """waiting, running or terminated."""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    started: datetime.datetime | None = None
    finished: datetime.datetime | None = None
    restarts: int = 0


@dataclass(frozen=True)
class Toleration:
    """A toleration of a pod; an empty key or effect means any."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether a taint is tolerated, by Kubernetes' rule."""
        return (
            self.effect in ("", taint.effect)
            and (self.key == taint.key or (not self.key and self.operator == "Exists"))
            and (self.operator == "Exists" or self.value == taint.value)
        )


@dataclass(frozen=True)
class Pod:
    """A pod of a run: of one of our tasks, or one of KFP's drivers."""

    name: str
    namespace: str
    uid: str
    phase: str
    reason: str
    message: str
    run_id: str
    workflow: str
    experiment: str
    task: str
    """Our label of the task; empty for KFP's drivers."""
    stage: str
    kfp_task: str
    """Its name in the compiled pipeline; empty for the driver of the whole run."""
    step_id: str
    """Argo's id of the step: `Step.id`."""
    node: str
    created: datetime.datetime | None
    started: datetime.datetime | None
    deleted: datetime.datetime | None
    """When its deletion was requested."""
    restarts: int
    """Earlier attempts: pods of the same task and run, and restarts of the main container."""
    containers: tuple[Container, ...]
    """All containers, init containers first."""
    conditions: tuple[Condition, ...]
    requests: Mapping[str, float]
    """Resource → what the scheduler counts, in bytes or cores."""
    limits: Mapping[str, float]
    """Limits of the main container."""
    selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]
    deadline_s: int | None

    @property
    def is_driver(self) -> bool:
        """True for KFP's driver pod, which runs before a task or the whole run and has no label of ours."""
        return bool(self.run_id) and not self.task

    @property
    def main(self) -> Container | None:
        """The container that runs our code; None before the node has taken the pod."""
        return next((container for container in self.containers if container.name == MAIN), None)

    @property
    def state(self) -> str:
        """pending, running, succeeded, failed, lost (its node is gone) or deleted (being deleted)."""
        disrupted = self.condition("DisruptionTarget")
        if self.phase in ("Succeeded", "Failed"):
            return self.phase.lower()
        if self.phase == "Unknown" or self.reason == "NodeLost" or (disrupted and disrupted.reason in LOST):
            return "lost"
        return "deleted" if self.deleted else self.phase.lower()

    @property
    def unreachable(self) -> bool:
        """True if its last known state is running, but its node doesn't answer."""
        ready, containers = self.condition("Ready"), self.condition("ContainersReady")
        answers = not (ready and containers) or ready.status == "True" or containers.status != "True"
        return self.state == "running" and not answers

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, if the pod has it."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


@dataclass(frozen=True)
class Event:
    """An event about a pod; Kubernetes usually keeps events for an hour."""

    pod: str
    reason: str
    message: str
    last: datetime.datetime | None


def pods(documents: Iterable[Mapping[str, Any]]) -> tuple[Pod, ...]:
    """The newest pod of each task and run, oldest first; earlier pods count as its restarts."""
    groups: dict[tuple[str, str], list[Pod]] = {}
    for pod in map(_pod, documents):
        groups.setdefault((pod.run_id, pod.task or pod.name), []).append(pod)
    newest = []
    for group in groups.values():
        last = max(group, key=lambda pod: (order(pod.created), pod.name))
        newest.append(last if len(group) == 1 else _restarted(last, len(group) - 1))
    return tuple(sorted(newest, key=lambda pod: (order(pod.created), pod.name)))


def event(document: Mapping[str, Any]) -> Event:
    """From core/v1 Event. The scheduler and the kubelet use different fields for the time."""
    last = (
        (document.get("series") or {}).get("lastObservedTime")
        or document.get("lastTimestamp")
        or document.get("eventTime")
        or document.get("metadata", {}).get("creationTimestamp")
    )
    pod = document.get("involvedObject", {}).get("name", "")
    return Event(pod, document.get("reason") or "", document.get("message") or "", time(last))


def requested(document: Mapping[str, Any]) -> dict[str, float]:
    """What a pod takes from its node: the sum of its containers, or the largest init container if that is more."""
    spec = document.get("spec") or {}
    total: dict[str, float] = {}
    for container in spec.get("containers") or ():
        for resource, amount in quantities((container.get("resources") or {}).get("requests")).items():
            total[resource] = total.get(resource, 0.0) + amount
    for container in spec.get("initContainers") or ():
        for resource, amount in quantities((container.get("resources") or {}).get("requests")).items():
            total[resource] = max(total.get(resource, 0.0), amount)
    return total


def _pod(document: Mapping[str, Any]) -> Pod:
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    images = {each["name"]: each.get("image", "") for each in spec.get("containers") or ()}
    main: Mapping[str, Any] = next((each for each in spec.get("containers") or () if each["name"] == MAIN), {})
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    containers = tuple(_container(each, images) for each in states)
    return Pod(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        phase=status.get("phase") or "Pending",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        run_id=labels.get(RUN_ID, ""),
        workflow=labels.get(WORKFLOW, ""),
        experiment=labels.get(f"{LABEL}experiment", ""),
        task=labels.get(f"{LABEL}task", ""),
        stage=labels.get(f"{LABEL}stage", ""),
        kfp_task=kfp_task(annotations.get(NODE_NAME, ""), labels.get(WORKFLOW, "")),
        step_id=annotations.get(NODE_ID, ""),
        node=spec.get("nodeName") or "",
        created=time(metadata.get("creationTimestamp")),
        started=time(status.get("startTime")),
        deleted=time(metadata.get("deletionTimestamp")),
        restarts=sum(each.restarts for each in containers if each.name == MAIN),
        containers=containers,
        conditions=conditions(status),
        requests=requested(document),
        limits=quantities((main.get("resources") or {}).get("limits")),
        selector=spec.get("nodeSelector") or {},
        tolerations=tuple(
            Toleration(
                each.get("key") or "",
                each.get("operator") or "Equal",
                each.get("value") or "",
                each.get("effect") or "",
            )
            for each in spec.get("tolerations") or ()
        ),
        deadline_s=spec.get("activeDeadlineSeconds"),
    )


def _container(status: Mapping[str, Any], images: Mapping[str, str]) -> Container:
    state = status.get("state") or {}
    kind = next((each for each in ("terminated", "running", "waiting") if each in state), "waiting")
    details = state.get(kind) or {}
    return Container(
        name=status["name"],
        image=images.get(status["name"]) or status.get("image") or "",
        state=kind,
        reason=details.get("reason") or "",
        message=details.get("message") or "",
        exit_code=details.get("exitCode"),
        started=time(details.get("startedAt")),
        finished=time(details.get("finishedAt")),
        restarts=status.get("restartCount") or 0,
    )


def _restarted(pod: Pod, before: int) -> Pod:
    return dataclasses.replace(pod, restarts=pod.restarts + before)
