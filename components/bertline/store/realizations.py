"""What a derivation produced: payload files and `manifest.json`, immutable.

    objects/<stage>/<key>/derivation.json     what was asked
    objects/<stage>/<key>/attempts/<n>.jsonl  what happened on the way
    objects/<stage>/<key>/attempts/<n>.log    what was printed meanwhile
    objects/<stage>/<key>/lease.json          while somebody is at work
    objects/<stage>/<key>/rolling/…           what an attempt saves for the next one; deleted after the manifest
    objects/<stage>/<key>/<payload files>
    objects/<stage>/<key>/manifest.json       written LAST and create-only

`manifest.json` exists ⇔ the realization is complete; nothing else means done. Of two writers one commits, the other one
finds the manifest and returns it as its own result.
"""

import contextlib
import json
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from bertline.errors import BertlineError, DamagedError, ExitCode, GivenUpError
from bertline.process import parallel, progress, signals
from bertline.store import attempts, disks, leases, logs, outages, staging
from bertline.store.derivations import Derivation, Key, prefix
from bertline.store.leases import Lease
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore, Progress, no_progress
from bertline.store.outages import HeldStore
from bertline.store.provenances import provenance
from bertline.store.staging import File

MANIFEST = "manifest.json"
DERIVATION = "derivation.json"
ROLLING = "rolling/"
ATTEMPTS = "attempts/"
OURS = {MANIFEST, DERIVATION, leases.NAME}


class Manifest(BaseModel):
    """The document that makes a realization complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    stage: str
    key: Key
    files: tuple[File, ...]
    """The payload, by path."""
    results: dict[str, Any]
    """What follows from the key alone: the same for every run of the derivation (on one kind of processor)."""
    measurements: dict[str, Any]
    """What was observed on the way and differs from run to run: seconds, bytes of memory, rates."""
    provenance: dict[str, Any]
    """Who, where, when, with which versions."""


@dataclass(frozen=True)
class Realization:
    """A complete realization in a store."""

    store: ObjectStore
    manifest: Manifest

    @property
    def prefix(self) -> str:
        """Where its objects lie."""
        return prefix(self.manifest.stage, self.manifest.key)

    def paths(self, beginning: str = "") -> list[str]:
        """Paths of the payload files that start with `beginning`."""
        return [file.path for file in self.manifest.files if file.path.startswith(beginning)]

    def file(self, path: str) -> File:
        """Entry of one payload file. Raises DamagedError if the manifest doesn't list it."""
        for file in self.manifest.files:
            if file.path == path:
                return file
        raise DamagedError(f"{self.store.uri}/{self.prefix}{MANIFEST} lists no file {path}")

    def stage(self, paths: Iterable[str], directory: Path, *, label: str | None = None) -> list[Path]:
        """Verified local copies of payload files, or the files themselves where the store is a local disk.

        Raises:
            DamagedError: size or checksum isn't the manifest's; names the object.
        """
        return staging.fetch(self.store, self.prefix, [self.file(path) for path in paths], directory, label=label)

    def verify(self, advance: Progress = no_progress) -> list[str]:
        """Read every byte; a sentence for each object that isn't what the manifest or the key says."""
        with _scratch() as work:
            damages = staging.damages(self.store, self.prefix, self.manifest.files, work, advance)
        return damages + list(self._misderivation())

    def _misderivation(self) -> Iterator[str]:
        name = f"{self.prefix}{DERIVATION}"
        try:
            document = json.loads(self.store.get(name)[0])
            found = Derivation(**document).key
        except NotFoundError:
            yield f"{self.store.uri}/{name} is missing: nothing tells what was asked for"
        except (ValueError, TypeError) as error:
            yield f"{self.store.uri}/{name} is damaged: {error}"
        else:
            if found != self.manifest.key:
                yield f"{self.store.uri}/{name} is damaged: its key would be {found[:12]}…"


class Build:
    """What a stage's build function works with."""

    def __init__(
        self, store: HeldStore, derivation: Derivation, attempt: attempts.Attempt, lease: Lease, work: Path
    ) -> None:
        self.store = store
        """Waits for the end of an outage, and writes only while the lease is known to be held."""
        self.impatient = store.impatient()
        """The same, but an outage is raised."""
        self.prefix = derivation.prefix
        self.attempt = attempt
        self.work = work
        """Scratch on local disk; gone when the attempt ends."""
        self.payload = work / "payload"
        """What is put here becomes the realization's payload at commit."""
        self.payload.mkdir()
        self._lease = lease
        self._added: dict[str, File] = {}

    def check(self) -> None:
        """Call now and then in long work. Asks nobody.

        Raises:
            TransientError: another attempt has taken over.
            Stopped: told to stop.
        """
        signals.check()
        self._lease.check()

    def add(self, path: Path, name: str) -> File:
        """Upload one payload file now instead of at commit."""
        _refuse_our_names([name])
        file = staging.put(self.store, self.prefix, path, name)
        self.keep(file)
        return file

    def keep(self, file: File) -> None:
        """Count a file as payload that an earlier attempt uploaded."""
        _refuse_our_names([file.path])
        self._added[file.path] = file

    def rolling(self, name: str) -> dict[str, Any] | None:
        """A rolling document of an earlier attempt, None if there is none."""
        try:
            return dict(json.loads(self.store.get(f"{self.prefix}{ROLLING}{name}")[0]))
        except NotFoundError:
            return None

    def roll(self, name: str, document: dict[str, Any]) -> None:
        """Save a rolling document. Written after the files it speaks of, it is their commit marker.

        Raises:
            OutageError: the store can't be reached; what is saved on the way needs no waiting.
        """
        self.impatient.put(f"{self.prefix}{ROLLING}{name}", json.dumps(document).encode())

    def files(self) -> tuple[File, ...]:
        """Upload what lies in `payload`; all payload entries, by path."""
        names = sorted(path.relative_to(self.payload).as_posix() for path in self.payload.rglob("*") if path.is_file())
        _refuse_our_names(names)
        for file in staging.send(self.store, self.prefix, self.payload, names):
            self.keep(file)
        return tuple(self._added[path] for path in sorted(self._added))


def _refuse_our_names(names: Iterable[str]) -> None:
    for name in names:
        if name in OURS or name.startswith((ROLLING, ATTEMPTS)):
            raise ValueError(f"a payload file can't be named {name}: the store has that name for itself")


@dataclass(frozen=True)
class Outcome:
    """What a build function returns; see `Manifest`."""

    results: dict[str, Any]
    measurements: dict[str, Any]


def find(store: ObjectStore, stage: str, key: Key) -> Realization | None:
    """The realization of a key if it is complete. One GET.

    Raises:
        DamagedError: what is there isn't its manifest; names the object.
        OutageError: the store can't be reached.
    """
    name = f"{prefix(stage, key)}{MANIFEST}"
    try:
        content, _ = store.get(name)
    except NotFoundError:
        return None
    try:
        manifest = Manifest.model_validate_json(content)
    except ValueError as error:
        raise DamagedError(f"{store.uri}/{name} isn't a manifest: {error}") from error
    if (manifest.stage, manifest.key) != (stage, key):
        raise DamagedError(f"{store.uri}/{name} is the manifest of {manifest.stage} {manifest.key}")
    return Realization(store, manifest)


def require(store: ObjectStore, stage: str, key: Key) -> Realization:
    """Like `find`, for an input that has to be there: DamagedError if it isn't."""
    found = find(store, stage, key)
    if found is None:
        raise DamagedError(
            f"{store.uri}/{prefix(stage, key)}{MANIFEST} is missing: this task needs that {stage}; "
            "run the experiment again, it makes what is missing"
        )
    return found


def realize(store: ObjectStore, derivation: Derivation, build: Callable[[Build], Outcome]) -> Realization:
    """The realization of a derivation: found, or built under the lease and committed.

    Raises:
        BertlineError: what `build` raises, recorded as an event of the attempt.
        OutageError: the store couldn't be reached for `outages.START_S`, before the work began; after that it waits.
        TransientError: another attempt has taken over.
        GivenUpError: this pod is a retry of what failed for good. There is no attempt then.
    """

    def look() -> Realization | None:
        return outages.wait_out(lambda: find(store, derivation.stage, derivation.key), limit_s=outages.START_S)

    if found := look():
        return found
    if why := outages.wait_out(lambda: attempts.given_up(store, derivation.prefix), limit_s=outages.START_S):
        raise GivenUpError(
            ExitCode(why.exit_code),
            f"{why.message}\n(That is how an earlier pod of this run failed; retrying can't help.)",
        )
    done: list[Realization] = []

    def finished_by_another() -> bool:
        done.extend(filter(None, [look()]))
        return bool(done)

    with Lease(store, derivation.prefix, give_up=finished_by_another, notify=progress.say) as lease:
        if done or finished_by_another():
            return done[0]
        held = HeldStore(store, check=lease.check, confirm=lease.confirm)
        held.put(f"{derivation.prefix}{DERIVATION}", json.dumps(derivation.document(), indent=2).encode())
        attempt = attempts.Attempt(held, derivation.prefix)
        logs.keep(attempt.keep_output)
        scratch = disks.room(Path(tempfile.gettempdir()))
        with _recorded(attempt), scratch, _scratch() as work, signals.postponable():
            context = Build(held, derivation, attempt, lease, work)
            outcome = build(context)
            signals.postpone()  # all that is left is to keep it
            manifest = _commit(context, derivation, outcome)
        # Complete is complete: what can't be deleted now is garbage for `bertline store gc`.
        with contextlib.suppress(BertlineError):
            parallel.each(
                lambda left: store.hasty().delete(left.name), store.hasty().list(f"{derivation.prefix}{ROLLING}")
            )
        return Realization(store, manifest)


def _commit(build: Build, derivation: Derivation, outcome: Outcome) -> Manifest:
    manifest = Manifest(
        stage=derivation.stage,
        key=derivation.key,
        files=build.files(),
        results=outcome.results,
        measurements=outcome.measurements,
        provenance=provenance() | {"attempts": build.attempt.number},
    )
    build.attempt.record("finished")
    build.attempt.flush()  # so that nothing is written after the manifest
    try:
        build.store.create(f"{derivation.prefix}{MANIFEST}", manifest.model_dump_json(indent=2).encode())
    except ConflictError:
        return require(build.store, derivation.stage, derivation.key).manifest
    return manifest


@contextlib.contextmanager
def _recorded(attempt: attempts.Attempt) -> Iterator[None]:
    """A failure becomes the attempt's last event, whatever it is."""
    try:
        yield
    except signals.Stopped as stopped:
        attempt.record("preempted", exit_code=int(stopped.exit_code), message=str(stopped))
        raise
    except KeyboardInterrupt:  # in a program that uses the stages as a library
        attempt.record("preempted", exit_code=int(ExitCode.INTERRUPTED), message="interrupted by the user")
        raise
    except BertlineError as error:
        attempt.record("failed", exit_code=int(error.exit_code), message=str(error))
        raise
    except BaseException as error:
        attempt.record("failed", exit_code=int(ExitCode.BUG), message="".join(traceback.format_exception(error)))
        raise
    finally:
        attempt.close()


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="bertline-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
