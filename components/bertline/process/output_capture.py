"""A process of its own that passes on what a task prints, and remembers it.

    python -I -S tees.py OUT ERR ANSWERS COPY

Its own, because what a task has written to a pipe outlives the task, however that ends, if there is somebody to read
it. The four arguments are descriptors: the two pipes that the task prints to, a pipe for answers, and a file for the
copy. On standard input come requests, a byte each; a closed standard input means that the task is gone.

Run without site-packages and importing next to nothing: it is there within 20 ms and takes less than 10 MB.
"""

import contextlib
import os
import select
import sys

HEAD, TAIL = 256 << 10, 1 << 20
"""Bytes kept of the beginning and of the end. What is in between is dropped."""

COPY, FORGET = b"c", b"f"
"""Requests: put what is remembered into the file; begin anew. Both are about all that was written before."""

PIPE = 1 << 16  # bytes that a pipe holds
LINGER_S = 0.3  # of silence, after which nothing more is expected of what a dead task has left running


class Memory:
    """The beginning and the end of an output."""

    def __init__(self) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Remember what comes next."""
        room = HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * TAIL:  # not at every addition: it moves all that stays
            self._cut()

    def content(self) -> bytes:
        """All of it, or both ends and a line about what is missing."""
        self._cut()
        gap = f"\n[{self._dropped:,} bytes are left out here]\n".encode() if self._dropped else b""
        return bytes(self._head) + gap + bytes(self._tail)

    def _cut(self) -> None:
        excess = max(0, len(self._tail) - TAIL)
        del self._tail[:excess]
        self._dropped += excess


class Tee:
    """Passes two pipes on to standard output and standard error."""

    def __init__(self, out: int, err: int, answers: int, copy: int) -> None:
        self._targets: dict[int, int | None] = {out: 1, err: 2}
        self._answers, self._copy = answers, copy
        self._memory = Memory()
        self._poll = select.poll()
        for source in (out, err, 0):
            self._poll.register(source, select.POLLIN)

    def run(self) -> None:
        """Until both pipes are closed, or the task is gone and what it left running is silent."""
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
        for source in list(self._targets):  # what was written before the request is in the pipes by now
            if _is_ready(source):
                self._pass_on(source)
        if request == FORGET:
            self._memory = Memory()
        with contextlib.suppress(OSError):  # no memory for it, or the task is gone by now
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
            self._targets[source] = None  # nobody reads it any more: no reason for the task to fail


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
    Tee(*map(int, sys.argv[1:])).run()
