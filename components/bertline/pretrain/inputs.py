"""The order of a run's examples, a function of (seed, position) that needs no stored state.

    position   number of earlier examples: step * batch_size
    pass       one time over all examples; pass p visits the shards in an order that follows from (seed, p)
    shard      its examples come in an order that follows from (seed, p, shard), see `shuffles`

Batches continue across the ends of shards and passes, so no example is dropped. To start at a position, compute the
pass and the place in it, and read one shard; earlier ones aren't read. Neighbours in a shard are unrelated, because a
hash assigns documents to shards and instances are shuffled within each.
"""

import queue
import threading
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from bertline.examples.shuffles import Places, shuffled

Batch = dict[str, np.ndarray[Any, Any]]
"""Features by name, the first axis is the example."""

Read = Callable[[str], Batch]
"""All examples of a shard."""


@dataclass(frozen=True)
class Order:
    """The endless sequence of examples of one run."""

    shards: Mapping[str, int]
    """Examples in each shard, by path."""
    seed: int

    @property
    def examples(self) -> int:
        """Examples in one pass."""
        return sum(self.shards.values())

    def pieces(self, position: int, count: int) -> Iterator[tuple[int, str, int, int]]:
        """Where examples [position, position + count) lie: (pass, shard, begin, end in its order of that pass)."""
        while count:
            number, offset = divmod(position, self.examples)
            order = self._order(number)
            ends = list(accumulate(self.shards[name] for name in order))
            index = bisect_right(ends, offset)
            begin = offset - (ends[index] - self.shards[order[index]])
            taken = min(count, ends[index] - offset)
            yield number, order[index], begin, begin + taken
            position, count = position + taken, count - taken

    def permutation(self, number: int, shard: str) -> Places:
        """The order of a shard's examples in pass `number`. Shape [examples]."""
        return shuffled(self.shards[shard], "examples", self.seed, number, sorted(self.shards).index(shard))

    def _order(self, number: int) -> list[str]:
        names = sorted(self.shards)
        return [names[place] for place in shuffled(len(names), "shards", self.seed, number)]


def chunks(order: Order, read: Read, batch_size: int, steps: Sequence[int]) -> Iterator[Batch]:
    """Features stacked as [steps, batch, …]: chunk i holds the steps from steps[i] up to steps[i + 1].

    One shard is held in memory, in its order of the pass.
    """
    held: tuple[tuple[int, str], Batch] | None = None
    for begin, end in pairwise(steps):
        parts = []
        for number, shard, first, last in order.pieces(begin * batch_size, (end - begin) * batch_size):
            if held is None or held[0] != (number, shard):
                held = None  # before the next one is read, so that only one shard is in memory
                permutation = order.permutation(number, shard)
                held = (number, shard), {name: values[permutation] for name, values in read(shard).items()}
            parts.append({name: values[first:last] for name, values in held[1].items()})
        yield {
            name: np.concatenate([part[name] for part in parts]).reshape(
                end - begin, batch_size, *parts[0][name].shape[1:]
            )
            for name in parts[0]
        }


def ahead(batches: Iterator[Batch], depth: int = 2) -> Generator[Batch, None, None]:
    """Make batches in a thread, up to `depth` ahead, so that training doesn't wait. Closing ends the thread."""
    waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not closed.is_set():
            try:
                waiting.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def produce() -> None:
        try:
            for batch in batches:
                put(batch)
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer
            put(error)

    thread = threading.Thread(target=produce, name="inputs", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
