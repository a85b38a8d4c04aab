"""Sends many small requests at the same time, to hide a bucket's latency."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = 16


def each(function: Callable[[T], R], items: Iterable[T], threads: int = THREADS) -> list[R]:
    """Call `function` for each item; return the results in the items' order.

    After a failure no new call begins; running calls are waited for, and the failure of the first failed item is
    raised. The threads are daemons, so a command that is stopped ends even if the store hangs.

    Args:
        function: Called from several threads.
        items: The arguments.
        threads: Number of threads at most.
    """
    waiting = deque(enumerate(items))
    total = len(waiting)
    results: dict[int, R] = {}
    failures: dict[int, BaseException] = {}

    def work() -> None:
        while True:
            try:
                index, item = waiting.popleft()
            except IndexError:
                return
            try:
                results[index] = function(item)
            except BaseException as error:  # noqa: BLE001 - the caller gets it
                failures[index] = error
                waiting.clear()

    workers = [threading.Thread(target=work, name="request", daemon=True) for _ in range(min(threads, total))]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:
        waiting.clear()
    if failures:
        raise failures[min(failures)]
    return [results[index] for index in range(total)]
