"""The pipeline on one machine, without Kubernetes: every task through kfp.local's SubprocessRunner.

kfp.local runs a pipeline's tasks strictly one after the other and mixes their output into its own. So each task
becomes a pipeline of one task, in a process of its own: independent ones run side by side, output goes to a file a
task, and a failure stops only what needs the failed task. The processes are forked from a server that has imported kfp
once (2 to 4 s).

    <out>/logs/<task>.log     everything the task printed, KFP's executor included

Exit codes of tasks reach us through the progress file (see `bertline.progress`), because kfp.local drops them.
"""

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from bertline import entrypoints, progress
from bertline.errors import ExitCode
from bertline_pipelines.plans import Task

POLL_S = 0.2
SCRATCH = "bertline-run-"
END_S = 10.0
"""Seconds that tasks get to save themselves after SIGTERM."""


@dataclass
class State:
    """One task while the experiment runs, as displays see it."""

    task: Task
    log: Path
    phase: str = "waiting"
    """waiting, running, done, failed or skipped (something it needs failed)."""
    began: float = 0.0
    seconds: float = 0.0
    bar: dict[str, Any] = field(default_factory=dict)
    """The last `bertline.progress` bar."""
    said: list[str] = field(default_factory=list)
    """Sentences it said."""
    exit_code: int = 0
    message: str = ""


class Watcher(Protocol):
    """A display."""

    def changed(self, state: State) -> None:
        """A task entered another phase."""

    def tick(self, states: Sequence[State]) -> None:
        """Called a few times a second."""


@dataclass
class _Running:
    state: State
    process: BaseProcess
    channel: Path
    read: int = 0


def run(name: str, tasks: Sequence[Task], store_uri: str, out: Path, workers: int, watcher: Watcher) -> list[State]:
    """Run tasks, at most `workers` side by side; their final states.

    Ctrl-C and SIGTERM end the tasks (pre-training saves itself) and raise KeyboardInterrupt.
    """
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    _sweep()
    scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))
    states = {task.name: State(task, logs / f"{task.name}.log") for task in tasks}
    running: list[_Running] = []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bertline_pipelines.local_task"])
    threads = max(1, cores() // workers)
    terminated = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while any(state.phase in ("waiting", "running") for state in states.values()):
            for state in _ready(states, workers - len(running)):
                running.append(_start(context, name, state, store_uri, scratch, threads))
                watcher.changed(state)
            for each in list(running):
                _listen(each)
                if not each.process.is_alive():
                    _listen(each)
                    _finish(each)
                    running.remove(each)
                    watcher.changed(each.state)
                    _skip_dependents(states, watcher)
            watcher.tick(list(states.values()))
            time.sleep(POLL_S)
    finally:
        _end(running)
        signal.signal(signal.SIGTERM, terminated)
        shutil.rmtree(scratch, ignore_errors=True)
    return list(states.values())


def _sweep() -> None:
    """Remove the scratch folders of runs that were killed: shards and checkpoints of theirs may lie there."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*"):
        pid = folder.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _ready(states: dict[str, State], free: int) -> Iterator[State]:
    """Tasks that can start now, pre-training first: it is the long chain that everything waits for."""
    waiting = [
        state
        for state in states.values()
        if state.phase == "waiting" and all(states[before].phase == "done" for before in state.task.after)
    ]
    yield from sorted(waiting, key=lambda state: state.task.stage != "pretrain")[: max(0, free)]


def _start(context: Any, name: str, state: State, store_uri: str, scratch: Path, threads: int) -> _Running:
    channel = scratch / f"{state.task.name}.progress"
    channel.touch()
    environment = {
        progress.ENVIRONMENT: str(channel),
        entrypoints.PARENT: str(os.getpid()),
        "BERTLINE_THREADS": str(threads),
        "TMPDIR": str(scratch),
    }
    process = context.Process(
        target=_task,
        args=(name, state.task, store_uri, str(state.log), str(scratch), environment),
        daemon=False,
    )
    process.start()
    state.phase, state.began = "running", time.monotonic()
    return _Running(state, process, channel)


def _task(*arguments: Any) -> None:
    """In the task's process, where kfp is imported already; this one never needs it."""
    from bertline_pipelines import local_task

    local_task.run(*arguments)


def _listen(running: _Running) -> None:
    """Read what the task said since the last time; a half-written line waits."""
    with running.channel.open("rb") as file:
        file.seek(running.read)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    running.read += len(whole)
    state = running.state
    state.seconds = time.monotonic() - state.began
    for line in whole.splitlines():
        document = json.loads(line)
        if "label" in document:
            state.bar = document
        elif "say" in document:
            state.said.append(document["say"])
        else:
            state.exit_code, state.message = document["exit_code"], document["message"]


def _finish(running: _Running) -> None:
    state = running.state
    running.process.join()
    if running.process.exitcode == 0:
        state.phase = "done"
        return
    state.phase = "failed"
    state.exit_code = state.exit_code or ExitCode.BUG
    state.message = state.message or f"its process ended with exit code {running.process.exitcode}"


def _skip_dependents(states: dict[str, State], watcher: Watcher) -> None:
    """What needs a failed task can't run."""
    for state in states.values():  # in the order of the plan: needs come first
        if state.phase == "waiting" and any(
            states[before].phase in ("failed", "skipped") for before in state.task.after
        ):
            state.phase = "skipped"
            watcher.changed(state)


def _end(running: Sequence[_Running]) -> None:
    """Ask what still runs to stop, then make it: by the process groups that the tasks opened."""
    for number, patience in ((signal.SIGTERM, END_S), (signal.SIGKILL, END_S)):
        for each in running:
            if each.process.is_alive() and each.process.pid:
                try:
                    os.killpg(each.process.pid, number)
                except ProcessLookupError:
                    continue  # ended, or hasn't opened its group yet: `terminate` below reaches it
                except PermissionError:
                    each.process.terminate()
        until = time.monotonic() + patience
        for each in running:
            each.process.join(max(0.0, until - time.monotonic()))


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def last_lines(log: Path, count: int = 20) -> list[str]:
    """The end of a task's log."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []
