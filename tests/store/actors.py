"""What other processes do in these tests; each function is run by its name: `python actors.py NAME ARGUMENT…`."""

import os
import resource
import signal
import sys
import time
from pathlib import Path

from bertline.errors import BertlineError
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.objects import ConflictError
from bertline.store.realizations import Build, Outcome, realize


def create(uri: str, go: str, me: str) -> None:
    """Wait for the starting shot, then create one name after the other; print which were won."""
    store = connect(uri)
    store.stat("warm-up")  # connected before the race
    Path(f"{go}.{me}").touch()
    while not Path(go).exists():
        time.sleep(0.001)
    won = []
    for number in range(20):
        try:
            store.create(f"race/{number}", me.encode())
            won.append(str(number))
        except ConflictError:
            pass
    say(",".join(won))


def count(uri: str, me: str) -> None:
    """Add one to a counter 25 times with nothing but `replace`."""
    store = connect(uri)
    for _ in range(25):
        while True:
            content, version = store.get("counter")
            try:
                store.replace("counter", str(int(content) + 1).encode(), version)
                break
            except ConflictError:
                continue


def build(uri: str, way: str) -> None:
    """Realize; `way` says how it goes."""

    def make(work: Build) -> Outcome:
        say("building")
        if way == "slow":
            time.sleep(1.5)
        (work.payload / "numbers.txt").write_text("1 2 3\n")
        if way == "killed":
            work.add(work.payload / "numbers.txt", "half.txt")
            work.roll("progress.json", {"step": 7})
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "frozen":
            os.kill(os.getpid(), signal.SIGSTOP)
        return Outcome({"builder": os.getpid()}, {})

    realization = realize(connect(uri), derivation(), make)
    say(f"result {realization.manifest.results['builder']}")


def hold(uri: str) -> None:
    """Hold a lease until killed."""
    from bertline.store.leases import Lease

    with Lease(connect(uri), "place/", renew_s=0.1):
        say("held")
        time.sleep(60)


def write_beyond_the_limit(uri: str, limit: str) -> None:
    """Realize with a payload that is larger than a file may be."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails with EFBIG instead of killing us

    def make(work: Build) -> Outcome:
        big = work.payload / "big.bin"
        big.write_bytes(b"x" * (int(limit) * 4))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
        return Outcome({}, {})

    _realize_and_tell(uri, make)


def write(uri: str, size: str) -> None:
    """Realize with a payload of a size."""

    def make(work: Build) -> Outcome:
        (work.payload / "big.bin").write_bytes(b"x" * int(size))
        return Outcome({}, {})

    _realize_and_tell(uri, make)


def download(uri: str, name: str, target: str) -> None:
    """Download, and print how much memory it took at most beyond what was there, in MB."""
    store = connect(uri)
    store.stat(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store.download(name, Path(target))
    store.upload(Path(target), f"{name}.again")
    say(str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024))


def say(line: str) -> None:
    """To the test that started us, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def derivation() -> Derivation:
    """The one that all actors realize."""
    return Derivation("numbers", 1, {"n": 3})


def _realize_and_tell(uri: str, make: object) -> None:
    try:
        realize(connect(uri), derivation(), make)  # type: ignore[arg-type]
    except BertlineError as error:
        say(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
