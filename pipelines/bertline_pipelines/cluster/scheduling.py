"""Why no node takes a pod: computed if we may read the nodes, else from the scheduler's message.

Each reason says what to do.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bertline.plurals import counted
from bertline_pipelines.cluster.nodes import Node, Taint
from bertline_pipelines.cluster.pods import Pod
from bertline_pipelines.cluster.reasons import Reason

CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
CORDON = "node.kubernetes.io/unschedulable"
NOT_READY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
FIELDS = {"cpu": "cpu", "memory": "memory", "ephemeral-storage": "scratch"}


class Kind(enum.IntEnum):
    """An obstacle on a node; a higher one goes away sooner."""

    SELECTOR = 1
    TAINT = 2
    SMALL = 3
    NOT_READY = 4
    CORDONED = 5
    FULL = 6


@dataclass(frozen=True)
class Case:
    """A pod and the nodes with the same obstacle for it."""

    pod: Pod
    fit: Sequence[Node]
    gpu: str | None
    """The GPU resource that it requests."""
    usage: Mapping[str, Mapping[str, float]] | None

    @property
    def requests(self) -> list[tuple[str, float]]:
        """The pod's requests, the scarcest resource first."""
        return sorted(self.pod.requests.items(), key=lambda request: request[0] != self.gpu)

    @property
    def who(self) -> str:
        """The nodes, as the beginning of a message."""
        return _names(self.fit) + (f" with {self.gpu}" if self.gpu else "")

    @property
    def are(self) -> str:
        """The verb after `who`."""
        return "is" if len(self.fit) == 1 else "are"

    def total(self, resource: str) -> float:
        """The resource's allocatable amount on all nodes."""
        return sum(node.allocatable.get(resource, 0.0) for node in self.fit)

    def free(self, node: Node, resource: str) -> float:
        """The resource's free amount on a node."""
        return node.allocatable.get(resource, 0.0) - (self.usage or {}).get(node.name, {}).get(resource, 0.0)


def find(
    pod: Pod, nodes: Sequence[Node], usage: Mapping[str, Mapping[str, float]] | None, message: str
) -> Reason | None:
    """The smallest obstacle among the nodes that could run the pod; None if we find none.

    Args:
        pod: A pod that no node takes.
        nodes: All nodes.
        usage: Node → resource → reserved amount; None if it isn't known.
        message: The scheduler's message.
    """
    gpu = next((resource for resource, amount in pod.requests.items() if "/" in resource and amount > 0), None)
    if gpu:
        fit = [node for node in nodes if node.capacity.get(gpu, 0) > 0]
        if not fit:
            return Reason(
                f"no node has {gpu}, and no autoscaler is adding one: create a GPU node pool with a device plugin "
                "(on kind: `make kind-gpu`), or use a profile without a GPU",
                f"0 of {counted(len(nodes), 'node')}",
            )
    else:
        workers = [node for node in nodes if not any(taint.key in CONTROL_PLANE for taint in node.taints)]
        fit = workers or list(nodes)
    short = set(re.findall(r"Insufficient ([\w./-]+?)(?=[,.]?(?:\s|$))", message))
    found: dict[Kind, list[Node]] = {}
    for node in fit:
        kind = _kind(pod, node, (usage or {}).get(node.name, {}) if usage is not None else None, short)
        if kind is None:
            return None
        found.setdefault(kind, []).append(node)
    kinds = sorted(found, reverse=True)
    case = Case(pod, found[kinds[0]], gpu, usage)
    first = _full(case) if kinds[0] == Kind.FULL else Reason(_SENTENCES[kinds[0]](case))
    asides = "".join(f"; {_aside(kind, found[kind])}" for kind in kinds[1:] if kind >= Kind.NOT_READY)
    return Reason(first.cause + asides, first.amounts)


def from_message(message: str) -> str:
    """The scheduler's message in plain words, with a remedy for its first obstacle."""
    match = re.match(r"0/(\d+) nodes are available: (.*?)(?:,? no new claims to deallocate|\.? preemption:|$)", message)
    if not match:
        if "no nodes available" in message:
            return "the cluster has no node to run it: kubectl get nodes"
        return f"the scheduler says: {message.strip()}"
    clauses, advice = [], ""
    for part in re.split(r", (?=\d+ )", match[2].strip().rstrip(".,")):
        for pattern, words, do in _WORDS:
            if known := re.match(pattern, part):
                clauses.append(known.expand(words).strip())
                advice = advice or do
                break
        else:
            clauses.append(part)
    return f"none of {counted(int(match[1]), 'node')} fits: {', '.join(clauses)}" + (f"; {advice}" if advice else "")


_WORDS = (
    (r"(\d+) Insufficient (\S+/\S+)", r"\1 without a free \2", "it starts when another pod ends"),
    (
        r"(\d+) Insufficient (\S+)",
        r"\1 without enough free \2",
        "it starts when other pods end, or request less in the profile",
    ),
    (
        r"(\d+) node\(s\) had (?:untolerated )?taint \{([^}:]+): ?([^}]*)\}.*",
        r"\1 with the taint \2=\3",
        "add a toleration to the profile if it should run there",
    ),
    (r"(\d+) node\(s\) had untolerated taint\(s\)", r"\1 with a taint", "add a toleration to the profile"),
    (
        r"(\d+) node\(s\) didn't match (?:Pod's )?node (?:affinity/selector|selector|affinity)",
        r"\1 without the labels of node_selector",
        "compare the profile's node_selector with kubectl get nodes --show-labels",
    ),
    (r"(\d+) node\(s\) were unschedulable", r"\1 cordoned", "kubectl uncordon NODE lets pods on it again"),
    (r"(\d+) Too many pods", r"\1 with no place for another pod", "it starts when other pods end"),
)


def _kind(pod: Pod, node: Node, used: Mapping[str, float] | None, short: set[str]) -> Kind | None:
    """The obstacle on one node; None if the pod fits."""
    if any(node.labels.get(label) != value for label, value in pod.selector.items()):
        return Kind.SELECTOR
    if _untolerated(pod, node):
        return Kind.TAINT
    if any(amount > node.allocatable.get(resource, 0.0) for resource, amount in pod.requests.items()):
        return Kind.SMALL
    if not node.ready:
        return Kind.NOT_READY
    if node.unschedulable:
        return Kind.CORDONED
    free = {each: node.allocatable.get(each, 0.0) - (used or {}).get(each, 0.0) for each in pod.requests}
    if any(pod.requests[each] > free[each] for each in pod.requests) or (used is None and short & set(pod.requests)):
        return Kind.FULL
    return None


def _untolerated(pod: Pod, node: Node) -> list[Taint]:
    return [
        taint
        for taint in node.taints
        if taint.effect in ("NoSchedule", "NoExecute")
        and taint.key not in (CORDON, *NOT_READY)
        and not any(toleration.tolerates(taint) for toleration in pod.tolerations)
    ]


def _aside(kind: Kind, nodes: Sequence[Node]) -> str:
    words = {Kind.NOT_READY: "not ready", Kind.CORDONED: "cordoned", Kind.FULL: "full"}
    return f"{_names(nodes)} {'is' if len(nodes) == 1 else 'are'} {words[kind]}"


def _selector(case: Case) -> str:
    where = f"node with {case.gpu}" if case.gpu else "node"
    for label, value in case.pod.selector.items():
        values = sorted({node.labels[label] for node in case.fit if label in node.labels})
        if not values:
            return (
                f"no {where} has the label {label}, but the profile's node_selector requires {label}={value}: "
                f"kubectl label node {case.fit[0].name} {label}={value}, or change the profile"
            )
        if value not in values:
            return (
                f"no {where} has {label}={value}, which the profile's node_selector requires; "
                f"there is {label}={', '.join(values)}"
            )
    asked = ", ".join(f"{label}={value}" for label, value in case.pod.selector.items())
    return f"no {where} has all of {asked}: change the profile's node_selector"


def _taint(case: Case) -> str:
    taints = sorted({str(taint) for node in case.fit for taint in _untolerated(case.pod, node)})
    has = f"{case.who} {'has' if len(case.fit) == 1 else 'have'} the taint {', '.join(taints)}, which"
    if case.pod.is_driver:
        return f"{has} Kubeflow's own pods don't tolerate, whatever the profile says: they need a node without it"
    return f"{has} the pod doesn't tolerate: add it to `tolerations` in the profile"


def _small(case: Case) -> str:
    for resource, amount in case.requests:
        largest = max(case.fit, key=lambda node: node.allocatable.get(resource, 0.0))
        most = largest.allocatable.get(resource, 0.0)
        if amount <= most:
            continue
        if resource == case.gpu and not most:
            return f"{case.who} has none that works: check the pods of its device plugin, kubectl get pods -A -o wide"
        field = "gpu.count" if resource == case.gpu else FIELDS.get(resource, resource)
        return (
            f"asks for {show(resource, amount)}, but the largest node ({largest.name}) has {show(resource, most)} in "
            f"all: lower `{field}` in the profile, or add a larger node"
        )
    return f"no node has enough of every resource: lower the requests in the profile (closest: {case.who})"


def _not_ready(case: Case) -> str:
    return f"{case.who} {case.are} not ready: kubectl describe node {case.fit[0].name}"


def _cordoned(case: Case) -> str:
    return f"{case.who} {case.are} cordoned: kubectl uncordon {case.fit[0].name}"


def _full(case: Case) -> Reason:
    where = _names(case.fit)
    if case.usage is None:
        what = f"a free {case.gpu}" if case.gpu else "room"
        amounts = f"there are {case.total(case.gpu):g} in all" if case.gpu else ""
        return Reason(f"waits for {what} on {where}; it starts when another pod ends", amounts)
    for resource, amount in case.requests:
        best = max(case.fit, key=lambda node: case.free(node, resource))
        if amount <= case.free(best, resource):
            continue
        if resource == case.gpu:
            used = case.total(resource) - sum(case.free(node, resource) for node in case.fit)
            return Reason(
                f"waits for a free {resource} on {where}; it starts when another pod ends",
                f"{used:g} of {case.total(resource):g} are in use",
            )
        less = "" if case.pod.is_driver else f", or lower `{FIELDS.get(resource, resource)}` in the profile"
        return Reason(
            f"waits for {show(resource, amount)} on {where}; it starts when other pods end{less}",
            f"at most {show(resource, case.free(best, resource))} are free, on {best.name}, of "
            f"{show(resource, best.allocatable.get(resource, 0.0))}",
        )
    return Reason(f"waits for room on {where}: it starts when other pods end")


_SENTENCES = {
    Kind.SELECTOR: _selector,
    Kind.TAINT: _taint,
    Kind.SMALL: _small,
    Kind.NOT_READY: _not_ready,
    Kind.CORDONED: _cordoned,
}


def show(resource: str, amount: float) -> str:
    """An amount with a readable unit."""
    if resource in ("memory", "ephemeral-storage"):
        for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
            if abs(amount) >= size:
                return f"{amount / size:.3g} {unit} of {resource}"
        return f"{amount:.0f} bytes of {resource}"
    return f"{amount:.4g} {resource}"


def _names(nodes: Sequence[Node]) -> str:
    if len(nodes) > 3:
        return f"{len(nodes)} nodes"
    return f"node{'s' if len(nodes) > 1 else ''} {', '.join(node.name for node in nodes)}"
