"""Checks a compiled document for what KFP 2.16.1 misreads: one rule for each problem, a sentence for each finding.

The rules read the document as the backend does. `problems` runs all of them.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

# An Argo Workflow has to stay below 1.5 MiB with the status of every pod in it, and a task is two pods: KFP's users
# exceeded it with 56 tasks with retries (kubeflow/pipelines#13738).
MAX_TASKS = 40
MAX_BYTES = 500_000
MAX_PARAMETER_BYTES = 32_000  # it becomes a process argument (128 KiB at most) after several escapes
MIN_RETRY_DEADLINE_S = 7 * 24 * 3600  # counted from the first attempt's start: longer than any round
PLACEHOLDER = re.compile(r"\{\{")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
IMAGE = re.compile(r"[^\s:@]+(:\d+/[^\s:@]+)?(:(?P<tag>[\w][\w.-]{0,127})|@sha256:[0-9a-f]{64})")
CONTENT_TAG = re.compile(r"([a-z]+-)?[0-9a-f]{12,64}")
DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|ACCESS_KEY", re.IGNORECASE)
REQUIRED_LABELS = ("app.kubernetes.io/part-of", "bertline.dev/experiment", "bertline.dev/task", "bertline.dev/stage")

Tree = dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    """A pipeline spec and a platform spec, with their parts by name."""

    pipeline: Tree
    platform: Tree

    @property
    def tasks(self) -> Tree:
        """Tasks of the root DAG."""
        return dict(self.pipeline["root"]["dag"]["tasks"])

    @property
    def containers(self) -> Tree:
        """Executor's name → its container."""
        executors = self.pipeline["deploymentSpec"]["executors"]
        return {name: executor["container"] for name, executor in executors.items() if "container" in executor}

    @property
    def pods(self) -> Tree:
        """Executor's name → its Kubernetes settings."""
        platforms = self.platform.get("platforms", {})
        return dict(platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {}))

    def executor(self, task: str) -> str:
        """Name of a task's executor."""
        return str(self.pipeline["components"][self.tasks[task]["componentRef"]["name"]].get("executorLabel", ""))

    def has_gpu(self, task: str) -> bool:
        """True if the task's container asks for an accelerator."""
        return "accelerator" in self.containers.get(self.executor(task), {}).get("resources", {})


def problems(pipeline: Tree, platform: Tree) -> list[str]:
    """A sentence for each thing that KFP or Kubernetes would refuse or misread."""
    compiled = Compiled(pipeline, platform)
    if unreadable := list(readable(compiled)):
        return unreadable
    return [problem for rule in RULES for problem in rule(compiled)]


def readable(compiled: Compiled) -> Iterator[str]:
    """The backend parses both documents with these messages; it drops or refuses unknown keys."""
    try:
        json_format.ParseDict(compiled.pipeline, pipeline_spec_pb2.PipelineSpec())  # type: ignore[attr-defined]
    except json_format.ParseError as error:
        yield f"the pipeline spec can't be parsed: {error}"
    for name, pod in compiled.pods.items():
        try:
            json_format.ParseDict(pod, kubernetes_executor_config_pb2.KubernetesExecutorConfig())  # type: ignore[attr-defined]
        except json_format.ParseError as error:
            yield f"{name}: its Kubernetes settings can't be parsed: {error}"


def flat(compiled: Compiled) -> Iterator[str]:
    """Loops, conditions, nested pipelines, importers: kfp.local misreads them, the backend shows a wrong status."""
    for name, task in compiled.tasks.items():
        trigger = task.get("triggerPolicy", {})
        if "condition" in trigger:
            yield f"{name} has a condition, which kfp.local always takes for false"
        if trigger.get("strategy", "ALL_UPSTREAM_TASKS_SUCCEEDED") != "ALL_UPSTREAM_TASKS_SUCCEEDED":
            yield f"{name} is an exit handler or ignores failures; use tasks only"
        if "parameterIterator" in task or "artifactIterator" in task:
            yield f"{name} is a KFP loop; unroll it when compiling"
        if not compiled.executor(name):
            yield f"{name} is a pipeline inside the pipeline; keep the graph flat"
    for name, executor in compiled.pipeline["deploymentSpec"]["executors"].items():
        if "container" not in executor:
            yield f"{name} isn't a container but {', '.join(executor)}"


def small(compiled: Compiled) -> Iterator[str]:
    """Argo keeps the whole workflow and the status of its pods in one object of at most 1.5 MiB."""
    if len(compiled.tasks) > MAX_TASKS:
        yield f"{len(compiled.tasks)} tasks in one run, {MAX_TASKS} at most: split it"
    size = len(json.dumps([compiled.pipeline, compiled.platform]))
    if size > MAX_BYTES:
        yield f"the document has {size:,} bytes, {MAX_BYTES:,} at most: split the run"


def plain_parameters(compiled: Compiled) -> Iterator[str]:
    """KFP changes numbers, lists and structs to floats and drops None, so all parameters are text."""
    for name, component in compiled.pipeline["components"].items():
        inputs = component.get("inputDefinitions", {})
        for parameter, definition in inputs.get("parameters", {}).items():
            if definition.get("parameterType") != "STRING":
                yield f"{name}.{parameter} is {definition.get('parameterType')}; only STRING arrives unchanged"
            if definition.get("isOptional"):
                yield f"{name}.{parameter} is optional: the launcher fails if the value is missing"
        for artifact in inputs.get("artifacts", {}):
            yield f"{name}.{artifact} is an artifact: the launcher downloads it whole before the task starts"
    for name, task in compiled.tasks.items():
        for parameter, value in task.get("inputs", {}).get("parameters", {}).items():
            constant = value.get("runtimeValue", {}).get("constant")
            if constant is None:
                continue
            if not isinstance(constant, str):
                yield f"{name}.{parameter} is {type(constant).__name__}, not text"
            elif len(constant.encode()) > MAX_PARAMETER_BYTES:
                yield f"{name}.{parameter} has {len(constant.encode()):,} bytes, {MAX_PARAMETER_BYTES:,} at most"


def resolved(compiled: Compiled) -> Iterator[str]:
    """Outside of a container's arguments placeholders aren't resolved, or are resolved wrongly."""
    for name, container in compiled.containers.items():
        for variable in container.get("env", []):
            if PLACEHOLDER.search(str(variable.get("value", ""))):
                yield f"{name}: environment variable {variable['name']} holds a placeholder that KFP doesn't resolve"
        if PLACEHOLDER.search(container["image"]):
            yield f"{name}: the image {container['image']} holds a placeholder; the driver would replace all of it"
        if PLACEHOLDER.search(json.dumps(container.get("resources", {}))):
            yield f"{name}: resources hold a placeholder; an integer parameter there means no GPU at all"
    for name, pod in compiled.pods.items():
        if PLACEHOLDER.search(json.dumps(pod)):
            yield f"{name}: a placeholder in its Kubernetes settings"
    for name, task in compiled.tasks.items():
        if PLACEHOLDER.search(task["taskInfo"]["name"]):
            yield f"{name}: its display name {task['taskInfo']['name']} holds a placeholder"


def tagged(compiled: Compiled) -> Iterator[str]:
    """Only the image's tag says which version of the code runs."""
    for name, container in compiled.containers.items():
        match = IMAGE.fullmatch(container["image"])
        if not match or (match["tag"] and not CONTENT_TAG.fullmatch(match["tag"])):
            yield f"{name}: {container['image']} has no tag or digest that follows from its content"


def settled(compiled: Compiled) -> Iterator[str]:
    """A pod must not install packages when it starts, so that it runs what was built and tested."""
    for name, container in compiled.containers.items():
        if "pip install" in " ".join([*container.get("command", []), *container.get("args", [])]):
            yield f"{name} installs packages when it starts; use install_kfp_package=False"


def retried(compiled: Compiled) -> Iterator[str]:
    """Argo counts the retry deadline from the first attempt's start: after an hour nothing is retried."""
    for name, task in compiled.tasks.items():
        policy = task.get("retryPolicy")
        if not policy or not policy.get("maxRetryCount"):
            if compiled.has_gpu(name):
                yield f"{name} has a GPU and no retries: a lost node would end the run"
            continue
        match = DURATION.fullmatch(policy.get("backoffMaxDuration", "0s"))
        if not match or float(match[1]) < MIN_RETRY_DEADLINE_S:
            yield (
                f"{name}: retryPolicy.backoffMaxDuration is {policy.get('backoffMaxDuration', 'missing')}, so it isn't "
                f"retried after that time; at least {MIN_RETRY_DEADLINE_S}s"
            )


def uncached(compiled: Compiled) -> Iterator[str]:
    """KFP's cache compares names and parameters, not bytes; our cache is the store."""
    for name, task in compiled.tasks.items():
        if task.get("cachingOptions", {"enableCache": True}).get("enableCache"):
            yield f"{name} has KFP's cache on: KFP would skip it even if its result was deleted"


def whole_gpus(compiled: Compiled) -> Iterator[str]:
    """A GPU has a resource name, a count, a node selector for its model and a toleration of its node's taint."""
    for task in compiled.tasks:
        if not compiled.has_gpu(task):
            continue
        executor = compiled.executor(task)
        gpu = compiled.containers[executor]["resources"]["accelerator"]
        kind, count = gpu.get("resourceType"), gpu.get("resourceCount")
        if not kind or not count:
            yield f"{task}: the accelerator needs both a resource name and a count, has {kind!r} and {count!r}"
        elif not re.fullmatch(r"[1-9]\d*", str(count)):
            yield f"{task}: {count!r} isn't a number of GPUs"
        pod = compiled.pods.get(executor, {})
        if not pod.get("nodeSelector", {}).get("labels"):
            yield f"{task} has a GPU and no node selector: it may get any GPU model"
        if not pod.get("tolerations"):
            yield f"{task} has a GPU and no toleration: nodes with GPUs usually have a taint"


def bounded(compiled: Compiled) -> Iterator[str]:
    """Without limits a pod can take all memory of the node, and TensorFlow a thread for each of its cores."""
    wanted = ("resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest")
    for name, container in compiled.containers.items():
        if missing := [each for each in wanted if each not in container.get("resources", {})]:
            yield f"{name} has no {', '.join(missing)}"


def labelled(compiled: Compiled) -> Iterator[str]:
    """`status`, `logs` and the monitoring find pods by label. Kubernetes refuses a pod with an invalid label."""
    for name in compiled.containers:
        found = compiled.pods.get(name, {}).get("podMetadata", {}).get("labels", {})
        if missing := [label for label in REQUIRED_LABELS if label not in found]:
            yield f"{name} has no label {', '.join(missing)}"
        for key, value in found.items():
            if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
                yield f"{name}: {key}={value} isn't a valid label (63 characters, letters, digits, `-`, `_`, `.`)"


def restricted(compiled: Compiled) -> Iterator[str]:
    """A namespace that enforces Pod Security's "restricted" refuses a pod that might run as root."""
    for name in compiled.containers:
        context = compiled.pods.get(name, {}).get("securityContext", {})
        if context.get("runAsNonRoot") is not True:
            yield f"{name} may run as root: its security context needs runAsNonRoot, or restricted namespaces refuse it"
        if "runAsUser" in context and int(context["runAsUser"]) == 0:
            yield f"{name} runs as root"


def secretless(compiled: Compiled) -> Iterator[str]:
    """Everybody who may see a run can read its document."""
    for name, container in compiled.containers.items():
        for variable in container.get("env", []):
            if SECRET_NAME.search(variable["name"]):
                yield f"{name}: {variable['name']} is readable in the document; take it from a Kubernetes secret"


RULES: tuple[Callable[[Compiled], Iterator[str]], ...] = (
    flat,
    small,
    plain_parameters,
    resolved,
    tagged,
    settled,
    retried,
    uncached,
    whole_gpus,
    bounded,
    labelled,
    restricted,
    secretless,
)
