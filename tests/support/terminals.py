"""The command on a terminal of a certain width: a pseudo-terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

COMMAND = Path(sys.executable).with_name("bertline")


def on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that `bertline …` writes, whatever its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 1 << 16)
        except OSError:  # EIO: nobody has the other side any more
            break
        if not read:
            break
        shown += read
    process.wait()
    os.close(ours)
    return shown.decode().splitlines()
