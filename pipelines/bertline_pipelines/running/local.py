"""The pipeline on one machine, without Kubernetes: every task through kfp.local's SubprocessRunner.

kfp.local runs a pipeline's tasks one after the other and mixes their output into its own. So each task is a pipeline of
one task in a separate process: independent tasks run at the same time, each task has its own log file, and a failure
stops only tasks that need the failed one. The processes are forked from a server that has imported kfp once (2 to 4 s).

    <out>/logs/<task>.log     all output of the task and KFP's executor

Exit codes of tasks come from the progress file (see `bertline.process.progress`), because kfp.local drops them.

Ctrl-C, SIGTERM and SIGHUP stop a run: it sends SIGTERM to its tasks, which save checkpoints, and waits until all their
processes have ended. A second Ctrl-C only repeats the message; a third one kills the remaining processes. Signals
within a second count as one, because a closed terminal sends several. A task is three processes in one process group:
the one forked here, KFP's shell, and the executor, which does the work.
"""

import contextlib
import json
import math
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import psutil

from bertline.errors import BertlineError, ExitCode
from bertline.evaluate import checkpoints
from bertline.evaluate.config import EvaluateConfig
from bertline.models import rolling
from bertline.pretrain.config import PretrainConfig
from bertline.process import processors, progress, signals
from bertline.stage import entrypoints
from bertline.store import backends
from bertline.store.realizations import MANIFEST
from bertline_pipelines.planning.plans import Task
from bertline_pipelines.running import folders

POLL_S = 0.2
SAVE_S = 600.0
"""Seconds that tasks have to save: a call of TensorFlow can't be interrupted, and a store may be slow."""
AGAIN_S = 2.0
"""Seconds between two SIGTERMs: a task may not yet handle the first one."""
KILL_AT = 3
"""Number of Ctrl-Cs that kills the tasks."""
ONE_S = 1.0
"""Signals within so many seconds count as one."""
SOCKET_BYTES = 60
"""Longest path of the folder for the fork server's socket; the socket's path may have 107 bytes."""


@dataclass
class State:
    """The state of one task, for displays."""

    task: Task
    log: Path
    phase: str = "waiting"
    """waiting, running, done, failed, stopped (with the run) or skipped (a task that it needs failed)."""
    began: float = 0.0
    seconds: float = 0.0
    bar: dict[str, Any] = field(default_factory=dict)
    """The last `bertline.process.progress` bar."""
    said: list[str] = field(default_factory=list)
    """Its messages."""
    exit_code: int = 0
    message: str = ""


class Watcher(Protocol):
    """A display."""

    def changed(self, state: State) -> None:
        """A task entered another phase."""

    def tick(self, states: Sequence[State]) -> None:
        """Called a few times a second."""

    def say(self, sentence: str) -> None:
        """A message about the run as a whole."""


class InterruptedRunError(Exception):
    """A run was stopped by a signal, and all its tasks have ended."""

    def __init__(self, states: list[State], number: int) -> None:
        super().__init__("the run was told to stop")
        self.states = states
        self.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.PREEMPTED


@dataclass
class _Running:
    state: State
    process: BaseProcess
    channel: Path
    read: int = 0
    told: float | None = None
    """Time of the last signal to stop; None if there was none."""
    killed: bool = False

    @property
    def processes(self) -> list[psutil.Process]:
        """The task's processes, without zombies."""
        if self.process.is_alive():
            return [psutil.Process(self.process.pid)]
        return [each for each in psutil.process_iter() if _is_in(each, self.process.pid)]


class _Stop:
    """Counts the signals to stop."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.count = self.answered = 0
        self._since = self._last = -math.inf

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count signals; a signal that is ignored stays ignored, for example SIGHUP under nohup."""
        numbers = [
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
        ]
        before = {number: signal.signal(number, self.receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def receive(self, number: int, _: object = None) -> None:
        """Count a signal."""
        now = time.monotonic()
        if self.number is None:
            self.number, self._since = number, now
        self.count += now - self._last > ONE_S
        self._last = now

    @property
    def patience_is_over(self) -> bool:
        """True if the remaining processes have to be killed."""
        return self.count >= KILL_AT or time.monotonic() - self._since > SAVE_S

    def obey(self, running: Sequence[_Running], watcher: Watcher) -> None:
        """Stop the tasks, with a message for each signal."""
        names = ", ".join(each.state.task.name for each in running)
        if self.answered < self.count:
            if self.patience_is_over:
                watcher.say(f"ending at once: {names}; the work since the last checkpoint is lost")
            elif self.count == 1:
                watcher.say(f"stopping: waiting for {names} to save")
            else:
                watcher.say(f"still waiting for {names}; Ctrl-C once more ends at once, without saving")
            self.answered = self.count
        for each in running:
            _tell_to_stop(each, kill=self.patience_is_over)


def run(name: str, tasks: Sequence[Task], store_uri: str, out: Path, workers: int, watcher: Watcher) -> list[State]:
    """Run tasks, at most `workers` at a time; return their final states.

    Raises:
        InterruptedRunError: a signal stopped the run; its tasks have saved and ended.
        UserError: `out` or the folder for temporary files can't be written to.
        TransientError: another run writes to `out`.
    """
    stop = _Stop()
    with folders.claimed(out), folders.scratch() as scratch, stop.listening():
        logs = out / "logs"
        logs.mkdir(exist_ok=True)
        states = {task.name: State(task, logs / f"{task.name}.log") for task in tasks}
        running: list[_Running] = []
        context = _context()
        threads = max(1, processors.cores() // workers)
        try:
            while running or (stop.number is None and _is_any(states, "waiting")):
                if stop.number is not None:
                    stop.obey(running, watcher)
                else:
                    for state in _ready(states, workers - len(running)):
                        running.append(_start(context, name, state, store_uri, scratch, threads))
                        watcher.changed(state)
                for each in list(running):
                    over = _is_over(each)
                    _listen(each)
                    if over:
                        _finish(each, store_uri, stopped=stop.number is not None)
                        running.remove(each)
                        watcher.changed(each.state)
                        _skip_dependents(states, watcher)
                watcher.tick(list(states.values()))
                time.sleep(POLL_S)
        finally:
            _end(running, stop)  # after an error of ours tasks may still run
    if stop.number is not None and any(state.phase not in ("done", "failed", "skipped") for state in states.values()):
        raise InterruptedRunError(list(states.values()), stop.number)
    return list(states.values())


def _end(running: list[_Running], stop: _Stop) -> None:
    """Stop all tasks and wait, so that no process writes to our scratch folder any more."""
    if running and stop.number is None:
        stop.receive(signal.SIGTERM)
    while running:
        for each in list(running):
            if _is_over(each):
                running.remove(each)
            else:
                _tell_to_stop(each, kill=stop.patience_is_over)
        time.sleep(POLL_S)


def _context() -> Any:
    """The multiprocessing context: tasks are forked from a server that has imported kfp.

    The server's socket is in the folder for temporary files. If its path is too long, processes are spawned instead.
    """
    if len(os.fsencode(tempfile.gettempdir())) > SOCKET_BYTES:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bertline_pipelines.running.local_task"])
    return context


def _is_any(states: dict[str, State], phase: str) -> bool:
    return any(state.phase == phase for state in states.values())


def _ready(states: dict[str, State], free: int) -> Iterator[State]:
    """Tasks that can start now, pre-training first, because it is the longest chain."""
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
        entrypoints.LOCK: str(scratch / folders.LOCK),
        processors.THREADS: str(threads),
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
    """Run a task in its process, which has imported kfp; this process never needs it."""
    from bertline_pipelines.running import local_task

    local_task.run(*arguments)


def _listen(running: _Running) -> None:
    """Read new complete lines of the task's progress."""
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


def _is_over(running: _Running) -> bool:
    """True if no process of the task is left. The forked one may be killed while the executor still works."""
    if running.process.is_alive():
        return False
    if running.processes:
        _tell_to_stop(running, kill=False)
        return False
    return True


def _finish(running: _Running, store_uri: str, *, stopped: bool) -> None:
    state = running.state
    running.process.join()
    if running.process.exitcode == 0:
        state.phase = "done"
        return
    resumes = state.exit_code in (0, ExitCode.PREEMPTED, ExitCode.INTERRUPTED)
    if stopped and resumes:
        state.phase = "stopped"
        if signals.ALL in state.message or not state.message:  # it had no checkpoint of its own yet
            told = "killed" if running.killed else "told to stop"
            state.message = f"{told}; {_kept(state.task, store_uri)}; the same command continues"
    else:
        state.phase = "failed"
        state.exit_code = state.exit_code or ExitCode.BUG
        state.message = state.message or f"its process ended with exit code {running.process.exitcode}"


def _kept(task: Task, store_uri: str) -> str:
    """What the store has saved of a task that has just ended."""
    with contextlib.suppress(BertlineError):
        store = backends.connect(store_uri).hasty()
        for config in task.configs:
            place = config.derivation().prefix
            if store.stat(f"{place}{MANIFEST}") is None:
                step = rolling.step(store, place)
                if isinstance(config, PretrainConfig):
                    return f"saved at step {step or config.begin_step:,}"
                if isinstance(config, EvaluateConfig):
                    return checkpoints.where(config.task, step or 0)
    return signals.ALL


def _skip_dependents(states: dict[str, State], watcher: Watcher) -> None:
    """Skip tasks that need a failed task."""
    for state in states.values():  # in the order of the plan: needs come first
        if state.phase == "waiting" and any(
            states[before].phase in ("failed", "skipped") for before in state.task.after
        ):
            state.phase = "skipped"
            watcher.changed(state)


def _tell_to_stop(running: _Running, *, kill: bool) -> None:
    """Send SIGTERM, or SIGKILL, to all of a task's processes."""
    now = time.monotonic()
    if not kill and running.told is not None and now - running.told < AGAIN_S:
        return
    running.told, running.killed = now, kill
    number = signal.SIGKILL if kill else signal.SIGTERM
    try:
        os.killpg(running.process.pid or 0, number)
    except ProcessLookupError:  # it has ended, or hasn't opened its group yet
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in running.processes:
                each.send_signal(number)


def _is_in(process: psutil.Process, group: int | None) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def last_lines(log: Path, count: int = 20) -> list[str]:
    """The end of a task's log."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []
