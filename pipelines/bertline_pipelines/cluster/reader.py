"""Reads pods, events, logs, nodes, quotas and permissions, for `status`, `logs` and `doctor`."""

import base64
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import urllib3

from bertline_pipelines.cluster import connections, failures, nodes, pending, pods, steps
from bertline_pipelines.cluster.connections import (
    ATTEMPTS,
    TIMEOUT_S,
    Connection,
    ForbiddenError,
    MissingError,
    Permission,
)
from bertline_pipelines.cluster.nodes import Node, Quota
from bertline_pipelines.cluster.pods import Event, Pod
from bertline_pipelines.cluster.reasons import Reason
from bertline_pipelines.cluster.steps import Workflow

T = TypeVar("T")

NEEDED = (
    Permission("list", "pods"),
    Permission("get", "pods"),
    Permission("get", "pods/log"),
    Permission("list", "events"),
    Permission("list", "workflows", "argoproj.io"),
)
"""Permissions that `status` and `logs` need."""

USEFUL = (
    Permission("list", "nodes", namespaced=False),
    Permission("list", "pods", namespaced=False),
    Permission("list", "resourcequotas"),
)
"""Permissions that make the reasons in `status` more precise."""


class Secret(dict[str, str]):
    """A secret's values; its repr doesn't show them."""

    def __repr__(self) -> str:
        return f"Secret({', '.join(sorted(self))})"

    __str__ = __repr__


def connect(
    context: str | None = None, *, attempts: int = ATTEMPTS, timeout_s: tuple[float, float] = TIMEOUT_S
) -> "Cluster":
    """Connect to the cluster of kubectl's context, or to this pod's own cluster, and check that it answers.

    Args:
        context: A context of the kubeconfig; None means the current one.
        attempts: A request is sent at most so often.
        timeout_s: Seconds to connect, and seconds without a byte.

    Raises:
        UserError: no kubeconfig, no such context, or the cluster doesn't accept the login.
        TransientError: the cluster doesn't answer.
    """
    connection = connections.log_in(context, attempts=attempts, timeout_s=timeout_s)
    try:
        version = connection.ask("/version", Permission("get", "/version", namespaced=False))
    except (ForbiddenError, MissingError):
        version = {}  # some clusters show it only to some accounts
    return Cluster(connection, str(version.get("gitVersion", "")))


class Cluster:
    """One cluster, as one account sees it. Use `connect`."""

    def __init__(self, connection: Connection, version: str) -> None:
        self.version = version
        """Version of Kubernetes, such as `v1.34.1`; empty if it isn't known."""
        self._connection = connection

    @property
    def host(self) -> str:
        """Address of its API."""
        return self._connection.host

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._connection.close()

    def pods(self, namespace: str, *, run_id: str | None = None, experiment: str | None = None) -> tuple[Pod, ...]:
        """The newest pod of each task of each run, oldest first; earlier ones count as its restarts.

        Args:
            namespace: The pods' namespace.
            run_id: Id of a KFP run; the result includes KFP's drivers, whose `task` is empty.
            experiment: The experiment's name in the pods' label; drivers don't have this label.
        """
        labels = {pods.RUN_ID: run_id, f"{pods.LABEL}experiment": experiment}
        selector = ",".join(f"{label}={value}" for label, value in labels.items() if value is not None)
        if not selector:
            raise ValueError("pods of which run or experiment?")
        path = f"/api/v1/namespaces/{namespace}/pods"
        return pods.pods(self._connection.all(path, Permission("list", "pods"), namespace, labelSelector=selector))

    def pod(self, namespace: str, name: str) -> Pod | None:
        """One pod, or None if there is none of that name."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        try:
            return pods.pods([self._connection.ask(path, Permission("get", "pods"), namespace)])[0]
        except MissingError:
            return None

    def events(self, namespace: str, pod: str | None = None) -> tuple[Event, ...]:
        """Events of the last hour about a pod, or about all pods of a namespace."""
        selector = "involvedObject.kind=Pod" + (f",involvedObject.name={pod}" if pod else "")
        path = f"/api/v1/namespaces/{namespace}/events"
        found = self._connection.all(path, Permission("list", "events"), namespace, fieldSelector=selector)
        return tuple(map(pods.event, found))

    def workflow(self, namespace: str, run_id: str) -> Workflow | None:
        """A run's workflow, with pods that couldn't be created or were deleted; None if there is no workflow.

        Raises:
            MissingError: the cluster doesn't have Argo.
        """
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows"
        permission = Permission("list", "workflows", "argoproj.io")
        try:
            found = self._connection.all(path, permission, namespace, labelSelector=f"{pods.RUN_ID}={run_id}")
        except MissingError as error:
            raise MissingError(
                "this cluster doesn't know Argo's workflows: install Kubeflow Pipelines first"
            ) from error
        newest = max(found, key=lambda each: str(each["metadata"].get("creationTimestamp", "")), default=None)
        return steps.workflow(newest) if newest else None

    def log(self, namespace: str, pod: str, query: Mapping[str, str], *, silence_s: float) -> urllib3.BaseHTTPResponse:
        """One connection to a log, for `pod_logs`."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        permission = Permission("get", "pods/log")
        return self._connection.send(path, permission, namespace, query, silence_s=silence_s)

    def explain(self, namespace: str, found: Iterable[Pod]) -> dict[str, Reason]:
        """Pod name → why it waits, failed or is lost. Sends only the requests that this needs."""
        reasons: dict[str, Reason] = {}
        waiting: list[Pod] = []
        for pod in found:
            if pod.state == "pending":
                waiting.append(pod)
            elif pod.state in ("failed", "lost", "deleted") or pod.unreachable:
                reasons[pod.name] = Reason(failures.why_failed(pod))
        if waiting:
            events = _if_allowed(lambda: self.events(namespace)) or ()
            homeless = [pod for pod in waiting if not pod.node]
            machines = _if_allowed(self.nodes) if homeless else ()
            usage = _if_allowed(self.usage) if homeless and machines else None
            for pod in waiting:
                reasons[pod.name] = pending.why_pending(pod, events, machines, usage)
        return reasons

    def permissions(self, namespace: str, wanted: Iterable[Permission] = NEEDED) -> tuple[Permission, ...]:
        """The permissions of `wanted` that the account doesn't have."""
        return tuple(each for each in wanted if not self._connection.may(each, namespace))

    def nodes(self) -> tuple[Node, ...]:
        """All nodes; raises ForbiddenError if we may not read them, as most users may not."""
        return tuple(
            map(nodes.node, self._connection.all("/api/v1/nodes", Permission("list", "nodes", namespaced=False)))
        )

    def usage(self) -> dict[str, dict[str, float]]:
        """Node → resource → amount that pods of all namespaces have reserved."""
        used: dict[str, dict[str, float]] = {}
        selector = "status.phase!=Succeeded,status.phase!=Failed"
        permission = Permission("list", "pods", namespaced=False)
        for document in self._connection.all("/api/v1/pods", permission, fieldSelector=selector):
            if node := document.get("spec", {}).get("nodeName"):
                mine = used.setdefault(node, {})
                for resource, amount in pods.requested(document).items():
                    mine[resource] = mine.get(resource, 0.0) + amount
        return used

    def quota(self, namespace: str) -> tuple[Quota, ...]:
        """The namespace's quotas and their use."""
        path = f"/api/v1/namespaces/{namespace}/resourcequotas"
        found = self._connection.all(path, Permission("list", "resourcequotas"), namespace)
        return tuple(quota for document in found for quota in nodes.quotas(document))

    def services(self, label: str) -> list[dict[str, Any]]:
        """Services of all namespaces with the label `name=value`."""
        return self._connection.all(
            "/api/v1/services", Permission("list", "services", namespaced=False), labelSelector=label
        )

    def namespace_exists(self, name: str) -> bool:
        """Whether there is such a namespace."""
        return self._connection.exists(f"/api/v1/namespaces/{name}", Permission("get", "namespaces"), name)

    def service_account_exists(self, namespace: str, name: str) -> bool:
        """Whether pods can run as that account."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        return self._connection.exists(path, Permission("get", "serviceaccounts"), namespace)

    def secret(self, namespace: str, name: str) -> Secret:
        """A secret's values.

        Raises:
            MissingError: there is no such secret.
            ForbiddenError: the account may not read it.
        """
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        try:
            document = self._connection.ask(path, Permission("get", "secrets"), namespace)
        except MissingError as error:
            raise MissingError(
                f"namespace {namespace} has no secret {name}: kubectl create secret generic {name} -n {namespace} …"
            ) from error
        return Secret({key: base64.b64decode(value).decode() for key, value in (document.get("data") or {}).items()})


def _if_allowed(look: Callable[[], T]) -> T | None:
    """The result; None if the account may not read it."""
    try:
        return look()
    except ForbiddenError:
        return None
