"""Workers are as many as they should be, start light, and end with their parent."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from bertline.corpus import workers
from bertline.errors import TransientError, UserError
from bertline.process import processors


@pytest.fixture
def machine(monkeypatch):
    """8 cores and 16 GB."""
    monkeypatch.delenv(workers.ENVIRONMENT, raising=False)
    monkeypatch.setattr(processors, "cores", lambda: 8)
    monkeypatch.setattr(processors, "memory", lambda: 16_000_000_000)


def test_their_number_can_be_asked_for(monkeypatch, machine):
    assert workers.count() == 8
    monkeypatch.setenv(workers.ENVIRONMENT, "3")
    assert workers.count() == 3


@pytest.mark.parametrize(("gigabytes", "expected"), [(16, 8), (4, 5), (2, 2), (1, 1), (0.5, 1)])
def test_there_are_no_more_than_memory_suffices_for(gigabytes, expected, monkeypatch, machine):
    monkeypatch.setattr(processors, "memory", lambda: int(gigabytes * 1e9))
    assert workers.count() == expected
    monkeypatch.setenv(workers.ENVIRONMENT, "8")
    assert workers.count() == expected


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
def test_a_number_that_is_none_is_refused(asked, monkeypatch):
    monkeypatch.setenv(workers.ENVIRONMENT, asked)
    with pytest.raises(UserError, match=f"BERTLINE_WORKERS is '{asked}'; give a number"):
        workers.count()


def test_a_killed_worker_is_a_failure_that_may_be_retried():
    with workers.pool() as pool, pytest.raises(TransientError, match="a worker process was killed, probably"):
        list(workers.finished(pool, signal.raise_signal, [signal.SIGKILL]))


def test_a_failure_ends_the_pool_at_once():
    def fail_while_one_works():
        with workers.pool() as pool:
            pool.submit(time.sleep, 60)
            raise ValueError("stop")

    began = time.monotonic()
    with pytest.raises(ValueError, match="stop"):
        fail_while_one_works()
    assert time.monotonic() - began < 10


def test_they_outlive_their_parent_by_a_moment_and_import_nothing_of_its_main_module(tmp_path):
    """KFP's executor is such a main module, and takes seconds to import."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time; from pathlib import Path\n"
        f"with open({str(tmp_path / 'imports')!r}, 'a') as file: print(__name__, file=file)\n"
        "if __name__ == '__main__':\n"
        "    from bertline.corpus import workers\n"
        "    with workers.pool() as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        pool.submit(time.sleep, 60)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 5
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (tmp_path / "imports").read_text() == "__main__\n"
