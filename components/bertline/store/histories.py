"""The state of a result, from its manifest, its lease, and the events of its attempts.

    done              its manifest exists
    at work           the last attempt hasn't ended, and a process holds the lease
    preempted         the last attempt was told to stop; the next one continues from its checkpoint
    failed            the last attempt recorded a failure
    killed            the last attempt hasn't recorded an end, and no process holds the lease
    manifest missing  the last attempt finished, but the manifest was deleted or never written
    not begun         there is no attempt

`status`, `logs`, `plan`, `report`, `dashboard` and `store show` all use this module. An attempt that was killed on
another machine leaves its lease behind, so it counts as at work until another process takes the lease; `History.holder`
says how long it has been silent.
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

KILLED = "killed: the last attempt has no end, and no process is at work"
DELETED = "manifest missing: the last attempt finished, and then the manifest was deleted or never written"


class State(enum.StrEnum):
    """State of a result; see above."""

    DONE = "done"
    AT_WORK = "at work"
    PREEMPTED = "preempted"
    FAILED = "failed"
    KILLED = "killed"
    MANIFEST_MISSING = "manifest missing"
    NOT_BEGUN = "not begun"

    @property
    def has_stopped(self) -> bool:
        """True if work has begun, isn't done, and isn't active."""
        return self in (State.PREEMPTED, State.FAILED, State.KILLED, State.MANIFEST_MISSING)


@dataclass(frozen=True)
class History:
    """The history of one result."""

    realization: Realization | None = None
    """None if it isn't done."""
    attempts: tuple[RecordedAttempt, ...] = ()
    """All attempts; empty for a result that is done, unless they were requested."""
    holder: Holder | None = None
    """The holder of the lease, if the last attempt hasn't ended; else None."""

    @property
    def state(self) -> State:
        """The state."""
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
        """How the last attempt failed or was preempted; None if it did neither, or the result is done."""
        return self.last.failure if self.last and not self.realization else None

    @property
    def given_up(self) -> Failure | None:
        """The last attempt's failure, if it is permanent; else None."""
        return attempts.for_good(self.attempts) if self.failure else None

    @property
    def count(self) -> int:
        """Number of attempts, up to the successful one."""
        if self.realization:
            return int(self.realization.manifest.provenance.get("attempts", 1))
        return len(self.attempts)

    @property
    def finished(self) -> float | None:
        """When it was done, in seconds since 1970 by its machine's clock; None if it isn't."""
        moment = self.realization.manifest.provenance.get("finished") if self.realization else None
        return datetime.datetime.fromisoformat(moment).timestamp() if moment else None

    @property
    def saved_step(self) -> int | None:
        """The step of the last checkpoint, from which the next attempt continues; None without a checkpoint."""
        return max((each.saved_step for each in self.attempts if each.saved_step is not None), default=None)

    @property
    def step(self) -> int | None:
        """The current step; the last saved one if the last attempt hasn't trained yet; None means not known."""
        told = self.last.step if self.last else None
        return self.saved_step if told is None else told

    @property
    def steps_per_s(self) -> float | None:
        """Speed of the last attempt; None means not known."""
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
        """How an attempt ended, or that it is still active, in a sentence."""
        if attempt.failure:
            return str(attempt.failure)
        if attempt.has_finished:
            return "finished"
        return str(self) if self.holder and attempt == self.last else "killed: it has no end"


def read(store: ObjectStore, stage: str, key: Key, *, with_attempts: bool = False) -> History:
    """The history of a result.

    Args:
        store: The store.
        stage: The result's stage.
        key: The result's key.
        with_attempts: Read attempts even if the result is done.

    Raises:
        DamagedError: the manifest or an attempt can't be read; names the object.
        OutageError: the store can't be reached.
    """
    found = realizations.find(store, stage, key)
    if found is None:
        return unfinished(store, stage, key)
    return History(found, attempts.read(store, prefix(stage, key)) if with_attempts else ())


def unfinished(store: ObjectStore, stage: str, key: Key) -> History:
    """The history of a result that had no manifest just before; raises the errors of `read`."""
    place = prefix(stage, key)
    recorded = attempts.read(store, place)
    if not recorded or recorded[-1].failure:
        return History(None, recorded)
    if holder := leases.find(store, place):
        return History(None, recorded, holder)
    # The manifest is written before the lease is released, so it may exist by now.
    found = realizations.find(store, stage, key)
    return History(found) if found else History(None, recorded)
