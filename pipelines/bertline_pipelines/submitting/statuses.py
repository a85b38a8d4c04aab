"""The state of each task of a submitted run, with a reason if it doesn't run.

There are three sources:

    the store       finished results; progress of attempts; our own messages about failures
    Kubeflow        which tasks have started; whether the run is active
    Kubernetes      pods: their nodes, what they wait for, why they were killed

The store has priority. If a source doesn't answer, a remark says so, and the others are still used.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bertline.errors import BertlineError, ExitCode, TransientError
from bertline.store.attempts import RecordedAttempt
from bertline.store.histories import History, State
from bertline.store.objects import ObjectStore
from bertline_pipelines.cluster.reasons import Reason
from bertline_pipelines.compiling import labels
from bertline_pipelines.records import submissions, task_histories
from bertline_pipelines.records.submissions import Submission, SubmittedTask
from bertline_pipelines.records.task_histories import TaskHistory
from bertline_pipelines.submitting import outcomes
from bertline_pipelines.submitting.outcomes import RunOutcome

CLOCKS_S = 60.0
"""Largest difference of Kubeflow's and a pod's clock, in seconds."""

if TYPE_CHECKING:
    from bertline_pipelines.cluster.pods import Pod
    from bertline_pipelines.cluster.reader import Cluster
    from bertline_pipelines.kubeflow.api import Kubeflow
    from bertline_pipelines.kubeflow.runs import TaskState


@dataclass(frozen=True)
class TaskStatus:
    """The status of one task."""

    task: SubmittedTask
    state: str
    """done, running, pending (started, but no pod runs), waiting (for other tasks), failed, cancelled, skipped or
    later."""
    history: TaskHistory
    """Its history in the store."""
    reason: str = ""
    """Why it waits or failed, in a sentence."""
    amounts: str = ""
    """Changing parts of the reason: amounts and times."""
    exit_code: int | None = None
    """Exit code of the last failed attempt, see `ExitCode`."""
    pod: str = ""
    node: str = ""
    restarts: int = 0
    """Earlier pods of this task in this run."""
    seconds: float | None = None
    """Seconds since the start of its attempt or task; its duration if this run has finished it."""

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def progress(self) -> str:
        """`step 23,400 of 100,000, 41.2 steps/s`; empty if not known or not part of this run."""
        return self.history.progress(self.task.end_step) if self.task.included else ""

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        now = self.history.current
        return {
            "name": self.task.name,
            "stage": self.task.stage,
            "run": self.task.run,
            "epoch": self.task.epoch,
            "state": self.state,
            "progress": self.progress,
            "reason": self.reason,
            "amounts": self.amounts,
            "exit_code": self.exit_code,
            "pod": self.pod,
            "node": self.node,
            "restarts": self.restarts,
            "attempts": self.history.attempts,
            "seconds": self.seconds,
            "step": now.step,
            "steps_per_s": now.steps_per_s if self.state == "running" else None,
        }


@dataclass(frozen=True)
class Status:
    """The status of a run."""

    submission: Submission
    state: str
    """See `RunOutcome`; `succeeded` also if all its results are done, whatever Kubeflow reports."""
    url: str
    tasks: tuple[TaskStatus, ...]
    remarks: tuple[str, ...]
    """What couldn't be read."""
    store_answers: bool = True
    """False if the store's part is from an earlier read, or missing."""

    @property
    def is_over(self) -> bool:
        """True if this run has ended and its results were read from the store."""
        return self.store_answers and self.state in outcomes.OVER

    @property
    def is_known(self) -> bool:
        """False if the store or Kubeflow didn't answer."""
        return self.store_answers and self.state != "unknown"

    @property
    def is_complete(self) -> bool:
        """True if the whole experiment is done."""
        return all(task.state == "done" for task in self.tasks)

    def count(self, state: str) -> int:
        """Number of tasks in a state."""
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
            "tasks": [task.document() for task in self.tasks],
        }


class Observer:
    """Reads the status of a run repeatedly; finished results are read once."""

    def __init__(
        self, store: ObjectStore, submission: Submission, kubeflow: "Kubeflow | None", cluster: "Cluster | None"
    ) -> None:
        """Prepare; `look` sends the first request.

        Args:
            store: The experiment's store.
            submission: The run.
            kubeflow: None if it can't be reached.
            cluster: None if it can't be reached.
        """
        self._store, self._submission = store.hasty(), submission
        self._kubeflow, self._cluster = kubeflow, cluster
        self._histories: dict[str, TaskHistory] = {}

    def look(self) -> Status:
        """The current status. Remarks name what couldn't be read, including the store."""
        remarks: list[str] = []
        answers = self._ask_store(self._reread, remarks)
        outcome = outcomes.learn(self._submission, self._kubeflow, self._cluster)
        remarks += outcome.remarks
        pods, reasons = self._ask_cluster(remarks)
        answers = answers and self._ask_store(self._read, remarks)
        view = _View(outcome, pods, reasons, self._histories, self._cluster is not None)
        tasks = tuple(view.status(task) for task in self._submission.tasks)
        unfinished = {task.name for task in tasks if task.state != "done"}
        tasks = tuple(view.waiting(task, unfinished) for task in tasks)
        state = outcome.state
        if answers and all(task.state == "done" for task in tasks if task.task.included):
            if state in outcomes.OVER and state != "succeeded":
                remarks.append(f"Kubeflow calls the run {state}, but all its results are in the store")
            state = "succeeded"
        url = self._kubeflow.url(self._submission.run_id) if self._kubeflow and self._submission.run_id else ""
        return Status(self._submission, state, url, tasks, tuple(dict.fromkeys(remarks)), answers)

    def _reread(self) -> None:
        self._submission = submissions.reread(self._store, self._submission)

    def _read(self) -> None:
        tasks = self._submission.tasks
        later = [task.name for task in tasks if not task.included]
        self._histories = task_histories.read(self._store, tasks, self._histories, later=later)

    def _ask_store(self, ask: Callable[[], None], remarks: list[str]) -> bool:
        try:
            ask()
        except TransientError as error:
            remarks.append(f"the store can't be read: {getattr(error, 'said', error)}")
            return False
        return True

    def _ask_cluster(self, remarks: list[str]) -> "tuple[tuple[Pod, ...], dict[str, Reason]]":
        """The run's pods, and why they wait or failed, by name."""
        if self._cluster is None or self._submission.run_id is None:
            return (), {}
        place = self._submission.namespace
        try:
            pods = self._cluster.pods(place, run_id=self._submission.run_id)
            return pods, self._cluster.explain(place, pods)
        except BertlineError as error:
            remarks.append(f"pods can't be read: {error}")
            return (), {}


class _View:
    """Combines the answers of all sources for each task."""

    def __init__(
        self,
        outcome: RunOutcome,
        pods: "tuple[Pod, ...]",
        reasons: dict[str, Reason],
        histories: dict[str, TaskHistory],
        sees_pods: bool,
    ) -> None:
        self._outcome, self._reasons, self._histories, self._sees_pods = outcome, reasons, histories, sees_pods
        self._pods = {pod.task: pod for pod in pods if pod.task}
        self._drivers = {pod.kfp_task: pod for pod in pods if pod.is_driver}
        self._held = _held(outcome)
        self._is_cancelled = outcome.state in ("canceled", "canceling")

    def status(self, task: SubmittedTask) -> TaskStatus:
        """The status of one task, without regard to other tasks."""
        history = self._histories.get(task.name, TaskHistory())
        found, pod = self._found(task.name), self._pod(task.name)
        status = TaskStatus(task, "later", history)
        if pod:
            status = replace(status, pod=pod.name, node=pod.node, restarts=pod.restarts)
        if history.is_done or (task.name not in self._histories and found and found.state == "SUCCEEDED"):
            return replace(status, state="done", seconds=_took(found, history))
        if not task.included:
            return status
        last = self._attempt(history.current, found, pod)
        state, reason = self._state(found, pod, history.current, last)
        began = history.current.last.begun if history.current.last else 0.0
        since = max(began, (found.started if found else None) or 0.0)
        return replace(
            status,
            state=state,
            reason=reason.cause,
            amounts=reason.amounts,
            exit_code=last.failure.exit_code if last and last.failure and state == "failed" else None,
            seconds=max(0.0, ((found and found.finished) or time.time()) - since) if since else None,
        )

    def _attempt(self, history: History, found: "TaskState | None", pod: "Pod | None") -> RecordedAttempt | None:
        """The last attempt, if it belongs to this run: by the workflow's name, else by time."""
        last, mine = history.last, pod.workflow if pod else self._outcome.workflow and self._outcome.workflow.name
        if last is None or (mine and last.workflow):
            return last if last and last.workflow == mine else None
        return None if found and found.started and last.begun < found.started - CLOCKS_S else last

    def _state(
        self, found: "TaskState | None", pod: "Pod | None", history: History, last: RecordedAttempt | None
    ) -> tuple[str, Reason]:
        over = self._outcome.is_over
        seen = (self._reasons.get(pod.name) if pod else None) or self._held.get(found.key if found else "")
        failure = last.failure if last else None
        told = f"{failure.family}: {failure.sentence}" if failure else ""
        said = Reason(told) if failure else seen or Reason("")
        kfp_state = found.state if found else "PENDING"
        if kfp_state == "FAILED" or (self._outcome.state == "forgotten" and failure):
            return ("cancelled" if self._is_cancelled else "failed"), said or Reason(found.message if found else "")
        if over and kfp_state in ("RUNNING", "CANCELING"):
            ended = Reason("ended with the run, whose workflow was deleted")
            return ("cancelled" if self._is_cancelled else "failed"), said if failure else ended
        if last and history.given_up and pod and last.workflow == pod.workflow:
            return "failed", said  # Kubeflow may restart its pod, which ends at once
        if pod and pod.state == "running":
            return "running", Reason("")
        if pod and not over:
            if pod.state == "pending":
                before = f"; the attempt before it failed: {told}" if failure else ""
                return "pending", Reason(seen.cause + before, seen.amounts) if seen else Reason(before.lstrip("; "))
            return "pending", Reason(f"{said.cause}; Kubeflow restarts it" if said.cause else "")
        if kfp_state == "RUNNING" and not over:
            # KFP reports a task as running as soon as its pod is requested.
            works = history.state == State.AT_WORK
            return ("running" if works and not self._sees_pods else "pending"), seen or Reason("")
        return ("skipped" if over else "waiting"), seen or Reason("")

    def waiting(self, task: TaskStatus, unfinished: set[str]) -> TaskStatus:
        """The status with the tasks that it waits for, if it has no other reason."""
        if task.reason or task.state not in ("waiting", "pending", "skipped", "later"):
            return task
        after = task.task.after
        before = [each for each in after if each in unfinished]
        if before:
            others = f" and {len(before) - 1} more" if len(before) > 1 else ""
            return replace(task, reason=f"needs {before[0]}{others}")
        if task.state == "later":
            return task
        for name in after:
            if sentence := self._holds(name):
                return replace(task, reason=sentence, state="skipped" if task.state == "skipped" else "pending")
        if task.state == "skipped":
            return task
        reason = self._turn(task.name)
        return replace(task, state="pending", reason=reason.cause, amounts=reason.amounts)

    def _holds(self, name: str) -> str:
        """Why a finished task delays its dependents; empty if it doesn't."""
        found, pod = self._found(name), self._pod(name)
        if found is None or found.state == "SUCCEEDED":
            return ""
        if found.state == "FAILED":
            return f"{name} is done, but its pod failed after that and Kubeflow gave up; `bertline submit` continues"
        if pod and pod.state not in ("pending", "running", "succeeded"):
            return f"{name} is done, but its pod failed after that: Kubeflow starts it once more before it continues"
        if pod and pod.restarts:
            return f"{name} is done, but its pod failed after that: Kubeflow has started another, which ends at once"
        return f"{name} is done, and Kubeflow hasn't seen the end of its pod yet"

    def _turn(self, name: str) -> Reason:
        """Why a started task has no running pod."""
        if self._outcome.state == "canceling":
            return Reason("the run is being cancelled")
        found = self._found(name)
        driver = self._drivers.get(found.key) if found else None
        driver = driver or self._drivers.get("")
        if driver and driver.state != "succeeded":
            why = self._reasons.get(driver.name)
            if driver.state == "pending":
                why = why or Reason("it waits")
                return Reason(f"Kubeflow's own pod, which comes before it: {why.cause}", why.amounts)
            if why:
                return Reason(f"Kubeflow's own pod, which comes before it: {why.cause}")
            return Reason("Kubeflow's own pod, which comes before it, is running")
        if self._outcome.state == "unknown":
            return Reason("Kubeflow doesn't answer, and the task has no pod")
        if self._outcome.state == "pending" or (self._sees_pods and not self._drivers and not self._pods):
            return Reason("Kubeflow hasn't started the run yet")
        return Reason("Kubeflow is creating its pod, which takes about ten seconds")

    def _found(self, name: str) -> "TaskState | None":
        run = self._outcome.run
        return next((each for each in run.tasks if each.name == name), None) if run else None

    def _pod(self, name: str) -> "Pod | None":
        return self._pods.get(labels.label(name))


def _held(outcome: RunOutcome) -> dict[str, Reason]:
    """KFP's task name → why its pod couldn't be created or was deleted, from Argo."""
    from bertline_pipelines.cluster import failures, pending

    held = {}
    for step in outcome.workflow.steps if outcome.workflow else ():
        if step.phase == "Pending" and step.message:
            held[step.kfp_task] = pending.why_held(step)
        elif step.phase in ("Failed", "Error") and step.message:
            held[step.kfp_task] = Reason(failures.why_step_failed(step))
        elif not step.driver:
            held.pop(step.kfp_task, None)  # a later step succeeded
    return held


def _took(found: "TaskState | None", history: TaskHistory) -> float | None:
    """Seconds from a task's start to its result; Kubeflow sees its end later."""
    end = history.finished or (found and found.finished)
    return max(0.0, end - found.started) if found and found.started and end else None


def worst(tasks: Iterable[TaskStatus]) -> ExitCode:
    """The exit code for failed tasks; permanent failures come first."""
    codes = {task.exit_code for task in tasks if task.state == "failed" and task.exit_code is not None}
    for code in (ExitCode.USER_ERROR, ExitCode.DAMAGED, ExitCode.BUG, ExitCode.TRANSIENT, ExitCode.PREEMPTED):
        if code in codes:
            return code
    return ExitCode.TRANSIENT
