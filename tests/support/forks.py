"""Processes that are forked from one which has imported all they need: they begin in milliseconds, not in seconds.

Each is a process as its users have it, with a folder, an environment, standard streams, signals and an exit code of its
own. What a start itself does is tested with the real command, and so are tasks of `bertline run`.
Run as a script this is the process that forks.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

COMMAND = str(Path(sys.executable).with_name("bertline"))


class Process:
    """A program at work, as `subprocess.Popen` has it."""

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        program: str = "bertline",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        streams: tuple[int, int, int] | None = None,
        first: Callable[[], None] | None = None,
    ) -> None:
        """Start it.

        Args:
            arguments: What comes after the program's name.
            program: `bertline`, or a component's module, `bertline.pretrain`.
            cwd: Its folder.
            env: All of its environment.
            streams: Descriptors of stdin, stdout and stderr; otherwise there are text files `stdout` and `stderr`.
            first: A function of a module in tests/support that is called in the new process before anything else.
        """
        self.returncode: int | None = None
        self.args = [COMMAND if program == "bertline" else program, *map(str, arguments)]
        ours: list[int] = []
        if streams is None:
            (out, theirs_out), (err, theirs_err) = os.pipe(), os.pipe()
            streams = os.open(os.devnull, os.O_RDONLY), theirs_out, theirs_err
            self.stdout, self.stderr = os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8")
            ours = list(streams)
        self._channel, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_server(program != "bertline"), [b"\n"], [theirs.fileno()])
        socket.send_fds(self._channel, [b"\n"], streams)
        for stream in ours:
            os.close(stream)
        request = {
            "arguments": self.args,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(env or os.environ),
            "first": [first.__module__, first.__name__] if first else None,
        }
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._channel.makefile()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self.wait() if self.returncode is not None or select.select([self._channel], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative after a signal."""
        if self.returncode is None:
            if not select.select([self._channel], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing happens to one that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[object], *, cwd: Path, timeout: int = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `bertline …` to its end; what it printed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(os.devnull) as nothing:
        process = Process(
            arguments,
            cwd=cwd,
            env=os.environ | {"COLUMNS": "120"} | environment,
            streams=(nothing.fileno(), out.fileno(), err.fileno()),
        )
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        printed = []
        for file in (out, err):
            file.seek(0)
            printed.append(file.read().decode())
    return subprocess.CompletedProcess(process.args, code, *printed)


@functools.cache
def _server(has_tensorflow: bool) -> socket.socket:
    """Our side of the process that forks: one for commands, one for what trains."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "support.forks", str(theirs.fileno()), *["tensorflow"] * has_tensorflow]
    # Not by the current folder: a test that has called `main` in this process has set PYTHONSAFEPATH.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


def _import_commands() -> None:
    import bertline_cli
    import bertline_pipelines
    from bertline import samples

    for package in (bertline_pipelines, bertline_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in ("kfp.compiler", "google.cloud.storage", "rich.live"):  # imported where they are needed
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        for name in samples.NAMES:
            samples.write(name, Path(folder))  # a process makes each once


def _import_tensorflow() -> None:
    """Nothing of it has run before a fork: its threads would be missing there."""
    for name in ("pretrain.stage", "pretrain.trainer", "pretrain.checkpoints", "evaluate.stage", "evaluate.classifier"):
        importlib.import_module(f"bertline.{name}")


def _serve(server: socket.socket) -> None:
    """Fork for each request, until nobody asks any more."""
    gc.freeze()
    os.fsync = lambda _: None  # as in tests/conftest.py
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to wait for them
    while True:
        asked, channels, _, _ = socket.recv_fds(server, 1, 1)
        if not asked:
            return
        if os.fork() == 0:
            server.close()
            _answer(socket.socket(fileno=channels[0]))
        os.close(channels[0])


def _answer(channel: socket.socket) -> NoReturn:
    """Fork a program, tell its pid, wait for it and tell its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(channel, 1, 3)
    with channel.makefile() as requests:
        request = json.loads(requests.readline())
    pid = os.fork()
    if pid == 0:
        channel.close()
        _become(request, streams)
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    channel.sendall(b"%d\n" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    channel.sendall(b"%d\n" % code)
    os._exit(0)


def _become(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """Be the program."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["arguments"]
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    if request["first"]:
        module, function = request["first"]
        getattr(importlib.import_module(module), function)()
    if sys.argv[0] == COMMAND:
        from bertline_cli.main import main

        main()
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    raise AssertionError("a program ends its process")


if __name__ == "__main__":
    number, *kind = sys.argv[1:]
    (_import_tensorflow if kind else _import_commands)()
    _serve(socket.socket(fileno=int(number)))
