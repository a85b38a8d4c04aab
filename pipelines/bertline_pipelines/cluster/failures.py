"""Why a pod failed, as Kubernetes knows it: one sentence that ends with what to do.

KFP's launcher replaces every exit code by 1, so the exit code of our code is in the store's log of attempts. This
module is for failures that our code couldn't record because it was killed.
"""

import re

from bertline_pipelines.cluster.pods import Container, Pod
from bertline_pipelines.cluster.steps import Step

RESUMES = "a retry or `bertline submit` continues from the last checkpoint"
DISRUPTIONS = {
    "PreemptionByScheduler": "preempted: a pod of higher priority took its place",
    "PreemptionByKubeScheduler": "preempted: a pod of higher priority took its place",
    "DeletionByTaintManager": "its node {node} stopped answering or was taken out of service",
    "DeletionByPodGC": "its node {node} is gone (a spot machine that was taken back, or deleted)",
    "EvictionByEvictionAPI": "its node {node} was drained",
}
REASONS = {
    "Preempting": "preempted: node {node} needed the place for a system pod",
    "Shutdown": "its node {node} was shut down (a spot machine that was taken back?)",
    "Terminated": "its node {node} was shut down (a spot machine that was taken back?)",
    "NodeShutdown": "its node {node} was shutting down and refused it",
    "NodeLost": "its node {node} stopped answering",
    "NodeAffinity": "its node {node} no longer has the labels of the profile's node_selector",
    "UnexpectedAdmissionError": "node {node} couldn't give it what it had promised",
}


def why_failed(pod: Pod) -> str:
    """Why a pod failed.

    Args:
        pod: A pod that is failed, lost, deleted or unreachable.
    """
    main = pod.main
    if main and main.reason == "OOMKilled":
        return _out_of_memory(pod)
    if pod.reason == "Evicted":
        return _evicted(pod)
    if pod.reason == "DeadlineExceeded":
        limit = f" of {pod.deadline_s / 3600:g} h" if pod.deadline_s else ""
        return f"ran longer than its time-out{limit}: raise `timeout_hours` in the profile; {RESUMES}"
    disrupted = pod.condition("DisruptionTarget")
    if disrupted and disrupted.status == "True" and disrupted.reason in DISRUPTIONS:
        return f"{_at(DISRUPTIONS[disrupted.reason], pod)}; {RESUMES}"
    if pod.reason in REASONS:
        said = f" ({pod.message.strip().rstrip('.')})" if pod.reason == "UnexpectedAdmissionError" else ""
        return f"{_at(REASONS[pod.reason], pod)}{said}; {RESUMES}"
    if pod.reason.startswith("OutOf"):
        return f"node {pod.node or '?'} had no {pod.reason[5:]} left when it arrived; {RESUMES}"
    if pod.phase == "Unknown":
        return f"{_at('its node {node} stopped answering', pod)}; {RESUMES}"
    if pod.unreachable:
        return _at("its node {node} doesn't answer, so its state isn't known: kubectl describe node {node}", pod)
    if pod.phase != "Failed" and pod.deleted:
        return f"deleted while it ran; {RESUMES}"
    return _container(pod)


def why_step_failed(step: Step) -> str:
    """Why a step failed whose pod doesn't exist any more."""
    if step.message == "pod deleted":
        return f"its pod was deleted, by a user or with its node; {RESUMES}"
    if "Max duration limit exceeded" in step.message:
        return f"failed, and wasn't retried because the time for retries was over; {RESUMES}"
    if "No more retries left" in step.message:
        return "failed as often as the profile's `retries` allow: bertline logs RUN --task … shows why"
    if "exceeded" in step.message and "deadline" in step.message:
        return "ended with its run, which was cancelled"
    if ended := re.search(r"Error \(exit code (\d+)\)", step.message):
        return f"ended with exit code {ended[1]}: bertline logs RUN --task … shows why"
    return step.message or "Argo doesn't say why"


def _container(pod: Pod) -> str:
    """Why a container failed: the first of init containers, ours, and Argo's."""
    failed = [each for each in pod.containers if each.state == "terminated" and each.exit_code]
    failed.sort(key=lambda each: {"main": 1, "wait": 2}.get(each.name, 0))
    if not failed:
        waiting = next((each for each in pod.containers if each.state == "waiting" and each.message), None)
        said = waiting.message if waiting else pod.message
        return f"failed before it ran: {_first_line(said)}" if said else f"failed; kubectl describe pod {pod.name}"
    first = failed[0]
    if first.name == "main":
        return _ours(pod, first)
    if first.reason == "OOMKilled":
        return f"Argo's container {first.name} ran out of memory: raise its limit in workflow-controller-configmap"
    return f"Argo's container {first.name} failed with {first.exit_code}: {_first_line(first.message or first.reason)}"


def _ours(pod: Pod, main: Container) -> str:
    if main.reason == "ContainerStatusUnknown":
        return f"{_at('its node {node} lost track of it', pod)}; {RESUMES}"
    if main.reason in ("StartError", "ContainerCannotRun"):
        return f"couldn't start: {_first_line(main.message)}"
    if main.exit_code in (137, 143):
        signal = "SIGKILL" if main.exit_code == 137 else "SIGTERM"
        return (
            f"killed from outside ({signal}), not for its memory: the pod was deleted, or its node stopped; {RESUMES}"
        )
    said = _first_line(main.message)
    told = f" ({said})" if said and not re.fullmatch(r"Error \(exit code \d+\)", said) else ""
    return f"ended with exit code {main.exit_code}{told}: the last lines of its log say why"


def _out_of_memory(pod: Pod) -> str:
    limit = pod.limits.get("memory")
    of = f" of {limit / 2**30:.3g} GiB" if limit else ""
    smaller = {"pretrain": ", or a smaller batch", "evaluate": ", or a smaller batch"}.get(pod.stage, "")
    return f"killed for using more than its memory limit{of} (OOMKilled): raise `memory` in the profile{smaller}"


def _evicted(pod: Pod) -> str:
    message = pod.message
    if "ephemeral" in message or "EmptyDir" in message:
        return f"evicted for its use of the node's disk: raise `scratch` in the profile ({_first_line(message)})"
    if "memory" in message:
        return f"evicted because node {pod.node} ran out of memory: {RESUMES}, on another node if `memory` is raised"
    return f"evicted from node {pod.node}: {_first_line(message)}; {RESUMES}"


def _at(text: str, pod: Pod) -> str:
    return text.replace("{node}", pod.node or "?")


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0][:300].rstrip(".") if message.strip() else ""
