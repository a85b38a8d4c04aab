"""A separate process that passes on a task's output and keeps a copy.

    python -I -S output_capture.py OUT ERR ANSWERS COPY

It is a separate process, so that it can read what a killed task has written to the pipes. The four arguments are
descriptors: the two pipes that the task prints to, a pipe for answers, and a file for the copy. Standard input brings
requests of one byte; when it is closed, the task has ended.

It runs without site-packages and imports little, so it starts within 20 ms and takes less than 10 MB.
"""

import contextlib
import os
import select
import sys

HEAD, TAIL = 256 << 10, 1 << 20
"""Bytes kept of the beginning and of the end. Bytes between them are dropped."""

COPY, FORGET = b"c", b"f"
"""Requests: write the copy to the file; forget the copy. Both include everything printed before the request."""

PIPE = 1 << 16  # bytes that a pipe holds
LINGER_S = 0.3  # of silence; then a dead task's child processes aren't expected to print any more


class Memory:
    """The beginning and the end of an output."""

    def __init__(self) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Keep the next bytes."""
        room = HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * TAIL:  # not at every addition, because it moves the rest
            self._cut()

    def content(self) -> bytes:
        """All bytes, or both ends with a line about the gap."""
        self._cut()
        gap = f"\n[{self._dropped:,} bytes are left out here]\n".encode() if self._dropped else b""
        return bytes(self._head) + gap + bytes(self._tail)

    def _cut(self) -> None:
        excess = max(0, len(self._tail) - TAIL)
        del self._tail[:excess]
        self._dropped += excess


class OutputCapture:
    """Passes two pipes on to standard output and standard error."""

    def __init__(self, out: int, err: int, answers: int, copy: int) -> None:
        self._targets: dict[int, int | None] = {out: 1, err: 2}
        self._answers, self._copy = answers, copy
        self._memory = Memory()
        self._poll = select.poll()
        for source in (out, err, 0):
            self._poll.register(source, select.POLLIN)

    def run(self) -> None:
        """Run until both pipes are closed, or the task has ended and its child processes are silent."""
        patience: float | None = None
        while self._targets and (ready := dict(self._poll.poll(patience))):
            for source in [each for each in self._targets if each in ready]:
                self._pass_on(source)
            if 0 in ready and not self._serve():
                patience = LINGER_S * 1000
                self._poll.unregister(0)

    def _serve(self) -> bool:
        request = os.read(0, 1)
        if not request:
            return False
        for source in list(self._targets):  # bytes written before the request are in the pipes
            if _is_ready(source):
                self._pass_on(source)
        if request == FORGET:
            self._memory = Memory()
        with contextlib.suppress(OSError):  # no memory, or the task has ended
            os.ftruncate(self._copy, 0)
            os.pwrite(self._copy, self._memory.content(), 0)
            os.write(self._answers, request)
        return True

    def _pass_on(self, source: int) -> None:
        data = os.read(source, PIPE)
        if not data:
            self._poll.unregister(source)
            del self._targets[source]
            return
        self._memory.add(data)
        target = self._targets[source]
        try:
            while target is not None and data:
                data = data[_write(target, data) :]
        except OSError:
            self._targets[source] = None  # nobody reads it any more; the task mustn't fail because of this


def _write(target: int, data: bytes) -> int:
    try:
        return os.write(target, data)
    except BlockingIOError:
        select.select([], [target], [])
        return 0


def _is_ready(source: int) -> bool:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(0))


if __name__ == "__main__":
    OutputCapture(*map(int, sys.argv[1:])).run()
