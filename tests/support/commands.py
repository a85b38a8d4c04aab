"""`bertline …` in a process that is forked from one which has imported all of it: it begins in milliseconds.

It is a process as its users have it, with a folder, an environment, standard streams, signals and an exit code of its
own. What a start itself does is tested with the real command, and so is `bertline run`, whose tasks are processes too.
Run as a script this is the process that forks.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

COMMAND = Path(sys.executable).with_name("bertline")
OTHERS = ("kfp.compiler", "google.cloud.storage", "rich.live")
"""What commands import only when they need it, besides modules of the pipelines."""


class Process:
    """A command at work, as `subprocess.Popen` has it."""

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        streams: tuple[int, int, int] | None = None,
        haste: float = 1.0,
    ) -> None:
        """Start `bertline …`.

        Args:
            arguments: What comes after `bertline`.
            cwd: Its folder.
            env: All of its environment.
            streams: Descriptors of stdin, stdout and stderr; otherwise there are text files `stdout` and `stderr`.
            haste: How many times shorter its pauses are, for instance between two looks at a run.
        """
        self.returncode: int | None = None
        self.args = [COMMAND, *map(str, arguments)]
        ours: list[int] = []
        if streams is None:
            (out, theirs_out), (err, theirs_err) = os.pipe(), os.pipe()
            streams = os.open(os.devnull, os.O_RDONLY), theirs_out, theirs_err
            self.stdout, self.stderr = os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8")
            ours = list(streams)
        self._channel, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_server(), [b"\n"], [theirs.fileno()])
        socket.send_fds(self._channel, [b"\n"], streams)
        for stream in ours:
            os.close(stream)
        request = {
            "arguments": list(map(str, self.args)),
            "cwd": str(cwd or Path.cwd()),
            "env": dict(env or os.environ),
            "haste": haste,
        }
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._channel.makefile()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self.wait(0) if self.returncode is not None or select.select([self._channel], [], [], 0)[0] else None

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
    """Run a command to its end; what it printed."""
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
def _server() -> socket.socket:
    """Our side of the process that forks."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


def _serve(server: socket.socket) -> None:
    """Fork for each request, until nobody asks any more."""
    import bertline_cli
    import bertline_pipelines
    from bertline import samples

    for package in (bertline_pipelines, bertline_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in OTHERS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        for name in samples.NAMES:
            samples.write(name, Path(folder))  # a process makes each once
    gc.freeze()
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
    """Fork a command, tell its pid, wait for it and tell its exit code."""
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
    """Be the command."""
    from bertline_cli.main import main

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if (haste := request["haste"]) != 1:
        sleep = time.sleep
        time.sleep = lambda seconds: sleep(seconds / haste)
    sys.argv = request["arguments"]
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    main()
    raise AssertionError("main ends the process")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
