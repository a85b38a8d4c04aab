"""Why a pod doesn't run yet, in one sentence that ends with what to do.

The scheduler's message names only the first obstacle of each node, and lists the control plane beside the GPU pool. So
we also read the nodes, if we may. Among the nodes that could run the pod, we report the smallest obstacle, because it
is the next one to remove.
"""

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence

from bertline_pipelines.cluster import scheduling
from bertline_pipelines.cluster.nodes import Node
from bertline_pipelines.cluster.pods import MAIN, Container, Event, Pod
from bertline_pipelines.cluster.reasons import Reason
from bertline_pipelines.cluster.steps import Step

BLIND = " (your account may not list nodes, so this is incomplete)"
SCALING_S = 20 * 60  # an older event of an autoscaler doesn't count

Usage = Mapping[str, Mapping[str, float]]
"""Node → resource → amount that its pods have reserved."""


def why_pending(
    pod: Pod,
    events: Iterable[Event] = (),
    nodes: Sequence[Node] | None = None,
    usage: Usage | None = None,
    now: datetime.datetime | None = None,
) -> Reason:
    """Why a pod waits.

    Args:
        pod: A pod in phase Pending.
        events: Events of the namespace or of the pod.
        nodes: All nodes; None if we may not read them.
        usage: What is reserved on them; None if we may not read it.
        now: The time for computing ages; None means the current time.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    mine = sorted((event for event in events if event.pod == pod.name and event.last), key=_last)
    scheduled = pod.condition("PodScheduled")
    for container in pod.containers:
        if container.state == "waiting" and (sentence := _container(pod, container, mine)):
            return Reason(sentence)
    if pod.node or (scheduled and scheduled.status == "True"):
        since = scheduled.since if scheduled else pod.started
        return _starting(pod, mine, _age(since or pod.created, now))
    if scheduled and scheduled.reason == "SchedulingGated":
        return Reason("held by a scheduling gate until a queue such as Kueue admits it: see `kubectl get workloads`")
    failed = [event.message for event in mine if event.reason == "FailedScheduling"]
    message = (scheduled.message if scheduled else "") or (failed[-1] if failed else "")
    if not message:
        return Reason("the scheduler hasn't handled it yet", f"created {_age(pod.created, now)} ago")
    if scaling := _scaling(mine, now):
        return scaling
    found = (scheduling.find(pod, nodes, usage, message) if nodes else None) or Reason(scheduling.from_message(message))
    return Reason(found.cause + (BLIND if nodes is None else "") + _no_scaling(mine), found.amounts)


def why_held(step: Step) -> Reason:
    """Why a step is Pending in Argo, from its message, usually about a quota."""
    message = step.message
    if match := re.search(
        r"exceeded quota: ([^,]+), requested: (\S+), used: (\S+), limited: (\S+?)(?:\"|$|\s)", message
    ):
        quota, requested, used, limited = match.groups()
        return Reason(
            f"quota {quota} is full: the pod asks for {requested}; it starts when other pods end, or ask for more: "
            f"kubectl describe quota {quota}",
            f"{used} is used of {limited}",
        )
    if match := re.search(r"failed quota: ([^:]+): must specify ([^\"]+)", message):
        return Reason(f"quota {match[1]} requires {match[2].strip()} of every pod; set them in the profile's pods")
    if match := re.search(r"error looking up service account (\S+)/(\S+?):", message):
        return Reason(
            f"there is no service account {match[2]} in namespace {match[1]}: kubectl apply -k manifests/overlays/…, "
            "or name another one in the profile (kubeflow.service_account)"
        )
    if message.startswith("Unschedulable: "):
        return Reason(scheduling.from_message(message.removeprefix("Unschedulable: ")))
    if message in ("PodInitializing", "ContainerCreating"):
        return Reason("its pod is being started")
    return Reason(message or "Argo hasn't created its pod yet")


def _container(pod: Pod, container: Container, events: Sequence[Event]) -> str:
    """What keeps a container from starting; empty if nothing is wrong with it."""
    reason = container.reason
    if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"):
        return _image(container, events)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return _missing(pod, container.message) or f"can't start {container.name}: {_first_line(container.message)}"
    if reason == "CrashLoopBackOff":
        return f"{container.name} fails repeatedly: kubectl logs {pod.name} -c {container.name} -n {pod.namespace}"
    return ""


def _image(container: Container, events: Sequence[Event]) -> str:
    """Why an image can't be pulled. The kubelet's first message says more than its back-off message."""
    image, reason = container.image, container.reason
    told = " ".join([container.message, *(event.message for event in events if image and image in event.message)])
    ours = container.name == MAIN
    load = "`bertline images load` (kind, minikube) or `bertline images push`"
    if reason == "InvalidImageName":
        return f"{image!r} isn't the name of an image: see `images.registry` in the profile"
    if reason == "ErrImageNeverPull":
        what = f"image {image} isn't on the node, and the profile's pull policy is Never"
        return f"{what}: {load}" if ours else what
    if re.search(r"toomanyrequests|\b429\b", told):
        return f"can't pull {image}: the registry limits the rate of pulls; wait, or use your own registry"
    if re.search(r"no such host|i/o timeout|connection refused|x509|dial tcp|TLS handshake", told):
        cause = re.search(r"(no such host|i/o timeout|connection refused|x509[^\"]*|TLS handshake \w+)", told)
        return (
            f"can't pull {image}: the node can't reach the registry ({cause[1].strip() if cause else 'network'}); "
            f"check `images.registry` in the profile{f', or {load}' if ours else ''}"
        )
    if re.search(r"unauthorized|\b401\b|403 Forbidden|denied: ", told, re.IGNORECASE):
        return f"can't pull {image}: the registry refuses; give the profile a pull secret (images.pull_secrets)"
    if re.search(r"not found|manifest unknown|does not exist", told):
        # Docker Hub answers the same for a private repository and a missing one.
        private = ", or a pull secret if it is private" if "pull access denied" in told else ""
        if ours:
            return f"can't pull {image}: the registry doesn't have it; {load}{private}"
        return f"can't pull {image}, which {container.name} needs: the registry doesn't have it{private}"
    return f"can't pull {image}: {_first_line(container.message)}; {load}"


def _missing(pod: Pod, message: str) -> str:
    """A message about the secret or config map that is missing; empty if none is."""
    if match := re.search(r"(secret|configmap)s? \"([^\"]+)\" not found", message):
        kind = "generic " if match[1] == "secret" else ""
        return (
            f"needs the {match[1]} {match[2]}, which namespace {pod.namespace} doesn't have: "
            f"kubectl create {match[1]} {kind}{match[2]} -n {pod.namespace} …"
        )
    if match := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+?)/(\S+)", message):
        kind = match[2].lower()
        return (
            f"needs the key {match[1]} of {kind} {match[4]}, which has none of that name: "
            f"kubectl describe {kind} {match[4]} -n {match[3]}"
        )
    return ""


def _starting(pod: Pod, events: Sequence[Event], age: str) -> Reason:
    """Why a pod on a node doesn't run yet: usually its image is being pulled."""
    for event in reversed(events):
        if event.reason in ("FailedMount", "FailedAttachVolume"):
            what = f"can't mount a volume on {pod.node}: {_first_line(event.message)}"
            return Reason(_missing(pod, event.message) or what)
        if event.reason == "FailedCreatePodSandBox":
            # The event's message has a new identifier each time.
            return Reason(f"node {pod.node} can't set up its network", _first_line(event.message))
        if event.reason == "Pulling":
            image = re.search(r"\"([^\"]+)\"", event.message)
            return Reason(f"node {pod.node} pulls {image[1] if image else 'its image'}", f"for {age} so far")
        if event.reason in ("Pulled", "Created", "Started"):
            break
    return Reason(f"starting on node {pod.node or '?'}", f"for {age}")


def _scaling(events: Sequence[Event], now: datetime.datetime) -> Reason | None:
    """What an autoscaler is doing; None if there is none or it has given up."""
    for event in reversed(events):
        if event.reason in ("NotTriggerScaleUp", "FailedScaleUp"):
            return None
        recent = event.last is not None and (now - event.last).total_seconds() < SCALING_S
        if event.reason in ("TriggeredScaleUp", "Nominated") and recent:
            pool = re.search(r"([\w.-]+) (\d+)->(\d+) \(max: (\d+)\)", event.message)
            what = f"node pool {pool[1]} grows from {pool[2]} to {pool[3]}" if pool else "one is being added"
            return Reason("waits for a new node, which takes minutes", f"{what}, begun {_age(event.last, now)} ago")
    return None


def _no_scaling(events: Sequence[Event]) -> str:
    for event in reversed(events):
        if event.reason == "NotTriggerScaleUp":
            why = event.message.split(": ", 1)[-1].strip() if ": " in event.message else "no node pool would fit"
            return f"; the autoscaler can't help: {why}"
        if event.reason == "FailedScaleUp":
            return f"; the autoscaler failed to add a node: {_first_line(event.message)}"
    return ""


def _last(event: Event) -> float:
    return event.last.timestamp() if event.last else 0.0


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0][:300] if message.strip() else "no message"


def _age(since: datetime.datetime | None, now: datetime.datetime) -> str:
    seconds = max(0.0, (now - since).total_seconds()) if since else 0.0
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
