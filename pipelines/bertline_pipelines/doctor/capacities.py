"""Checks whether the pods of a profile fit on a node and into the namespace's quota. For `bertline doctor`.

Pods are built as the scheduler would see them. A missing node is only a warning if the cluster has node pools: a pool
that has scaled to zero grows when a pod waits for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertline_pipelines.cluster import nodes, pods, scheduling
from bertline_pipelines.cluster.connections import Connection, ForbiddenError, Permission
from bertline_pipelines.cluster.nodes import Node, Quota
from bertline_pipelines.cluster.pods import Pod
from bertline_pipelines.doctor import findings
from bertline_pipelines.doctor.findings import Finding
from bertline_pipelines.places import profiles
from bertline_pipelines.places.profiles import Profile
from bertline_pipelines.stages import PACKAGES

POOLS = (
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/nodepool",
    "kubernetes.azure.com/agentpool",
)
"""Labels of nodes in a pool that can grow and shrink."""

Usage = Mapping[str, Mapping[str, float]]
"""Node → resource → amount that its pods have reserved."""


@dataclass(frozen=True)
class Demand:
    """The requests of stages with equal pods."""

    stages: tuple[str, ...]
    pod: Pod
    gpu: str | None
    """Resource name of its GPUs."""
    scratch: float | None
    """Bytes of the node's own disk that it may fill; None if it has a volume."""

    @property
    def who(self) -> str:
        """The stages, as the beginning of a message."""
        return ", ".join(self.stages)


def demands(profile: Profile) -> list[Demand]:
    """Each distinct pod of a profile once."""
    stages: dict[str, list[str]] = {}
    for stage in PACKAGES:
        pod = profile.pods.of(stage)
        same = pod.model_copy(update={"retries": 0, "timeout_hours": None, "variant": "cpu", "shared_memory": None})
        stages.setdefault(same.model_dump_json(), []).append(stage)
    return [_demand(tuple(found), profile.pods.of(found[0])) for found in stages.values()]


def on_nodes(profile: Profile, nodes: Sequence[Node], usage: Usage | None) -> Iterator[Finding]:
    """For each pod, check whether it fits on a node when that is empty, and whether it fits now.

    Args:
        profile: The profile of the pods.
        nodes: All nodes of the cluster.
        usage: What is reserved on them; None if we may not read it.
    """
    for demand in demands(profile):
        yield from _place(demand, nodes, usage)


def in_quota(profile: Profile, quotas: Sequence[Quota], limits: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Check that one pod of each stage fits into the namespace's quotas and limit ranges.

    Args:
        profile: The profile of the pods.
        quotas: The namespace's quotas.
        limits: The items of its LimitRanges.
    """
    fits = True
    for quota in quotas:
        resource = quota.resource.removeprefix("requests.").removeprefix("limits.")
        demand, amount = max(
            ((each, 1.0 if resource == "pods" else each.pod.requests.get(resource, 0.0)) for each in demands(profile)),
            key=lambda pair: pair[1],
        )
        asks = (
            f"{demand.who}: asks for {scheduling.show(resource, amount)}, but quota {quota.name} of the namespace has"
        )
        if amount > quota.hard:
            fits = False
            yield findings.failed(
                "quota",
                f"{asks} {scheduling.show(resource, quota.hard)} in total ({quota.resource}), so such a pod is refused",
                "ask for a larger quota, or request less in the profile",
            )
        elif amount and amount > quota.hard - quota.used:
            fits = False
            yield findings.warning(
                "quota",
                f"{asks} {scheduling.show(resource, max(0.0, quota.hard - quota.used))} left now ({quota.resource})",
                "its pods wait until other pods of the namespace end",
            )
    for sentence in _beyond(profile, limits):
        fits = False
        yield findings.failed("quota", sentence, "ask for another limit, or change the requests in the profile")
    if fits:
        yield findings.ok("quota", "every pod fits into the namespace's quota" if quotas else "the namespace has none")


def limit_ranges(connection: Connection, namespace: str) -> list[dict[str, Any]]:
    """The items of the namespace's LimitRanges; empty if we may not read them."""
    path, permission = f"/api/v1/namespaces/{namespace}/limitranges", Permission("list", "limitranges")
    try:
        found = connection.all(path, permission, namespace)
    except ForbiddenError:
        return []
    return [item for document in found for item in (document.get("spec") or {}).get("limits") or ()]


def classes(profile: Profile) -> list[str]:
    """The storage classes that the profile names."""
    return sorted({found for stage in PACKAGES if (found := profile.pods.of(stage).storage_class)})


def storage_classes(profile: Profile, connection: Connection) -> Iterator[Finding]:
    """Check that the profile's storage classes exist."""
    for name in classes(profile):
        path = f"/apis/storage.k8s.io/v1/storageclasses/{name}"
        permission = Permission("get", "storageclasses", "storage.k8s.io", namespaced=False)
        if connection.exists(path, permission, ""):
            yield findings.ok("storage class", name)
        else:
            yield findings.failed(
                "storage class",
                f"the cluster has no storage class {name}, so pods with a volume of this class wait for ever",
                "set `storage_class` in the profile to one of `kubectl get storageclass`",
            )


def _demand(stages: tuple[str, ...], wanted: profiles.Pod) -> Demand:
    requests = {"cpu": wanted.cpu, "memory": wanted.memory}
    if wanted.gpu:
        requests[wanted.gpu.resource] = str(wanted.gpu.count)
    scratch = None if wanted.storage_class else nodes.quantity(wanted.scratch)
    return Demand(stages, _pod(requests, wanted), wanted.gpu.resource if wanted.gpu else None, scratch)


def _pod(requests: Mapping[str, str], wanted: profiles.Pod) -> Pod:
    document = {
        "metadata": {"name": "doctor"},
        "spec": {
            "containers": [{"name": pods.MAIN, "resources": {"requests": requests}}],
            "nodeSelector": wanted.node_selector,
            "tolerations": [toleration.model_dump() for toleration in wanted.tolerations],
        },
    }
    return pods.pods([document])[0]


def _place(demand: Demand, nodes: Sequence[Node], usage: Usage | None) -> Iterator[Finding]:
    fit = [node for node in nodes if scheduling.find(demand.pod, [node], None, "") is None]
    if not fit:
        sentence = f"{demand.who}: {_obstacle(demand, nodes)}"
        if _may_grow(demand, nodes):
            remark = "this is normal for a node pool that has scaled to zero: it grows when a pod waits"
            yield findings.warning("nodes", f"{sentence}; {remark}")
        else:
            yield findings.failed("nodes", sentence)
        return
    if demand.scratch is not None:
        largest = max(fit, key=lambda node: node.allocatable.get("ephemeral-storage", 0.0))
        disk = largest.allocatable.get("ephemeral-storage", 0.0)
        if demand.scratch > disk:
            yield findings.warning(
                "nodes",
                f"{demand.who}: `scratch` is {_size(demand.scratch)}, and the largest disk of a node that fits "
                f"({largest.name}) has {_size(disk)}, so a pod that fills it is evicted",
                "lower `scratch`, or set `storage_class` for a volume",
            )
    if usage is not None and (now := scheduling.find(demand.pod, fit, usage, "")):
        yield findings.warning("nodes", f"{demand.who}: there are nodes for it, but now it {now}")
        return
    number = f"{len(fit)} of {len(nodes)} nodes" if len(fit) > 1 else f"node {fit[0].name}"
    yield findings.ok("nodes", f"{demand.who}: {number} can take it{_gpus(demand, fit, usage)}")


def _obstacle(demand: Demand, nodes: Sequence[Node]) -> str:
    """Why the pod fits on no node, with a remedy."""
    if not nodes:
        return "the cluster has no node"
    if not demand.gpu or any(node.capacity.get(demand.gpu, 0) > 0 for node in nodes):
        return str(scheduling.find(demand.pod, nodes, None, ""))
    alike = [node.name for node in nodes if _is_selected(demand.pod, node)]
    if alike:
        return (
            f"{', '.join(alike)} {'has' if len(alike) == 1 else 'have'} the labels of node_selector but no "
            f"{demand.gpu}: check the device plugin on this node (kind: `make kind-gpu`)"
        )
    remedy = "create a pool of such nodes (kind: `make kind-gpu`), or use a profile without a GPU"
    for label, value in demand.pod.selector.items():
        values = sorted({node.labels[label] for node in nodes if label in node.labels})
        if value not in values:
            there = f"; existing values: {', '.join(values)}" if values else ""
            return f"no node has {demand.gpu}, and no node has the label {label}={value}{there}: {remedy}"
    return f"no node has {demand.gpu}, and no node has all labels of node_selector: {remedy}"


def _may_grow(demand: Demand, nodes: Sequence[Node]) -> bool:
    """Whether a pool may add the right node: the cluster has pools, and no such node exists now."""
    requests = demand.pod.requests
    alike = [
        node
        for node in nodes
        if _is_selected(demand.pod, node)
        and (demand.pod.selector or all(node.allocatable.get(each, 0.0) >= requests[each] for each in requests))
    ]
    return not alike and any(label in node.labels for node in nodes for label in POOLS)


def _is_selected(pod: Pod, node: Node) -> bool:
    return all(node.labels.get(label) == value for label, value in pod.selector.items())


def _gpus(demand: Demand, fit: Sequence[Node], usage: Usage | None) -> str:
    if not demand.gpu:
        return ""
    total = sum(node.allocatable.get(demand.gpu, 0.0) for node in fit)
    if usage is None:
        return f"; the nodes have {total:g} {demand.gpu}; your account can't see how many are free"
    used = sum(usage.get(node.name, {}).get(demand.gpu, 0.0) for node in fit)
    return f"; {total - used:g} of {total:g} {demand.gpu} are free"


def _beyond(profile: Profile, limits: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A message for each request that a LimitRange refuses."""
    for demand in demands(profile):
        for limit in limits:
            if limit.get("type") not in ("Container", "Pod"):
                continue
            most, least = nodes.quantities(limit.get("max")), nodes.quantities(limit.get("min"))
            for resource, amount in demand.pod.requests.items():
                asks = f"{demand.who}: asks for {scheduling.show(resource, amount)}, but the namespace's limit range"
                if amount > most.get(resource, amount):
                    yield f"{asks} allows {scheduling.show(resource, most[resource])} at most"
                if amount < least.get(resource, amount):
                    yield f"{asks} requires {scheduling.show(resource, least[resource])} at least"


def _size(amount: float) -> str:
    return scheduling.show("ephemeral-storage", amount).removesuffix(" of ephemeral-storage")
