"""Posted documents, parsed by KFP's own protos and run as KFP's launcher would run them. See `kfp_server`."""

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.local import executor_input_utils, executor_output_utils, graph_utils, io, placeholder_utils
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.pipeline_spec import pipeline_spec_pb2

NEVER = "1970-01-01T00:00:00Z"
KILL_AFTER_S = 1.0


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Task:
    """One task that was started."""

    state: str = "RUNNING"
    started: str = NEVER
    finished: str = NEVER
    attempts: int = 0
    exit_code: int | None = None


@dataclass
class ServerRun:
    """One run, as the server keeps it."""

    id: str
    body: dict[str, Any]
    spec: Any
    """The PipelineSpec."""
    folder: Path
    """<task>/log has what a task printed."""
    created: str
    history: list[dict[str, str]] = field(default_factory=list)
    finished: str = NEVER
    tasks: dict[str, Task] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def state(self) -> str:
        return self.history[-1]["state"]

    def enter(self, state: str) -> None:
        self.history.append({"update_time": now(), "state": state})

    def document(self) -> dict[str, Any]:
        details = [
            _node("root-driver", "SUCCEEDED", self.created, self.created),
            _node("root", self.state, self.created, self.finished),
        ]
        for key, task in list(self.tasks.items()):
            pods = [{"pod_name": f"{self.id}-{key}-{attempt}"} for attempt in range(task.attempts)]
            details += [
                _node(f"{key}-driver", "SUCCEEDED", task.started, task.started),
                _node(key, task.state, task.started, task.finished) | ({"child_tasks": pods} if pods else {}),
                _node("executor", task.state, task.started, task.finished),
            ]
        return self.body | {
            "run_id": self.id,
            "storage_state": "AVAILABLE",
            "created_at": self.created,
            "scheduled_at": self.created,
            "finished_at": self.finished,
            "state": self.state,
            "state_history": list(self.history),
            "run_details": {"task_details": details},
        }

    def start(self, parameters: dict[str, Any], environment: Mapping[str, str]) -> None:
        """Run it, in a thread."""
        self.enter("PENDING")
        self.thread = threading.Thread(target=self._run, args=(parameters, environment), daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        with self.lock:
            if self.state not in ("PENDING", "RUNNING"):
                raise Refusal(400, f"Failed to terminate a run {self.id}. Row not found")
            self.enter("CANCELING")
            self.cancelled.set()

    def _run(self, parameters: dict[str, Any], environment: Mapping[str, str]) -> None:
        done = False
        try:
            done = self._run_tasks(parameters, environment)
        finally:
            with self.lock:
                self.finished = now()
                self.enter("SUCCEEDED" if done and not self.cancelled.is_set() else "FAILED")

    def _run_tasks(self, parameters: dict[str, Any], environment: Mapping[str, str]) -> bool:
        dag = self.spec.root.dag
        store = io.IOStore()
        for name, value in parameters.items():
            store.put_parent_input(name, value)
        with self.lock:
            if not self.cancelled.is_set():
                self.enter("RUNNING")
        done = True
        for key in reversed(graph_utils.topological_sort_tasks(dag.tasks)):
            if self.cancelled.is_set() or not done:
                break
            task = self.tasks[key] = Task(started=now())
            while task.attempts <= dag.tasks[key].retry_policy.max_retry_count and not self.cancelled.is_set():
                task.attempts += 1
                outputs = self._attempt(key, task, store, environment)
                if outputs is not None:
                    for name, value in outputs.items():
                        store.put_task_output(key, name, value)
                    break
            done = task.exit_code == 0
            task.finished, task.state = now(), "SUCCEEDED" if done else "FAILED"
        return done

    def _attempt(
        self, key: str, task: Task, store: io.IOStore, environment: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """Run the container's command; its outputs, or None if it failed."""
        spec = self.spec.root.dag.tasks[key]
        component = self.spec.components[spec.component_ref.name]
        container = _deployment(self.spec).executors[component.executor_label].container
        arguments = OrchestratorUtils.make_task_arguments(spec.inputs, store)
        root = self.folder / key
        scratch = root / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        given = executor_input_utils.construct_executor_input(component, arguments, str(root), False)
        command = placeholder_utils.replace_placeholders(
            full_command=[*container.command, *container.args],
            executor_input_dict=executor_input_utils.executor_input_to_dict(given, component),
            pipeline_resource_name=self.id,
            task_resource_name=key,
            pipeline_root=str(self.folder),
            unique_pipeline_id=self.id,
        )
        place = zlib.crc32(f"{key}({task.attempts})".encode())  # Argo: a hash of the node's name
        variables = os.environ | {
            "KFP_POD_NAME": f"experiment-{self.id[:5]}-metadata-0-6-retry-system-container-impl-{place}",
            "KFP_POD_UID": str(uuid.uuid4()),
            "KFP_RETRY_INDEX": str(task.attempts - 1),
        }
        variables |= {variable.name: variable.value for variable in container.env} | dict(environment)
        variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
        variables["TMPDIR"] = str(scratch)  # a pod's /tmp is its own
        with (root / "log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=scratch, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        while process.poll() is None and not self.cancelled.is_set():
            time.sleep(0.02)
        if process.poll() is None:
            _end(process)
        task.exit_code = process.returncode
        return executor_output_utils.get_outputs_for_task(given, component) if process.returncode == 0 else None


def parse(document: dict[str, Any]) -> Any:
    """The PipelineSpec, once everything in the document has been understood."""
    platform = document.get("platform_spec") or {}
    try:
        spec = json_format.ParseDict(document.get("pipeline_spec", document), pipeline_spec_pb2.PipelineSpec())
        for config in json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec()).platforms.values():
            for executor in config.deployment_spec.executors.values():
                text = json_format.MessageToDict(executor)
                json_format.ParseDict(text, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        executors = _deployment(spec).executors
    except json_format.ParseError as error:
        raise Refusal(400, f"Failed to create a new run: invalid spec: {error}") from error
    for key, task in spec.root.dag.tasks.items():
        component = spec.components[task.component_ref.name]
        if not executors[component.executor_label].HasField("container"):
            raise Refusal(400, f"task {key}: this server runs flat graphs of containers only")
    return spec


def arguments(spec: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The pipeline's, with defaults, and as picky as KFP."""
    wanted = spec.root.input_definitions.parameters
    for name, parameter in wanted.items():
        if name not in given and not parameter.is_optional and not parameter.HasField("default_value"):
            raise Refusal(
                400, f"parameter {name} is not optional, yet has neither default value nor user provided value"
            )
    for name, value in given.items():
        if name not in wanted:
            raise Refusal(400, f"parameter {name} is not an input of the pipeline")
        if wanted[name].parameter_type == pipeline_spec_pb2.ParameterType.STRING and not isinstance(value, str):
            raise Refusal(400, f"input parameter {name} requires type string, but the parameter value is not")
    return OrchestratorUtils.join_user_inputs_and_defaults(given, spec.root.input_definitions)


def _deployment(spec: Any) -> Any:
    document = json_format.MessageToDict(spec.deployment_spec)
    return json_format.ParseDict(document, pipeline_spec_pb2.PipelineDeploymentConfig())


def _node(name: str, state: str, started: str, finished: str) -> dict[str, Any]:
    return {"display_name": name, "state": state, "start_time": started, "end_time": finished}


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group, SIGKILL to what is left of it a second later; the shell itself dies at once."""
    until = time.monotonic() + KILL_AFTER_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while _lives(process.pid) and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _lives(group: int) -> bool:
    """Whether somebody of the process group does; the dead may stay there as zombies."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if of == str(group) and state != "Z":
                return True
    return False


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
