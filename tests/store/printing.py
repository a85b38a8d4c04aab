"""Tasks that print, and end in one way or another. Not tests: `python printing.py --store URI --config JSON`."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from typing import ClassVar

import psutil

from bertline.errors import UserError
from bertline.stage import entrypoints
from bertline.stage.configs import StageConfig
from bertline.store import logs
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, realize

logs.FIRST_S = logs.EVERY_S = float(os.environ.get("EVERY_S", "60"))


class Config(StageConfig):
    """How it ends."""

    STAGE: ClassVar[str] = "prints"
    ALGORITHM_VERSION: ClassVar[int] = 1
    INPUTS: ClassVar[tuple[str, ...]] = ()

    way: str


def run(config: Config, store: ObjectStore) -> Realization:
    """A realization, if it comes to that."""
    return realize(store, config.derivation(), lambda build: make(config.way, build))


def make(way: str, build: Build) -> Outcome:
    """Print, and end."""
    sys.stdout.write(f"{way} begins\n")
    os.write(2, b"from C++\n")
    subprocess.run([sys.executable, "-c", "print('from a worker')"], check=True)
    match way:
        case "fails":
            raise UserError("the input is wrong")
        case "breaks":
            raise ZeroDivisionError
        case "crashes":
            count(20_000)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "floods":
            count(300_000)
        case "waits":
            time.sleep(60)
        case "computes":  # and doesn't come back to Python
            signal.signal(signal.SIGTERM, lambda *_: None)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
        case "leaves":
            subprocess.Popen(["sleep", "60"])
        case "loses its tee":
            (tee,) = [each for each in psutil.Process().children() if "output_capture.py" in " ".join(each.cmdline())]
            tee.kill()
            time.sleep(0.5)
            sys.stdout.write("still heard\n")
    return Outcome({}, {})


def count(lines: int) -> None:
    """Print many lines."""
    for number in range(lines):
        sys.stdout.write(f"line {number}\n")


if __name__ == "__main__":
    sys.exit(entrypoints.main(Config, run))
