"""The immutable result of a derivation: payload files and `manifest.json`.

    objects/<stage>/<key>/derivation.json     the request
    objects/<stage>/<key>/attempts/<n>.jsonl  events of the attempts
    objects/<stage>/<key>/attempts/<n>.log    their output
    objects/<stage>/<key>/lease.json          exists during the work
    objects/<stage>/<key>/rolling/…           checkpoints for the next attempt; deleted after the manifest
    objects/<stage>/<key>/<payload files>
    objects/<stage>/<key>/manifest.json       written last, create-only

The realization is complete if and only if `manifest.json` exists. If there are two writers, one commits, and the other
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
    """The document of a complete realization."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    stage: str
    key: Key
    files: tuple[File, ...]
    """The payload files, sorted by path."""
    results: dict[str, Any]
    """Values that follow from the key alone; the same for every run (on one kind of processor)."""
    measurements: dict[str, Any]
    """Values that differ from run to run: seconds, bytes of memory, rates."""
    provenance: dict[str, Any]
    """Machine, time and versions."""


@dataclass(frozen=True)
class Realization:
    """A complete realization in a store."""

    store: ObjectStore
    manifest: Manifest

    @property
    def prefix(self) -> str:
        """Prefix of its objects."""
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
        """Verified local copies of payload files, or the files themselves in a store on a local disk.

        Raises:
            DamagedError: size or checksum differs from the manifest; names the object.
        """
        return staging.fetch(self.store, self.prefix, [self.file(path) for path in paths], directory, label=label)

    def verify(self, advance: Progress = no_progress) -> list[str]:
        """Read every byte; a sentence for each object that doesn't match the manifest or the key."""
        with _scratch() as work:
            damages = staging.damages(self.store, self.prefix, self.manifest.files, work, advance)
        return damages + list(self._misderivation())

    def _misderivation(self) -> Iterator[str]:
        name = f"{self.prefix}{DERIVATION}"
        try:
            document = json.loads(self.store.get(name)[0])
            found = Derivation(**document).key
        except NotFoundError:
            yield f"{self.store.uri}/{name} is missing, so the key can't be checked"
        except (ValueError, TypeError) as error:
            yield f"{self.store.uri}/{name} is damaged: {error}"
        else:
            if found != self.manifest.key:
                yield f"{self.store.uri}/{name} is damaged: its key would be {found[:12]}…"


class Build:
    """The argument of a stage's build function."""

    def __init__(
        self, store: HeldStore, derivation: Derivation, attempt: attempts.Attempt, lease: Lease, work: Path
    ) -> None:
        self.store = store
        """A store that waits for the end of an outage and writes only while the lease is held."""
        self.impatient = store.impatient()
        """The same store, but it raises an outage."""
        self.prefix = derivation.prefix
        self.attempt = attempt
        self.work = work
        """A scratch folder on local disk, deleted at the end of the attempt."""
        self.payload = work / "payload"
        """Files in this folder become the payload at commit."""
        self.payload.mkdir()
        self._lease = lease
        self._added: dict[str, File] = {}

    def check(self) -> None:
        """Call this from time to time in long work. Sends no request.

        Raises:
            TransientError: another attempt has taken over.
            Stopped: a signal to stop came.
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
        """Add a file to the payload that an earlier attempt uploaded."""
        _refuse_our_names([file.path])
        self._added[file.path] = file

    def rolling(self, name: str) -> dict[str, Any] | None:
        """A rolling document of an earlier attempt; None if there is none."""
        try:
            return dict(json.loads(self.store.get(f"{self.prefix}{ROLLING}{name}")[0]))
        except NotFoundError:
            return None

    def roll(self, name: str, document: dict[str, Any]) -> None:
        """Save a rolling document. It commits the files that it names, so write it after them.

        Raises:
            OutageError: the store can't be reached; it doesn't wait.
        """
        self.impatient.put(f"{self.prefix}{ROLLING}{name}", json.dumps(document).encode())

    def files(self) -> tuple[File, ...]:
        """Upload the files in `payload`; return all payload entries, sorted by path."""
        names = sorted(path.relative_to(self.payload).as_posix() for path in self.payload.rglob("*") if path.is_file())
        _refuse_our_names(names)
        for file in staging.send(self.store, self.prefix, self.payload, names):
            self.keep(file)
        return tuple(self._added[path] for path in sorted(self._added))


def _refuse_our_names(names: Iterable[str]) -> None:
    for name in names:
        if name in OURS or name.startswith((ROLLING, ATTEMPTS)):
            raise ValueError(f"a payload file can't be named {name}: the store reserves this name")


@dataclass(frozen=True)
class Outcome:
    """What a build function returns; see `Manifest`."""

    results: dict[str, Any]
    measurements: dict[str, Any]


def find(store: ObjectStore, stage: str, key: Key) -> Realization | None:
    """The realization of a key; None if it isn't complete. Sends one GET.

    Raises:
        DamagedError: the object isn't its manifest; names the object.
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
    """Like `find`, for a required input; raises DamagedError if it is missing."""
    found = find(store, stage, key)
    if found is None:
        raise DamagedError(
            f"{store.uri}/{prefix(stage, key)}{MANIFEST} is missing: this task needs that {stage}; "
            "run the experiment again to make it"
        )
    return found


def realize(store: ObjectStore, derivation: Derivation, build: Callable[[Build], Outcome]) -> Realization:
    """The realization of a derivation: found, or built under the lease and committed.

    Raises:
        BertlineError: what `build` raises, recorded as an event of the attempt.
        OutageError: the store couldn't be reached for `outages.START_S` before the work began; later it waits.
        TransientError: another attempt has taken over.
        GivenUpError: this pod is a retry after a permanent failure; no attempt begins.
    """

    def look() -> Realization | None:
        return outages.wait_out(lambda: find(store, derivation.stage, derivation.key), limit_s=outages.START_S)

    if found := look():
        return found
    if why := outages.wait_out(lambda: attempts.given_up(store, derivation.prefix), limit_s=outages.START_S):
        raise GivenUpError(
            ExitCode(why.exit_code),
            f"{why.message}\n(An earlier pod of this run failed like this; retrying can't help.)",
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
            signals.postpone()  # only the commit is left
            manifest = _commit(context, derivation, outcome)
        # The result is complete; `bertline store gc` deletes what can't be deleted now.
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
    """Record any failure as the attempt's last event."""
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
