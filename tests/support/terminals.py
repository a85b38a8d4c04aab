"""The command on a terminal of a certain width: a pseudo-terminal."""

import fcntl
import os
import pty
import struct
import termios
import threading

from support import forks


def on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that `bertline …` writes, whatever its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    shown = bytearray()
    reader = threading.Thread(target=_read, args=(ours, shown))
    reader.start()
    process = forks.Process(arguments, env=environment, streams=(theirs, theirs, theirs))
    os.close(theirs)
    process.wait(120)
    reader.join()
    os.close(ours)
    return shown.decode().splitlines()


def _read(terminal: int, into: bytearray) -> None:
    while True:
        try:
            read = os.read(terminal, 1 << 16)
        except OSError:  # EIO: nobody has the other side any more
            return
        into += read
