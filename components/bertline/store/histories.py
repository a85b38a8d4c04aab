"""How a result stands, from all that lies at its key: manifest, lease, and the events of its attempts.

    done              its manifest is there
    at work           the last attempt has no end, and somebody holds the lease
    preempted         the last attempt was told to stop; the next one goes on from what it saved
    failed            the last attempt says how
    killed            the last attempt has no end, and nobody holds the lease
    manifest missing  the last attempt finished, and somebody deleted the manifest, or it was killed before it wrote it
    not begun         there is no attempt

This is the only reading of it: `status`, `logs`, `plan`, `report`, `dashboard` and `store show` all tell what it says.
A killed attempt on another machine leaves its lease behind, so it counts as at work until somebody takes that over; how
long it has been silent is in `History.holder`.
"""

import datetime
import enum
from dataclasses import dataclass

from bertline.store import attempts, leases, realizations
from bertline.store.attempts import Failure, RecordedAttempt
from bertline.store.derivations import Key, prefix
from bertline.store.leases import Holder
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Realization

KILLED = "killed: the last attempt has no end, and nobody is at work"
DELETED = "manifest missing: the last attempt finished, and then the manifest was deleted or never written"


class State(enum.StrEnum):
    """Of a result; see above."""

    DONE = "done"
    AT_WORK = "at work"
    PREEMPTED = "preempted"
    FAILED = "failed"
    KILLED = "killed"
    MANIFEST_MISSING = "manifest missing"
    NOT_BEGUN = "not begun"

    @property
    def has_stopped(self) -> bool:
        """True if it was begun, isn't done, and nobody is at work."""
        return self in (State.PREEMPTED, State.FAILED, State.KILLED, State.MANIFEST_MISSING)


@dataclass(frozen=True)
class History:
    """Of one result."""

    realization: Realization | None = None
    """None if it isn't done."""
    attempts: tuple[RecordedAttempt, ...] = ()
    """All of them; none of a result that is done, unless they were asked for: they don't matter any more."""
    holder: Holder | None = None
    """Who is at work, if the last attempt has no end; None if nobody is."""

    @property
    def state(self) -> State:
        """How it stands."""
        if self.realization:
            return State.DONE
        if not self.last:
            return State.NOT_BEGUN
        if self.failure:
            return State.PREEMPTED if self.failure.is_preempted else State.FAILED
        if self.holder:
            return State.AT_WORK
        return State.MANIFEST_MISSING if self.last.has_finished else State.KILLED

    @property
    def last(self) -> RecordedAttempt | None:
        """The last attempt, if attempts are known."""
        return self.attempts[-1] if self.attempts else None

    @property
    def failure(self) -> Failure | None:
        """How the last attempt failed or was preempted; None if it did neither, and of a result that is done."""
        return self.last.failure if self.last and not self.realization else None

    @property
    def given_up(self) -> Failure | None:
        """How the last attempt failed, if trying again in its run can't help."""
        return attempts.for_good(self.attempts) if self.failure else None

    @property
    def count(self) -> int:
        """Of attempts; of those up to the one that succeeded, if it is done."""
        if self.realization:
            return int(self.realization.manifest.provenance.get("attempts", 1))
        return len(self.attempts)

    @property
    def finished(self) -> float | None:
        """When it was done, in seconds since 1970 by the clock of its machine; None if it isn't."""
        moment = self.realization.manifest.provenance.get("finished") if self.realization else None
        return datetime.datetime.fromisoformat(moment).timestamp() if moment else None

    @property
    def saved_step(self) -> int | None:
        """The last step that a checkpoint holds, from which the next attempt goes on; None if there is none."""
        return max((each.saved_step for each in self.attempts if each.saved_step is not None), default=None)

    @property
    def step(self) -> int | None:
        """The step that is reached; before the last attempt trains, what earlier ones saved; None: not known."""
        told = self.last.step if self.last else None
        return self.saved_step if told is None else told

    @property
    def steps_per_s(self) -> float | None:
        """Of the last attempt; None if that isn't known."""
        return self.last.steps_per_s if self.last else None

    def __str__(self) -> str:
        match self.state:
            case State.AT_WORK:
                return f"at work: {self.holder}"
            case State.KILLED:
                return KILLED
            case State.MANIFEST_MISSING:
                return DELETED
            case state:
                return str(self.failure or state)

    def ending(self, attempt: RecordedAttempt) -> str:
        """How one of its attempts ended, or that it goes on, in a sentence."""
        if attempt.failure:
            return str(attempt.failure)
        if attempt.has_finished:
            return "finished"
        return str(self) if self.holder and attempt == self.last else "killed: it has no end"


def read(store: ObjectStore, stage: str, key: Key, *, with_attempts: bool = False) -> History:
    """The history of a result.

    Args:
        store: Where.
        stage: That makes it.
        key: Its key.
        with_attempts: Also of a result that is done.

    Raises:
        DamagedError: its manifest or an attempt can't be read; names the object.
        OutageError: the store can't be reached.
    """
    found = realizations.find(store, stage, key)
    if found is None:
        return unfinished(store, stage, key)
    return History(found, attempts.read(store, prefix(stage, key)) if with_attempts else ())


def unfinished(store: ObjectStore, stage: str, key: Key) -> History:
    """The history of a result whose manifest wasn't there a moment ago; raises as `read` does."""
    place = prefix(stage, key)
    recorded = attempts.read(store, place)
    if not recorded or recorded[-1].failure:
        return History(None, recorded)
    if holder := leases.find(store, place):
        return History(None, recorded, holder)
    # The manifest is written before the lease is given back: it may have come since.
    found = realizations.find(store, stage, key)
    return History(found) if found else History(None, recorded)
