"""`bertline logs`: a task's output, live from its pod, later from the store."""

import collections
import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bertline.plurals import counted
from bertline_cli import arguments

if TYPE_CHECKING:
    from bertline.store.objects import ObjectStore
    from bertline_pipelines.cluster.pods import Pod
    from bertline_pipelines.cluster.reader import Cluster
    from bertline_pipelines.records.submissions import AnyTask, Submission
    from bertline_pipelines.records.task_histories import TaskHistory
    from bertline_pipelines.submitting.statuses import Observer

EXAMPLE = """Examples:  bertline logs my.yaml -p gke-l4                  which tasks have logs

bertline logs my.yaml -p gke-l4 -t 6L-pretrain-10 -f     follow one"""

POLL_S = 3.0
PATIENCE_S = 1800.0
"""Following gives up after so many seconds without an answer of Kubeflow and the cluster."""
WRAPPING_LINES = 200
"""More lines than Kubeflow and Argo print around a task's own lines."""
AGE = re.compile(r"\d+ (s|min|h|seconds|minutes|hours)\b")


def command(
    experiment: arguments.ExperimentName,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", metavar="NAME", help="The task, or a part of its name.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the task through all attempts until it is done.")
    ] = False,
    attempt: Annotated[
        int | None,
        typer.Option(min=1, help="One attempt, from the store; without it, the last one.", show_default=False),
    ] = None,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="LINES", help="Only the last lines.", show_default=False)
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="With the lines that Kubeflow and Argo print around the task's own.")
    ] = False,
    profile: arguments.OptionalProfile = None,
    store: arguments.Store = None,
) -> None:
    """Show a task's output: from its pod if it has one, else from the store.

    Without --task it shows the only running or failed task, or a list if there are several.
    """
    from bertline.errors import UserError
    from bertline_pipelines.records import task_histories, task_logs

    if follow and attempt:
        raise UserError("--attempt shows an attempt that has ended, --follow a running one: give only one of them")
    connected = arguments.existing(store, profile)
    tasks, submission = task_logs.find(connected, arguments.name(experiment))
    chosen = _named(task, tasks) if task else None
    try:
        if chosen is None:
            found = task_histories.read(connected, tasks)
            chosen = _obvious(tasks, found)
            if chosen is None:
                if follow:
                    raise UserError(_which(tasks, found))
                _list(tasks, found, f"bertline logs {shlex.quote(experiment)} {arguments.options(store, profile)}")
                return
        place = profile if attempt is None else None
        with contextlib.closing(_Reader(connected, submission, chosen, place, store, raw)) as reader:
            if follow:
                reader.follow(tail)
            else:
                reader.show(attempt, tail)
    except BrokenPipeError:  # for example `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Reader:
    """Shows one task's output, from its pod or the store."""

    def __init__(
        self,
        store: "ObjectStore",
        submission: "Submission | None",
        task: "AnyTask",
        profile: str | None,
        store_option: str | None,
        raw: bool,
    ) -> None:
        self._store, self._submission, self._task, self._raw = store, submission, task, raw
        self._said = ""
        self._open = contextlib.ExitStack()
        self._cluster: Cluster | None = None
        self._observer: Observer | None = None
        if submission is None or submission.run_id is None or profile is None:
            return
        place = arguments.profile(profile, store_option)
        if place.kubeflow is None:
            return
        from bertline_pipelines.places import access
        from bertline_pipelines.submitting import statuses

        remarks: list[str] = []
        self._cluster = access.try_to(
            lambda: self._open.enter_context(access.cluster(place)), remarks, "pods can't be read"
        )
        server = self._open.enter_context(access.kubeflow(place))
        self._observer = statuses.Observer(store, submission, server, self._cluster)
        for remark in remarks:
            self._say(remark)

    def close(self) -> None:
        """Close the connections."""
        self._open.close()

    def show(self, attempt: int | None, tail: int | None) -> None:
        """Show the output so far."""
        from bertline.errors import TransientError

        pod = self._pod() if attempt is None else None
        if pod and pod.state == "pending":
            self._say(f"its pod waits: {self._why(pod)}")
        elif pod:
            try:
                self._stream(pod, follow=False, tail=tail)
                return
            except TransientError as error:
                self._say(f"{error}; this is what the store has")
        if not self._stored(attempt, tail):
            raise TransientError(f"task {self._task.name} has printed nothing yet; -f waits for it")

    def follow(self, tail: int | None) -> None:
        """Show all output until the task's end."""
        if self._cluster is None:
            self._follow_store(tail)
        else:
            self._follow_pods(tail)

    def _follow_pods(self, tail: int | None) -> None:
        from bertline.errors import TransientError
        from bertline_cli import watching
        from bertline_pipelines.cluster.pod_logs import LogGoneError

        assert self._observer is not None
        seen: set[str] = set()
        answered = time.monotonic()
        while True:
            pod = self._pod()
            if pod and pod.uid not in seen and pod.state != "pending":
                seen.add(pod.uid)
                try:
                    self._stream(pod, follow=True, tail=tail)
                except LogGoneError as error:
                    self._say(str(error))
                tail = None
                continue
            status = self._observer.look()
            now = next(each for each in status.tasks if each.name == self._task.name)
            ended = now.state in ("done", "failed", "cancelled", "skipped", "later") and status.store_answers
            if ended or status.is_over:
                if not seen:
                    watching.patiently(lambda: self._stored(None, tail), sys.stderr, POLL_S)  # noqa: B023
                self._say(f"{now.state}{f': {now.reason}' if now.reason else ''}")
                return
            if status.is_known:
                answered = time.monotonic()
            elif time.monotonic() - answered > PATIENCE_S:
                raise TransientError(f"no status for {PATIENCE_S / 60:.0f} min: {'; '.join(status.remarks)}")
            if not status.store_answers:
                self._say(next(remark for remark in status.remarks if remark.startswith("the store")))
            elif pod and pod.uid not in seen:
                self._say(f"its pod waits: {self._why(pod)}")
            elif seen:
                self._say("this attempt has ended; waiting for the next one's pod, or for the end of the task")
            else:
                self._say(f"waiting for its pod{f': {now.reason}' if now.reason else ''}")
            time.sleep(POLL_S)

    def _follow_store(self, tail: int | None) -> None:
        from bertline.errors import TransientError
        from bertline.store.histories import KILLED, State
        from bertline_pipelines.records import task_histories, task_logs

        if self._submission is not None:
            self._say(f"live output needs --profile {self._submission.profile}; the store has it a minute later")
        store = self._store.hasty()
        reader = task_logs.Tail(store, self._task)
        answered = time.monotonic()
        while True:
            try:
                # Before the last read, so that no output is missed.
                history = task_histories.read(store, [self._task])[self._task.name]
                is_dead = history.state == State.AT_WORK and reader.is_dead()
                for transcript in reader.new():
                    if transcript.title:
                        self._say(transcript.title)
                    _print(transcript.lines, tail)
                    tail = None
            except TransientError as error:
                if time.monotonic() - answered > PATIENCE_S:
                    raise
                reader.interrupted()
                self._say(f"the store can't be read: {getattr(error, 'said', error)}; waiting for it")
                time.sleep(POLL_S)
                continue
            answered = time.monotonic()
            if history.is_done or history.state.has_stopped or is_dead:
                self._say(KILLED if is_dead else str(history.current))
                return
            if history.state == State.NOT_BEGUN:
                self._say("waiting for it to begin")
            time.sleep(POLL_S)

    def _pod(self) -> "Pod | None":
        from bertline.errors import BertlineError
        from bertline_pipelines.compiling import labels

        if self._cluster is None or self._submission is None:
            return None
        try:
            found = self._cluster.pods(self._submission.namespace, run_id=self._submission.run_id)
        except BertlineError as error:
            self._say(f"pods can't be read: {error}")
            return None
        return next((pod for pod in found if pod.task == labels.label(self._task.name)), None)

    def _why(self, pod: "Pod") -> str:
        assert self._cluster is not None
        return str(self._cluster.explain(pod.namespace, [pod]).get(pod.name, "Kubernetes doesn't say why"))

    def _stream(self, pod: "Pod", *, follow: bool, tail: int | None) -> None:
        from bertline_pipelines.cluster import log_framing, pod_logs

        assert self._cluster is not None
        before = f", after {pod.restarts} before it" if pod.restarts else ""
        self._say(f"pod {pod.name} on node {pod.node or '?'}, {pod.state}{before}")
        if self._raw:
            for line in pod_logs.lines(self._cluster, pod.namespace, pod.name, follow=follow, tail=tail):
                _print([line])
            return
        # With `follow`, `tail` counts all lines, because the end of the log isn't known.
        asked = tail if tail is None or follow else tail + WRAPPING_LINES
        printed = False
        lines = log_framing.without(pod_logs.lines(self._cluster, pod.namespace, pod.name, follow=follow, tail=asked))
        for line in lines if follow or tail is None else collections.deque(lines, maxlen=tail):
            _print([line])
            printed = True
        if not printed and tail != 0:
            self._say("it has printed nothing itself; --raw shows Kubeflow's and Argo's lines")

    def _stored(self, attempt: int | None, tail: int | None) -> bool:
        """Print the saved output; False if there is none."""
        from bertline_pipelines.records import task_logs

        found = False
        for transcript in task_logs.read(self._store, self._task, attempt):
            found = True
            self._say(transcript.title)
            _print(transcript.lines, tail)
        return found

    def _say(self, sentence: str) -> None:
        """Print a message about the output. A message that differs only in an age isn't repeated."""
        if (what := "the store" if sentence.startswith("the store") else AGE.sub("", sentence)) != self._said:
            self._said = what
            typer.echo(f"== {sentence}", err=True)


def _named(name: str, tasks: "Sequence[AnyTask]") -> "AnyTask":
    """The only task whose name is, begins with, or contains `name`."""
    from bertline.errors import UserError

    wanted = name.lower()
    for fits in (str.__eq__, str.startswith, str.__contains__):
        found = [task for task in tasks if fits(task.name.lower(), wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(f"--task {name} fits several: {', '.join(task.name for task in found)}; give more of it")
    raise UserError(f"there is no task {name}; there are {', '.join(task.name for task in tasks)}")


def _obvious(tasks: "Sequence[AnyTask]", histories: "dict[str, TaskHistory]") -> "AnyTask | None":
    """The only running task; if none is running, the only one that has stopped."""
    found = _at_work(tasks, histories) or [task for task in tasks if histories[task.name].state.has_stopped]
    return found[0] if len(found) == 1 else None


def _at_work(tasks: "Sequence[AnyTask]", histories: "dict[str, TaskHistory]") -> "list[AnyTask]":
    from bertline.store.histories import State

    return [task for task in tasks if histories[task.name].state == State.AT_WORK]


def _which(tasks: "Sequence[AnyTask]", histories: "dict[str, TaskHistory]") -> str:
    running = [task.name for task in _at_work(tasks, histories)]
    if running:
        return f"{len(running)} tasks run: {', '.join(running)}; say which one with --task"
    left = [task.name for task in tasks if not histories[task.name].is_done]
    if not left:
        return "all tasks are done, there is nothing to follow"
    return f"no task runs; say with --task for which one to wait: {', '.join(left)}"


def _list(tasks: "Sequence[AnyTask]", histories: "dict[str, TaskHistory]", again: str) -> None:
    begun = [task for task in tasks if histories[task.name].attempts]
    width = max((len(task.name) for task in begun), default=0)
    for task in begun:
        history = histories[task.name]
        count = counted(history.attempts, "attempt")
        typer.echo(f"{task.name:{width}}  {history.state:9}  {count:>11}")
    if not begun:
        typer.echo(f"none of {counted(len(tasks), 'task')} has begun; `{again} --task NAME -f` waits for one")
    elif len(begun) < len(tasks):
        left = len(tasks) - len(begun)
        typer.echo(f"{counted(left, 'more task')} {'has' if left == 1 else 'have'}n't begun")
    if begun:
        typer.echo(f"`{again} --task NAME` shows the output of one")


def _print(lines: Iterable[str], tail: int | None = None) -> None:
    """Print output at once."""
    lines = list(lines)
    for line in lines[len(lines) - tail if tail is not None and tail < len(lines) else 0 :]:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
