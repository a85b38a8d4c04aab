"""What each task of a submitted run is doing, and if nothing, why not.

Three witnesses, none of which knows everything:

    the store       what is done, for good; how far an attempt is; why it failed, in our own words
    Kubeflow        which task's turn it is; whether the run goes on
    Kubernetes      pods: on which node, waiting for what, killed by whom

The store is believed first. A witness that can't be asked is named, and the rest is still told.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bertline.errors import BertlineError, ExitCode, TransientError
from bertline.store.objects import ObjectStore
from bertline_pipelines.cluster.reasons import Reason
from bertline_pipelines.compiling import labels
from bertline_pipelines.records import histories, submissions
from bertline_pipelines.records.histories import Failure, History
from bertline_pipelines.records.submissions import Submission, SubmittedTask
from bertline_pipelines.submitting import outcomes
from bertline_pipelines.submitting.outcomes import RunOutcome

CLOCKS_S = 60.0
"""By how much the clocks of Kubeflow and of a pod may differ."""

if TYPE_CHECKING:
    from bertline_pipelines.cluster.pods import Pod
    from bertline_pipelines.cluster.reader import Cluster
    from bertline_pipelines.kubeflow.api import Kubeflow
    from bertline_pipelines.kubeflow.runs import TaskState


@dataclass(frozen=True)
class TaskStatus:
    """One task."""

    name: str
    stage: str
    run: str
    epoch: int
    state: str
    """done, running, pending (it's its turn, and no pod of it runs), waiting (for other tasks), failed, cancelled,
    skipped or later."""
    progress: str = ""
    """`step 23,400 of 100,000, 41.2 steps/s`."""
    reason: str = ""
    """Why it waits or failed, in a sentence."""
    amounts: str = ""
    """What of the reason changes from look to look: how much is free, for how long."""
    exit_code: int | None = None
    """Of the last failed attempt, from the one table."""
    pod: str = ""
    node: str = ""
    restarts: int = 0
    """Pods of this task in this run before the present one."""
    attempts: int = 0
    """At this task in all runs."""
    seconds: float | None = None
    """Since its attempt's start, or its turn's; what it took, if it is done in this run."""
    step: int | None = None
    steps_per_s: float | None = None


@dataclass(frozen=True)
class Status:
    """All of a run."""

    submission: Submission
    state: str
    """Of the run, see `RunOutcome`; `succeeded` also if all that it holds is done, whatever Kubeflow says."""
    url: str
    tasks: tuple[TaskStatus, ...]
    remarks: tuple[str, ...]
    """What couldn't be looked at."""
    store_answers: bool = True
    """False if what the store knows is of an earlier look, or missing."""

    @property
    def is_over(self) -> bool:
        """True if this run does nothing any more, and the store has told what it did."""
        return self.store_answers and self.state in outcomes.OVER

    @property
    def is_known(self) -> bool:
        """False if the store or Kubeflow couldn't be asked."""
        return self.store_answers and self.state != "unknown"

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
        self._store, self._submission = store.hasty(), submission
        self._kubeflow, self._cluster = kubeflow, cluster
        self._histories: dict[str, History] = {}

    def look(self) -> Status:
        """Everything as it is now. Who can't be asked, the store included, is among the remarks."""
        remarks: list[str] = []
        answers = self._ask_store(self._reread, remarks)
        outcome = outcomes.learn(self._submission, self._kubeflow, self._cluster)
        remarks += outcome.remarks
        pods, reasons = self._ask_cluster(remarks)
        answers = answers and self._ask_store(self._read, remarks)
        view = _View(outcome, pods, reasons, self._histories, self._cluster is not None)
        tasks = tuple(view.status(task) for task in self._submission.tasks)
        unfinished = {task.name for task in tasks if task.state != "done"}
        planned = {task.name: task for task in self._submission.tasks}
        tasks = tuple(view.waiting(task, planned, unfinished) for task in tasks)
        state = outcome.state
        if answers and all(task.state == "done" for task in tasks if planned[task.name].included):
            if state in outcomes.OVER and state != "succeeded":
                remarks.append(f"Kubeflow calls the run {state}, but all that it was to make is in the store")
            state = "succeeded"
        url = self._kubeflow.url(self._submission.run_id) if self._kubeflow and self._submission.run_id else ""
        return Status(self._submission, state, url, tasks, tuple(dict.fromkeys(remarks)), answers)

    def _reread(self) -> None:
        self._submission = submissions.reread(self._store, self._submission)

    def _read(self) -> None:
        self._histories = histories.read(self._store, self._submission.tasks, self._histories)

    def _ask_store(self, ask: Callable[[], None], remarks: list[str]) -> bool:
        try:
            ask()
        except TransientError as error:
            remarks.append(f"the store can't be asked: {getattr(error, 'said', error)}")
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
            remarks.append(f"pods can't be looked at: {error}")
            return (), {}


class _View:
    """What the witnesses said at one look, put together task by task."""

    def __init__(
        self,
        outcome: RunOutcome,
        pods: "tuple[Pod, ...]",
        reasons: dict[str, Reason],
        histories: dict[str, History],
        sees_pods: bool,
    ) -> None:
        self._fate, self._reasons, self._histories, self._sees_pods = outcome, reasons, histories, sees_pods
        self._pods = {pod.task: pod for pod in pods if pod.task}
        self._drivers = {pod.kfp_task: pod for pod in pods if pod.is_driver}
        self._held = _held(outcome)
        self._is_cancelled = outcome.state in ("canceled", "canceling")

    def status(self, task: SubmittedTask) -> TaskStatus:
        """Of one task by itself."""
        status = TaskStatus(task.name, task.stage, task.run, task.epoch, "later")
        history, found, pod = self._histories.get(task.name, History()), self._found(task.name), self._pod(task.name)
        changes: dict[str, Any] = {"attempts": history.attempts}
        if pod:
            changes |= {"pod": pod.name, "node": pod.node, "restarts": pod.restarts}
        if history.is_done(task) or (task.name not in self._histories and found and found.state == "SUCCEEDED"):
            return _changed(status, changes | {"state": "done", "seconds": _took(found, history)})
        if not task.included:
            return status
        failure = self._failure(history, found, pod)
        since = max(history.began or 0.0, (found.started if found else None) or 0.0)
        changes |= {
            "progress": history.progress(task),
            "step": history.step,
            "seconds": max(0.0, ((found and found.finished) or time.time()) - since) if since else None,
        }
        state, reason = self._state(found, pod, history, failure)
        if state == "running":
            changes["steps_per_s"] = history.steps_per_s
        if state == "failed" and failure:
            changes["exit_code"] = failure.exit_code
        return _changed(status, changes | {"state": state, "reason": reason.cause, "amounts": reason.amounts})

    def _failure(self, history: History, found: "TaskState | None", pod: "Pod | None") -> Failure | None:
        """How the last attempt failed, unless it was another run's: by the workflow's name, else by the time."""
        failure, mine = history.failure, pod.workflow if pod else self._fate.workflow and self._fate.workflow.name
        if failure is None or (mine and failure.workflow):
            return failure if failure and failure.workflow == mine else None
        is_old = found and found.started and history.began and history.began < found.started - CLOCKS_S
        return None if is_old else failure

    def _state(
        self, found: "TaskState | None", pod: "Pod | None", history: History, failure: Failure | None
    ) -> tuple[str, Reason]:
        over = self._fate.is_over
        seen = (self._reasons.get(pod.name) if pod else None) or self._held.get(found.key if found else "")
        said = Reason(failure.sentence) if failure else seen or Reason("")
        kfp_state = found.state if found else "PENDING"
        if kfp_state == "FAILED" or (self._fate.state == "forgotten" and failure):
            return ("cancelled" if self._is_cancelled else "failed"), said or Reason(found.message if found else "")
        if over and kfp_state in ("RUNNING", "CANCELING"):
            ended = Reason("ended with the run, whose workflow is gone")
            return ("cancelled" if self._is_cancelled else "failed"), said if failure else ended
        if failure and failure.is_final and pod and failure.workflow == pod.workflow:
            return "failed", said  # Kubeflow may start its pod again, which gives up at once
        if pod and pod.state == "running":
            return "running", Reason("")
        if pod and not over:
            if pod.state == "pending":
                before = f"; the attempt before it failed: {failure.sentence}" if failure else ""
                return "pending", Reason(seen.cause + before, seen.amounts) if seen else Reason(before.lstrip("; "))
            return "pending", Reason(f"{said.cause}; Kubeflow starts it again" if said.cause else "")
        if kfp_state == "RUNNING" and not over:
            # KFP calls a task running as soon as its pod is wanted.
            working = history.began is not None and failure is None
            return ("running" if working and not self._sees_pods else "pending"), seen or Reason("")
        return ("skipped" if over else "waiting"), seen or Reason("")

    def waiting(self, task: TaskStatus, planned: Mapping[str, SubmittedTask], unfinished: set[str]) -> TaskStatus:
        """With what it waits for, if it has no better reason."""
        if task.reason or task.state not in ("waiting", "pending", "skipped", "later"):
            return task
        after = planned[task.name].after
        before = [each for each in after if each in unfinished]
        if before:
            others = f" and {len(before) - 1} more" if len(before) > 1 else ""
            return _changed(task, {"reason": f"needs {before[0]}{others}"})
        if task.state == "later":
            return task
        for name in after:
            if sentence := self._holds(name):
                return _changed(task, {"reason": sentence} | ({} if task.state == "skipped" else {"state": "pending"}))
        if task.state == "skipped":
            return task
        reason = self._turn(task.name)
        return _changed(task, {"state": "pending", "reason": reason.cause, "amounts": reason.amounts})

    def _holds(self, name: str) -> str:
        """Why a task that is done holds what follows; empty if it doesn't."""
        found, pod = self._found(name), self._pod(name)
        if found is None or found.state == "SUCCEEDED":
            return ""
        if found.state == "FAILED":
            return f"{name} is done, but its pod failed after that and Kubeflow gives it up; `bertline submit` goes on"
        if pod and pod.state not in ("pending", "running", "succeeded"):
            return f"{name} is done, but its pod failed after that: Kubeflow starts it once more before it goes on"
        if pod and pod.restarts:
            return f"{name} is done, but its pod failed after that: Kubeflow has started another, which ends at once"
        return f"{name} is done, and Kubeflow hasn't seen the end of its pod yet"

    def _turn(self, name: str) -> Reason:
        """Where a task is stuck whose turn it is."""
        if self._fate.state == "canceling":
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
            return Reason("Kubeflow's own pod, which comes before it, is at work")
        if self._fate.state == "unknown":
            return Reason("Kubeflow can't be asked, and there is no pod of it")
        if self._fate.state == "pending" or (self._sees_pods and not self._drivers and not self._pods):
            return Reason("Kubeflow hasn't begun with the run yet")
        return Reason("Kubeflow makes its pod, which takes some ten seconds")

    def _found(self, name: str) -> "TaskState | None":
        run = self._fate.run
        return next((each for each in run.tasks if each.name == name), None) if run else None

    def _pod(self, name: str) -> "Pod | None":
        return self._pods.get(labels.label(name))


def _held(outcome: RunOutcome) -> dict[str, Reason]:
    """By KFP's task name, of tasks whose pod couldn't be made, or is gone: only Argo knows why."""
    from bertline_pipelines.cluster import failures, pending

    held = {}
    for step in outcome.workflow.steps if outcome.workflow else ():
        if step.phase == "Pending" and step.message:
            held[step.kfp_task] = pending.why_held(step)
        elif step.phase in ("Failed", "Error") and step.message:
            held[step.kfp_task] = Reason(failures.why_step_failed(step))
        elif not step.driver:
            held.pop(step.kfp_task, None)  # it went better later
    return held


def _took(found: "TaskState | None", history: History) -> float | None:
    """Seconds from a task's turn to its result; Kubeflow sees its end later."""
    end = history.finished or (found and found.finished)
    return max(0.0, end - found.started) if found and found.started and end else None


def _changed(status: TaskStatus, changes: dict[str, Any]) -> TaskStatus:
    return TaskStatus(**(asdict(status) | changes))


def worst(tasks: Iterable[TaskStatus]) -> ExitCode:
    """The exit code for failed tasks: what retrying can't help comes first."""
    codes = {task.exit_code for task in tasks if task.state == "failed" and task.exit_code is not None}
    for code in (ExitCode.USER_ERROR, ExitCode.DAMAGED, ExitCode.BUG, ExitCode.TRANSIENT, ExitCode.PREEMPTED):
        if code in codes:
            return code
    return ExitCode.TRANSIENT
