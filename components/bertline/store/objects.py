"""What bertline needs of an object store: few operations, two of them conditional.

Names are relative to the store's root, with `/` between parts: `objects/corpus/<key>/manifest.json`.
Every implementation must give read-after-write consistency and make `create` and `replace` atomic: of two
processes that create one name at the same moment exactly one wins. All the store's promises rest on that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from bertline.errors import BertlineError, ExitCode, TransientError

Version = str
"""Opaque token of one state of one object; `replace` succeeds only if it is still current."""

ROOTS = ("objects/", "experiments/", "sources/", "runs/")
"""Everything in a store lies under one of these."""

HASTY_S = 12.0
"""Seconds that an operation of a hasty store takes at most, about: a second try after 5 s without an answer."""

Progress = Callable[[int], None]
"""Called with the number of bytes just moved."""


def no_progress(_: int) -> None:
    """A `Progress` that shows nothing."""


class NotFoundError(BertlineError):
    """There is no object of that name."""

    exit_code = ExitCode.DAMAGED


class ConflictError(BertlineError):
    """`create` found an object there, or `replace` found another version of it."""

    exit_code = ExitCode.TRANSIENT


class OutageError(TransientError):
    """The store doesn't do what it is asked, and will do so later: it can't be reached, is full, is overloaded.

    Who has something to lose waits for it (`bertline.store.outages`). Other transient failures, as a full local disk,
    are no outages of the store.
    """

    def __init__(self, said: str) -> None:
        """Keep what is wrong in `said`; the message for people goes on with what to do."""
        super().__init__(f"{said}; run the same command again")
        self.said = said

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.said,)  # or a process that gets it from another one would add the end twice


@dataclass(frozen=True, slots=True)
class Stat:
    """What a listing says of an object."""

    name: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, by the store's clock."""
    state: str = ""
    """Of `stat` only: what tells this state of the object from a later one, for `ObjectStore.read`."""


class ObjectStore(Protocol):
    """One root in one object store. Safe to use from several threads.

    Every operation may raise, beside what it says itself:
        OutageError: the store can't be reached, is full or overloaded. It has been tried again for a while; see
            `bertline.store.outages` for those that go on waiting.
        TransientError: what an operation began was overtaken by another writer, or the local disk is full.
        UserError: the store refuses: no such bucket, no permission, wrong credentials.
    So whoever mustn't fail in an outage catches TransientError, of which OutageError is one. `list` and `leftovers`
    raise while they are iterated. `local_path` and `hasty` ask nobody and raise nothing.
    """

    uri: str

    def get(self, name: str) -> tuple[bytes, Version]:
        """Content and version of a small object.

        Raises:
            NotFoundError: there is none of that name.
            OutageError, TransientError, UserError: see above.
        """

    def read(self, name: str, begin: int, end: int, state: str = "") -> bytes:
        """Bytes [begin, end) of an object; fewer if it ends before.

        Raises:
            NotFoundError: it isn't there.
            ConflictError: it is no longer in the state that `stat` told.
            OutageError, TransientError, UserError: see above.
        """

    def stat(self, name: str) -> Stat | None:
        """Size, time and state of an object, None if it isn't there.

        Raises:
            OutageError, TransientError, UserError: see above.
        """

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects whose name starts with `prefix`, in the order of their names.

        Raises:
            OutageError, TransientError, UserError: see above; while it is iterated.
        """

    def put(self, name: str, content: bytes) -> Version:
        """Write a small object, whatever was there.

        Raises:
            OutageError, TransientError, UserError: see above.
        """

    def create(self, name: str, content: bytes) -> Version:
        """Write a small object where there is none.

        Raises:
            ConflictError: there is one.
            OutageError, TransientError, UserError: see above. After an outage it may have been written all the same.
        """

    def replace(self, name: str, content: bytes, version: Version) -> Version:
        """Write a small object if `version` is still current.

        Raises:
            ConflictError: it has another version, or is gone.
            OutageError, TransientError, UserError: see above. After an outage it may have been written all the same.
        """

    def delete(self, name: str) -> None:
        """Remove an object; not an error if it isn't there.

        Raises:
            OutageError, TransientError, UserError: see above.
        """

    def upload(self, path: Path, name: str, progress: Progress = no_progress) -> None:
        """Copy a local file of any size to an object, whatever was there.

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
        """What killed writers left and `list` doesn't show; `delete` removes it. Nothing, for gs://.

        Raises:
            OutageError, TransientError, UserError: see above; while it is iterated.
        """

    def local_path(self, name: str) -> Path | None:
        """Where the object can be read in place, without a copy; None if it is remote."""

    def hasty(self) -> "ObjectStore":
        """The same store for what soon is asked again anyway: an operation gives up within `HASTY_S`."""


def reach(store: ObjectStore) -> None:
    """Ask a store for anything at all: once and hastily, before many requests each wait for its answer.

    Raises:
        OutageError: it doesn't answer.
    """
    try:
        store.hasty().stat("objects")
    except OutageError:
        raise
    except BertlineError:  # it does answer; whether its refusal matters depends on what it will be asked for
        return


def is_empty(store: ObjectStore) -> bool:
    """True if nothing of ours lies there: nothing was run yet, or its path is mistyped."""
    return not any(True for root in ROOTS for _ in store.list(root))
