"""What each task of a submitted run is doing, and if nothing, why not.

Three witnesses, none of which knows everything:

    the store       what is done, for good; how far an attempt is; why it failed, in our own words
    Kubeflow        which task's turn it is; whether the run goes on
    Kubernetes      pods: on which node, waiting for what, killed by whom

The store is believed first. A witness that can't be asked is named, and the rest is still told.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from bertline.errors import BertlineError, ExitCode
from bertline.plurals import counted
from bertline.store import attempts, derivations, realizations
from bertline.store.objects import ObjectStore
from bertline_pipelines import labels
from bertline_pipelines.submissions import Submission, SubmittedTask

if TYPE_CHECKING:
    from bertline_pipelines.cluster.cluster import Cluster
    from bertline_pipelines.cluster.pods import Pod
    from bertline_pipelines.kubeflow.kubeflow import Kubeflow
    from bertline_pipelines.kubeflow.runs import Run

THREADS = 16  # manifests and logs are small; a bucket's latency is what counts
RATE_WINDOW = 2  # events: the last two that tell a step

FAMILIES = {
    ExitCode.BUG: "a bug",
    ExitCode.USER_ERROR: "your input",
    ExitCode.DAMAGED: "damaged objects",
    ExitCode.TRANSIENT: "transient",
    ExitCode.PREEMPTED: "preempted",
    ExitCode.INTERRUPTED: "interrupted",
}

T = TypeVar("T")
Events = list[dict[str, Any]]


@dataclass(frozen=True)
class TaskStatus:
    """One task."""

    name: str
    stage: str
    run: str
    epoch: int
    state: str
    """done, running, pending (its pod waits), waiting (for other tasks), failed, cancelled, skipped or later."""
    progress: str = ""
    """`step 23,400 of 100,000, 41.2 steps/s`."""
    reason: str = ""
    """Why it waits or failed, in a sentence."""
    exit_code: int | None = None
    """Of the last failed attempt, from the one table."""
    pod: str = ""
    node: str = ""
    restarts: int = 0
    """Pods of this task in this run before the present one."""
    attempts: int = 0
    """At this task in all runs."""
    seconds: float | None = None
    """Since its pod's start, or the attempt's; what it took, if it is done in this run."""
    step: int | None = None
    steps_per_s: float | None = None


@dataclass(frozen=True)
class Status:
    """All of a run."""

    submission: Submission
    state: str
    """KFP's, in lower case; `forgotten` if the server doesn't know the run, `unknown` if it can't be asked."""
    url: str
    tasks: tuple[TaskStatus, ...]
    remarks: tuple[str, ...]
    """What couldn't be looked at."""

    @property
    def is_over(self) -> bool:
        """True if this run does nothing any more."""
        return self.state in ("succeeded", "failed", "canceled", "skipped", "forgotten")

    @property
    def is_complete(self) -> bool:
        """True if the whole experiment is done."""
        return all(task.state == "done" for task in self.tasks)

    def count(self, state: str) -> int:
        """How many tasks are in a state."""
        return sum(task.state == state for task in self.tasks)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "experiment": self.submission.experiment,
            "run_id": self.submission.run_id,
            "display_name": self.submission.display_name,
            "state": self.state,
            "complete": self.is_complete,
            "url": self.url,
            "remarks": list(self.remarks),
            "tasks": [asdict(task) for task in self.tasks],
        }


class Observer:
    """Looks at one run again and again; what is done isn't asked for twice."""

    def __init__(
        self, store: ObjectStore, submission: Submission, kubeflow: "Kubeflow | None", cluster: "Cluster | None"
    ) -> None:
        """Prepare; nothing is asked before `look`.

        Args:
            store: Where the experiment is.
            submission: The run.
            kubeflow: None if it can't be reached.
            cluster: None if it can't be reached.
        """
        self._store, self._submission = store, submission
        self._kubeflow, self._cluster = kubeflow, cluster
        self._done: set[str] = set()

    def look(self) -> Status:
        """Everything as it is now."""
        remarks: list[str] = []
        run, state = self._ask_kubeflow(remarks)
        pods, reasons, held = self._ask_cluster(run, state, remarks)
        with ThreadPoolExecutor(THREADS) as pool:
            tasks = tuple(
                pool.map(
                    lambda task: self._task(task, run, state, pods.get(labels.label(task.name)), reasons, held),
                    self._submission.tasks,
                )
            )
        unfinished = {task.name for task in tasks if task.state != "done"}
        planned = {task.name: task for task in self._submission.tasks}
        tasks = tuple(
            _waiting(task, [before for before in planned[task.name].after if before in unfinished], state)
            for task in tasks
        )
        url = self._kubeflow.url(self._submission.run_id) if self._kubeflow and self._submission.run_id else ""
        return Status(self._submission, state, url, tasks, tuple(remarks))

    def _ask_kubeflow(self, remarks: list[str]) -> "tuple[Run | None, str]":
        from bertline_pipelines.kubeflow.kubeflow import RunNotFoundError

        if self._submission.run_id is None:
            remarks.append("whether the run was posted isn't known: `bertline submit` again finds it or posts it")
            return None, "unknown"
        if self._kubeflow is None:
            return None, "unknown"
        try:
            run = self._kubeflow.run(self._submission.run_id)
        except RunNotFoundError as error:
            remarks.append(str(error))
            return None, "forgotten"
        except BertlineError as error:
            remarks.append(str(error))
            return None, "unknown"
        return run, run.state.lower()

    def _ask_cluster(
        self, run: "Run | None", state: str, remarks: list[str]
    ) -> "tuple[dict[str, Pod], dict[str, str], dict[str, str]]":
        """Pods by task label; reasons by pod name; reasons by KFP's task name where there is no pod."""
        if self._cluster is None or self._submission.run_id is None:
            return {}, {}, {}
        place, run_id = self._submission.namespace, self._submission.run_id
        try:
            pods = self._cluster.pods(place, run_id=run_id)
            reasons = self._cluster.explain(place, pods)
        except BertlineError as error:
            remarks.append(f"pods can't be looked at: {error}")
            return {}, {}, {}
        held = self._held(self._cluster, run_id, remarks) if run is not None and not run.final else {}
        return {pod.task: pod for pod in pods if pod.task}, reasons, held

    def _held(self, cluster: "Cluster", run_id: str, remarks: list[str]) -> dict[str, str]:
        """Of tasks whose pod couldn't be made, or is gone: only Argo knows why."""
        from bertline_pipelines.cluster import failures, pending

        try:
            steps = cluster.steps(self._submission.namespace, run_id)
        except BertlineError as error:
            remarks.append(f"Argo can't be asked: {error}")
            return {}
        held = {}
        for step in steps:
            if step.phase == "Pending" and step.message:
                held[step.kfp_task] = pending.why_held(step)
            elif step.phase in ("Failed", "Error") and step.message:
                held[step.kfp_task] = failures.why_step_failed(step)
        return held

    def _task(
        self,
        task: SubmittedTask,
        run: "Run | None",
        run_state: str,
        pod: "Pod | None",
        reasons: dict[str, str],
        held: dict[str, str],
    ) -> TaskStatus:
        status = TaskStatus(task.name, task.stage, task.run, task.epoch, "later")
        missing = [key for key in task.keys if not self._is_done(task.stage, key)]
        found = next((each for each in run.tasks if each.name == task.name), None) if run else None
        changes: dict[str, Any] = {}
        if found and found.started:
            changes["seconds"] = (found.finished or time.time()) - found.started
        if pod:
            changes |= {"pod": pod.name, "node": pod.node, "restarts": pod.restarts}
        if not missing:
            return _changed(status, changes | {"state": "done"})
        if not task.included:
            return _changed(status, {"state": "later"})
        logs = list(attempts.read(self._store, derivations.prefix(task.stage, missing[0])))
        changes |= _told(logs, task, len(task.keys) - len(missing), len(task.keys))
        kfp_state = found.state if found else "PENDING"
        reason = (reasons.get(pod.name, "") if pod else "") or held.get(found.key if found else "", "")
        failure = changes.pop("failure", "")
        over = run is not None and run.final
        if kfp_state == "FAILED" or (run_state == "forgotten" and failure):
            cancelled = run is not None and run.state == "CANCELED"
            state = "cancelled" if cancelled else "failed"
            changes |= {"state": state, "reason": failure or reason or (found.message if found else "")}
        elif pod and pod.state == "running":
            changes |= {"state": "running"}
        elif pod and not over:
            changes |= {"state": "pending", "reason": reason or failure}
        elif kfp_state == "RUNNING" and not over:
            # KFP calls a task running as soon as its pod is wanted.
            working = bool(logs) and logs[-1][-1]["event"] not in ("failed", "preempted")
            changes |= {"state": "running" if working and self._cluster is None else "pending", "reason": reason}
        else:
            changes |= {"state": "skipped" if over else "waiting", "reason": reason}
        if changes["state"] != "running":
            changes |= {"steps_per_s": None} | ({} if changes["state"] == "failed" else {"exit_code": None})
        return _changed(status, changes)

    def _is_done(self, stage: str, key: str) -> bool:
        if key not in self._done and realizations.find(self._store, stage, key) is not None:
            self._done.add(key)
        return key in self._done


def _told(logs: Sequence[Events], task: SubmittedTask, done: int, wanted: int) -> dict[str, Any]:
    """What the attempts say: how far the last one is, and what ended it if it failed."""
    if not logs:
        return {}
    last = logs[-1]
    told: dict[str, Any] = {"attempts": len(logs), "seconds": max(0.0, time.time() - last[0]["time"])}
    steps = [(event["time"], event["step"]) for event in last if "step" in event]
    if not steps:  # this attempt hasn't begun to train; what an earlier one saved isn't lost
        saved = [event["step"] for events in logs for event in events if event["event"] == "checkpoint"]
        steps = [(last[0]["time"], max(saved))] if saved else []
    if steps:
        told["step"] = steps[-1][1]
        text = f"step {steps[-1][1]:,}" + (f" of {task.end_step:,}" if task.end_step else "")
        (begun, first), (now, reached) = steps[max(0, len(steps) - RATE_WINDOW)], steps[-1]
        if reached > first and now > begun:
            told["steps_per_s"] = (reached - first) / (now - begun)
            text += f", {told['steps_per_s']:,.1f} steps/s"
        told["progress"] = text
    elif wanted > 1:
        told["progress"] = f"{done} of {counted(wanted, 'seed')}"
    end = last[-1]
    if end["event"] in ("failed", "preempted"):
        code = end.get("exit_code", int(ExitCode.BUG))
        message = str(end.get("message", "")).strip().splitlines() or ["no message"]
        sentence = message[-1] if code == ExitCode.BUG else message[0]
        told |= {"exit_code": code, "failure": f"{FAMILIES.get(code, 'unknown')} ({code}): {sentence}"}
    return told


def _waiting(task: TaskStatus, before: Sequence[str], run_state: str) -> TaskStatus:
    """What a task waits for, if it has no better reason."""
    if task.reason or task.state not in ("waiting", "skipped", "later"):
        return task
    if before:
        others = f" and {len(before) - 1} more" if len(before) > 1 else ""
        return _changed(task, {"reason": f"needs {before[0]}{others}"})
    if task.state == "waiting" and run_state in ("pending", "unknown"):
        return _changed(task, {"reason": "the run hasn't begun"})
    return task


def _changed(status: TaskStatus, changes: dict[str, Any]) -> TaskStatus:
    return TaskStatus(**(asdict(status) | changes))


def try_to(reach: Callable[[], T], remarks: list[str], what: str) -> T | None:
    """A witness, or a remark that it can't be asked."""
    try:
        return reach()
    except BertlineError as error:
        remarks.append(f"{what}: {error}")
        return None


def worst(tasks: Iterable[TaskStatus]) -> ExitCode:
    """The exit code for failed tasks: what retrying can't help comes first."""
    codes = {task.exit_code for task in tasks if task.state == "failed" and task.exit_code is not None}
    for code in (ExitCode.USER_ERROR, ExitCode.DAMAGED, ExitCode.BUG, ExitCode.TRANSIENT, ExitCode.PREEMPTED):
        if code in codes:
            return code
    return ExitCode.TRANSIENT
