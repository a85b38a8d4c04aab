"""What a task prints, kept in the store: `attempts/<n>.log` beside the attempt's events.

All that goes to standard output and standard error counts, TensorFlow's C++ and worker processes included, so it is
taken where it leaves the process: both are pipes to a process of its own (`output_capture`), which passes everything
on at once and remembers it. A thread here puts what is remembered into the store: soon, then every minute, at SIGTERM
while the work is being saved, and at the end. So the last minute of a
killed task is missing in the store, and nothing is missing where the output was passed on to.

None of this may fail a task or hold it up. Where the output can't be kept, it isn't.
"""

import contextlib
import io
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

from bertline.process import output_capture

Put = Callable[[bytes], object]

FIRST_S = 5.0
EVERY_S = 60.0
ANSWER_S = 10.0
END_S = 2.0
"""Seconds that passing on the last lines may take; what a task has left running must not keep it from ending."""

_recorder: "Recorder | None" = None


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Take down what this process and those that it starts print."""
    global _recorder
    with contextlib.suppress(OSError):  # no process, no descriptors: then without
        _recorder = Recorder()
    try:
        yield
    finally:
        recorder, _recorder = _recorder, None
        if recorder:
            recorder.close()


def keep(put: Put) -> None:
    """Begin a log: all that is printed from now on is given to `put`, again and again, until the next one begins.

    Nothing happens where nothing is taken down: in programs that use the stages as a library.
    """
    if _recorder:
        _recorder.keep(put)


class Recorder:
    """Standard output and standard error of this process, taken down until `close`."""

    def __init__(self) -> None:
        _flush()
        self._lock = threading.Lock()
        self._put: Put | None = None
        self._kept = b""
        self._closing = False
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self._copy = _closed_by(ours, os.memfd_create("output"))
            self._answers, answering = _pipe(ours, theirs)
            self._woken, self._waking = _pipe(ours, ours)
            self._before = {target: _closed_by(ours, os.dup(target)) for target in (1, 2)}
            (out, new_out), (err, new_err) = _pipe(theirs, theirs), _pipe(theirs, theirs)
            descriptors = (out, err, answering, self._copy)
            self._tee = subprocess.Popen(
                [sys.executable, "-I", "-S", output_capture.__file__, *map(str, descriptors)],
                stdin=subprocess.PIPE,
                bufsize=0,
                pass_fds=descriptors,
                start_new_session=True,  # what ends the task's process group must not end it before it has said all
            )
            os.dup2(new_out, 1)
            os.dup2(new_err, 2)
            self._open = ours.pop_all()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)  # a crash loses what Python still holds
        self._signals_before: int | None = None
        if threading.current_thread() is threading.main_thread():
            # Told by the handler itself, while the main thread may be in TensorFlow for seconds.
            os.set_blocking(self._waking, False)
            self._signals_before = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="output", daemon=True)
        self._thread.start()

    def keep(self, put: Put) -> None:
        """See `keep`."""
        _flush()
        with self._lock:
            self._give()
            self._ask(output_capture.FORGET)
            self._put, self._kept = put, b""

    def close(self) -> None:
        """Give the log its end; print directly again."""
        _flush()
        self._closing = True
        if self._signals_before is not None:
            signal.set_wakeup_fd(self._signals_before)
        with contextlib.suppress(BlockingIOError):  # full: it is being woken already
            os.write(self._waking, b"\0")
        self._thread.join()
        with self._lock:
            self._give()
        self._print_directly()
        assert self._tee.stdin is not None
        self._tee.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._tee.wait(END_S)
        self._open.close()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(self._answers, 0)  # only whether it is closed
        pause = FIRST_S
        while not self._closing:
            ready = dict(poll.poll(pause * 1000))
            if self._answers in ready:
                self._print_directly()  # somebody killed the tee
                return
            if self._woken in ready:
                os.read(self._woken, 1 << 10)
            if not self._closing:
                with self._lock:
                    self._give()
                pause = min(2 * pause, EVERY_S)

    def _give(self) -> None:
        """Put what was printed by now, if that is more than before."""
        content = self._ask(output_capture.COPY) if self._put else None
        if self._put and content and content != self._kept:
            with contextlib.suppress(Exception):  # the next time, perhaps
                self._put(content)
                self._kept = content

    def _ask(self, request: bytes) -> bytes | None:
        """What the tee remembers; None if it doesn't answer, and then it is never asked again."""
        assert self._tee.stdin is not None
        try:
            self._tee.stdin.write(request)
            poll = select.poll()
            poll.register(self._answers, select.POLLIN)
            if poll.poll(ANSWER_S * 1000) and os.read(self._answers, 1) == request:
                return os.pread(self._copy, os.fstat(self._copy).st_size, 0)
            self._tee.stdin.close()
        except (OSError, ValueError):  # it is gone, or was given up
            return None
        return None

    def _print_directly(self) -> None:
        _flush()
        for target, before in self._before.items():
            os.dup2(before, target)


def _pipe(source: contextlib.ExitStack, target: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    return _closed_by(source, ends[0]), _closed_by(target, ends[1])


def _closed_by(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
