"""Saves a task's output in the store: `attempts/<n>.log` beside the attempt's events.

This includes all standard output and standard error, also from TensorFlow's C++ code and from worker processes. So both
are pipes to a separate process (`output_capture`), which passes everything on at once and keeps a copy. A thread saves
the copy in the store: soon, then every minute, at SIGTERM, and at the end. For a killed task the last minute is missing
in the store, but not where the output was passed on to.

Saving output never fails or delays a task; output that can't be saved is dropped.
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
"""Seconds for passing on the last lines; child processes that still run must not delay the end."""

_recorder: "Recorder | None" = None


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Capture the output of this process and its child processes."""
    global _recorder
    with contextlib.suppress(OSError):  # no free process or descriptor: continue without
        _recorder = Recorder()
    try:
        yield
    finally:
        recorder, _recorder = _recorder, None
        if recorder:
            recorder.close()


def keep(put: Put) -> None:
    """Begin a log: pass all output from now on to `put`, repeatedly, until the next log begins.

    It does nothing if no output is captured, as in programs that use the stages as a library.
    """
    if _recorder:
        _recorder.keep(put)


class Recorder:
    """Captures standard output and standard error of this process until `close`."""

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
                start_new_session=True,  # a signal to the task's process group must not end it early
            )
            os.dup2(new_out, 1)
            os.dup2(new_err, 2)
            self._open = ours.pop_all()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)  # a crash loses what Python still holds
        self._signals_before: int | None = None
        if threading.current_thread() is threading.main_thread():
            # Set by the signal handler, because the main thread may be in TensorFlow for seconds.
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
        """Save the end of the log, and print directly again."""
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
        poll.register(self._answers, 0)  # only to see that it is closed
        pause = FIRST_S
        while not self._closing:
            ready = dict(poll.poll(pause * 1000))
            if self._answers in ready:
                self._print_directly()  # the capturing process was killed
                return
            if self._woken in ready:
                os.read(self._woken, 1 << 10)
            if not self._closing:
                with self._lock:
                    self._give()
                pause = min(2 * pause, EVERY_S)

    def _give(self) -> None:
        """Save the output so far, if it has grown."""
        content = self._ask(output_capture.COPY) if self._put else None
        if self._put and content and content != self._kept:
            with contextlib.suppress(Exception):  # try again the next time
                self._put(content)
                self._kept = content

    def _ask(self, request: bytes) -> bytes | None:
        """The answer of the capturing process; None if it doesn't answer; then it isn't asked again."""
        assert self._tee.stdin is not None
        try:
            self._tee.stdin.write(request)
            poll = select.poll()
            poll.register(self._answers, select.POLLIN)
            if poll.poll(ANSWER_S * 1000) and os.read(self._answers, 1) == request:
                return os.pread(self._copy, os.fstat(self._copy).st_size, 0)
            self._tee.stdin.close()
        except (OSError, ValueError):  # it has ended or doesn't answer
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
