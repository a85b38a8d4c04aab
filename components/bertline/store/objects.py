"""The interface of object stores: few operations, two of them conditional.

Names are relative to the store's root, with `/` between parts: `objects/corpus/<key>/manifest.json`.
Every implementation must have read-after-write consistency, and atomic `create` and `replace`: if two processes create
the same name at the same time, exactly one succeeds. The whole store depends on this.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from bertline.errors import BertlineError, ExitCode, TransientError

Version = str
"""A token of an object's state; `replace` succeeds only if it is still current."""

ROOTS = ("objects/", "experiments/", "sources/", "runs/")
"""Every object's name begins with one of these."""

HASTY_S = 12.0
"""About the longest time of an operation of a hasty store: it tries again after 5 s without an answer."""

Progress = Callable[[int], None]
"""Called with the number of bytes that were just transferred."""


def no_progress(_: int) -> None:
    """A `Progress` that shows nothing."""


class NotFoundError(BertlineError):
    """There is no object of that name."""

    exit_code = ExitCode.DAMAGED


class ConflictError(BertlineError):
    """`create` found an object there, or `replace` found another version of it."""

    exit_code = ExitCode.TRANSIENT


class OutageError(TransientError):
    """A temporary failure of the store: it can't be reached, is full or overloaded.

    Work under a lease waits for its end (`bertline.store.outages`). Other temporary failures, such as a full local
    disk, aren't outages.
    """

    def __init__(self, said: str) -> None:
        """Keep the problem in `said`; the message also says what to do."""
        super().__init__(f"{said}; run the same command again")
        self.said = said

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.said,)  # otherwise unpickling would add the end a second time


@dataclass(frozen=True, slots=True)
class Stat:
    """An object in a listing."""

    name: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, by the store's clock."""
    state: str = ""
    """Only from `stat`: identifies the object's current state, for `ObjectStore.read`."""


class ObjectStore(Protocol):
    """A root in an object store. Safe to use from several threads.

    Every operation may raise these errors, beside those in its own docstring:
        OutageError: the store can't be reached, is full or overloaded, after some tries. `bertline.store.outages` waits
            longer.
        TransientError: another writer interfered, or the local disk is full.
        UserError: the store refuses: no such bucket, no permission, wrong credentials.
    OutageError is a TransientError, so catch that if an outage mustn't cause a failure. `list` and `leftovers` raise
    while they are iterated. `local_path` and `hasty` send no request and raise nothing.
    """

    uri: str

    def get(self, name: str) -> tuple[bytes, Version]:
        """Content and version of a small object.

        Raises:
            NotFoundError: there is none of that name.
            OutageError, TransientError, UserError: see above.
        """

    def read(self, name: str, begin: int, end: int, state: str = "") -> bytes:
        """Bytes [begin, end) of an object; fewer if it ends before `end`.

        Raises:
            NotFoundError: there is none of that name.
            ConflictError: it isn't in the state from `stat` any more.
            OutageError, TransientError, UserError: see above.
        """

    def stat(self, name: str) -> Stat | None:
        """Size, time and state of an object; None if there is none.

        Raises:
            OutageError, TransientError, UserError: see above.
        """

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects whose name starts with `prefix`, in the order of their names.

        Raises:
            OutageError, TransientError, UserError: see above; while it is iterated.
        """

    def put(self, name: str, content: bytes) -> Version:
        """Write a small object; replaces an existing one.

        Raises:
            OutageError, TransientError, UserError: see above.
        """

    def create(self, name: str, content: bytes) -> Version:
        """Write a small object that doesn't exist yet.

        Raises:
            ConflictError: the object exists.
            OutageError, TransientError, UserError: see above. After an outage it may have been written all the same.
        """

    def replace(self, name: str, content: bytes, version: Version) -> Version:
        """Write a small object if `version` is still current.

        Raises:
            ConflictError: it has another version, or doesn't exist.
            OutageError, TransientError, UserError: see above. After an outage it may have been written all the same.
        """

    def delete(self, name: str) -> None:
        """Delete an object; no error if there is none.

        Raises:
            OutageError, TransientError, UserError: see above.
        """

    def upload(self, path: Path, name: str, progress: Progress = no_progress) -> None:
        """Copy a local file of any size to an object; replaces an existing one.

        Raises:
            OutageError, TransientError, UserError: see above.
        """

    def download(self, name: str, path: Path, progress: Progress = no_progress) -> None:
        """Copy an object of any size to a local file.

        Raises:
            NotFoundError: there is none of that name.
            OutageError, TransientError, UserError: see above; TransientError also if it changed while it was read.
        """

    def leftovers(self) -> Iterator[Stat]:
        """Leftovers of killed writers, which `list` doesn't show and `delete` removes. Empty for gs://.

        Raises:
            OutageError, TransientError, UserError: see above; while it is iterated.
        """

    def local_path(self, name: str) -> Path | None:
        """The path where the object can be read without a copy; None if it is remote."""

    def hasty(self) -> "ObjectStore":
        """The same store with operations that give up within `HASTY_S`, for requests that are repeated anyway."""


def reach(store: ObjectStore) -> None:
    """Send one hasty request, to find an outage before many requests wait for it.

    Raises:
        OutageError: the store doesn't answer.
    """
    try:
        store.hasty().stat("objects")
    except OutageError:
        raise
    except BertlineError:  # it answers; later requests show whether this refusal matters
        return


def is_empty(store: ObjectStore) -> bool:
    """True if the store has no object of ours: nothing was run yet, or the path is wrong."""
    return not any(True for root in ROOTS for _ in store.list(root))
