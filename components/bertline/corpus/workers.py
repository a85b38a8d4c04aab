"""Worker processes: their number, start and end.

A worker is a fresh interpreter (spawn, not fork, because this process has threads whose locks a fork would copy). It
watches its parent: otherwise it would wait for work for ever after the parent was killed, because it holds both ends of
its queue.
"""

import importlib.machinery
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from bertline.errors import TransientError
from bertline.process import processors

Unit = TypeVar("Unit")
Result = TypeVar("Result")

ENVIRONMENT = "BERTLINE_WORKERS"

MEMORY = 600_000_000
"""Bytes for a worker, and for its parent. A worker at the defaults on English Wikipedia was measured at half of it."""


def count() -> int:
    """Processes to use: `BERTLINE_WORKERS`, or one a core, but no more than there is memory for in this container.

    Raises:
        UserError: `BERTLINE_WORKERS` isn't a number above 0.
    """
    wanted = processors.asked(ENVIRONMENT) or processors.cores()
    return max(1, min(wanted, processors.memory() // MEMORY - 1))


@contextmanager
def pool() -> Iterator[ProcessPoolExecutor]:
    """Workers for `finished`. After an exception they are killed."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count(), mp_context=_Context(), initializer=_begin)
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def finished(
    pool: Executor, function: Callable[[Unit], Result], units: Iterable[Unit]
) -> Iterator[tuple[Unit, Result, float]]:
    """Results in the order in which they finish, with the worker's seconds.

    Only a few units are submitted ahead, so that a failure ends the pass soon.
    """
    left = iter(units)
    running: dict[Future[tuple[Result, float]], Unit] = {}
    try:
        while True:
            while len(running) < 2 * count() and (unit := next(left, None)) is not None:
                running[pool.submit(_timed, function, unit)] = unit
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), *future.result()
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process was killed, probably for lack of memory: use fewer workers (BERTLINE_WORKERS) or more "
            "corpus.shards"
        ) from error


def _timed(function: Callable[[Unit], Result], unit: Unit) -> tuple[Result, float]:
    begun = time.perf_counter()
    return function(unit), time.perf_counter() - begun


def _begin() -> None:
    """Prepare a new worker."""
    # Ctrl-C reaches all processes of a terminal; only the parent reacts, and kills its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # returns when the parent ends, even if it is killed
    os.kill(os.getpid(), signal.SIGKILL)


class _Process(multiprocessing.context.SpawnProcess):
    """A process that doesn't import the parent's main module: KFP's executor would take seconds and 60 MB."""

    def start(self) -> None:
        main = sys.modules["__main__"]
        spec = main.__spec__
        # multiprocessing passes over a main module of this name: those of `python -m package` have no use in workers.
        main.__spec__ = importlib.machinery.ModuleSpec("bertline.corpus.__main__", None)
        try:
            super().start()
        finally:
            main.__spec__ = spec


class _Context(multiprocessing.context.SpawnContext):
    Process = _Process
