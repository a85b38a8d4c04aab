"""`gs://`: a prefix in a bucket of Google Cloud Storage, or of an emulator at `STORAGE_EMULATOR_HOST`.

A version is an object's generation, and the conditional writes are the bucket's own `ifGenerationMatch`, which are
atomic. Every request has a timeout, and the client repeats requests until `PATIENCE_S`; then it is an OutageError. Work
under a lease waits for the end of the outage; other callers fail and leave it to the task's retry.

If only the answer to a conditional write was lost, the repeated write is refused because of the first one. So every
write has a random token in the object's metadata; after a refusal we compare the object's token, and if it is ours, the
write has succeeded. (Comparing the content isn't enough: another writer's may be equal.)

Big files are sent in chunks, each with its own timeout and retries: a broken connection costs one chunk, and memory is
one chunk per thread.
"""

import contextlib
import datetime
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage  # type: ignore[import-untyped]
from google.cloud.storage import exceptions as media  # type: ignore[import-untyped]
from google.cloud.storage import retry

from bertline.errors import BertlineError, UserError
from bertline.retries import PAUSES
from bertline.store import disks
from bertline.store.objects import ConflictError, NotFoundError, OutageError, Progress, Stat, Version, no_progress

TOKEN = "bertline-write"
EMULATOR = "STORAGE_EMULATOR_HOST"
CHUNK = 8 << 20  # a multiple of 256 KiB, as the protocol requires; 8 threads need 64 MiB
TIMEOUT_S = (10, 60)  # to connect, and between two bytes
PATIENCE_S = 120.0  # for repeating one request
HASTY_TIMEOUT_S = (5, 5)
HASTY_PATIENCE_S = 6.0  # a second try, and no third


class GoogleCloudStore:
    """An `ObjectStore` in a bucket. The bucket must exist, and needs the role roles/storage.objectAdmin."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        patience_s: float = PATIENCE_S,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        chunk: int = CHUNK,
    ) -> None:
        """Prepare; nothing is sent before the first operation.

        Args:
            bucket: Its name.
            prefix: Where in the bucket; "" is the bucket's root.
            patience_s: How long one request is repeated.
            timeout_s: Seconds to connect, and seconds without a byte.
            chunk: Bytes a request of an upload or download; a multiple of 256 KiB.
        """
        if not bucket:
            raise UserError("store gs://: the bucket's name is missing; it looks like gs://my-bucket/experiments")
        self.uri = f"gs://{bucket}/{prefix}".rstrip("/")
        self._name = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._chunk = chunk
        self._options: dict[str, Any] = {
            "timeout": timeout_s,
            "retry": retry.DEFAULT_RETRY.with_timeout(patience_s).with_delay(PAUSES.first_s, maximum=PAUSES.longest_s),
        }
        self._lock = threading.Lock()
        self._connected: tuple[int, storage.Bucket] | None = None
        self._is_known = False
        self._hasty: GoogleCloudStore | None = None

    def get(self, name: str) -> tuple[bytes, Version]:  # noqa: D102 - the protocol says it
        with self._sentences(name):
            blob = self._blob(name)
            content = bytes(blob.download_as_bytes(**self._options))
            return content, str(blob.generation)

    def read(self, name: str, begin: int, end: int, state: str = "") -> bytes:  # noqa: D102
        if begin >= end:  # an empty range can't be requested
            return b""
        with self._sentences(name):
            try:
                return bytes(
                    self._blob(name, generation=int(state) if state else None).download_as_bytes(
                        start=begin, end=end - 1, raw_download=True, **self._options
                    )
                )
            except api.RequestRangeNotSatisfiable:  # it ends before `begin`
                return b""
            except api.NotFound as error:
                if not state:
                    raise
                self._check_bucket()
                raise ConflictError(f"{self.uri}/{name} isn't in the expected state") from error

    def stat(self, name: str) -> Stat | None:  # noqa: D102
        with self._sentences(name):
            blob = self._bucket().get_blob(self._prefix + name, **self._options)
            if blob is None:
                self._check_bucket()
                return None
            return self._stat(blob)

    def list(self, prefix: str) -> Iterator[Stat]:  # noqa: D102
        with self._sentences(prefix):
            for blob in self._bucket().list_blobs(prefix=self._prefix + prefix, **self._options):
                yield self._stat(blob)

    def leftovers(self) -> Iterator[Stat]:  # noqa: D102
        return iter(())  # the bucket deletes an unfinished upload after a week

    def put(self, name: str, content: bytes) -> Version:  # noqa: D102
        with self._sentences(name):
            return self._write(name, content, None, _token())

    def create(self, name: str, content: bytes) -> Version:  # noqa: D102
        return self._write_if(name, content, 0, "exists already")

    def replace(self, name: str, content: bytes, version: Version) -> Version:  # noqa: D102
        return self._write_if(name, content, int(version), "was changed by another process")

    def delete(self, name: str) -> None:  # noqa: D102
        with contextlib.suppress(NotFoundError), self._sentences(name):
            self._blob(name).delete(**self._options)

    def upload(self, path: Path, name: str, progress: Progress = no_progress) -> None:  # noqa: D102
        try:
            with self._sentences(name), path.open("rb") as file:
                self._blob(name, self._chunk).upload_from_file(
                    _Reader(file, progress), size=path.stat().st_size, **self._options
                )
        except NotFoundError as error:  # the bucket exists, so the session of this upload was lost
            raise OutageError(f"the upload of {self.uri}/{name} was interrupted") from error

    def download(self, name: str, path: Path, progress: Progress = no_progress) -> None:  # noqa: D102
        with self._sentences(name):
            blob = self._bucket().get_blob(self._prefix + name, **self._options)
            if blob is None:
                self._check_bucket()
                raise NotFoundError(f"{self.uri}/{name} is not there")
            blob.chunk_size = self._chunk
            # The blob has a generation, so all chunks are of one state even if the object is overwritten.
            with disks.explained("write", path), path.open("wb") as file:
                if blob.size:  # an empty range can't be requested
                    blob.download_to_file(_Writer(file, progress), **self._options)

    def local_path(self, name: str) -> Path | None:  # noqa: D102
        return None

    def hasty(self) -> "GoogleCloudStore":  # noqa: D102
        with self._lock:  # one: a client has connections of its own
            if self._hasty is None:
                prefix = self._prefix.removesuffix("/")
                self._hasty = GoogleCloudStore(
                    self._name, prefix, patience_s=HASTY_PATIENCE_S, timeout_s=HASTY_TIMEOUT_S
                )
            return self._hasty

    def __getstate__(self) -> dict[str, Any]:
        """Leave out connections and locks, which can't leave their process."""
        return {**self.__dict__, "_lock": None, "_connected": None, "_hasty": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _write(self, name: str, content: bytes, generation: int | None, token: str) -> Version:
        blob = self._blob(name)
        blob.metadata = {TOKEN: token}
        blob.upload_from_string(
            content, content_type="application/octet-stream", if_generation_match=generation, **self._options
        )
        return str(blob.generation)

    def _write_if(self, name: str, content: bytes, generation: int, refusal: str) -> Version:
        token = _token()
        try:
            with self._sentences(name):
                return self._write(name, content, generation, token)
        except ConflictError as error:
            with self._sentences(name):
                found = self._bucket().get_blob(self._prefix + name, **self._options)
            if found is not None and (found.metadata or {}).get(TOKEN) == token:
                return str(found.generation)
            raise ConflictError(f"{self.uri}/{name} {refusal}") from error

    def _blob(self, name: str, chunk: int | None = None, generation: int | None = None) -> storage.Blob:
        return self._bucket().blob(self._prefix + name, chunk_size=chunk, generation=generation)

    def _stat(self, blob: storage.Blob) -> Stat:
        return Stat(blob.name.removeprefix(self._prefix), blob.size, blob.updated.timestamp(), str(blob.generation))

    def _bucket(self) -> storage.Bucket:
        """One client for each process, because a forked child must not share sockets."""
        with self._lock:
            if self._connected is None or self._connected[0] != os.getpid():
                # The client would read the bucket's metadata to label traces, which needs a permission that we don't
                # need otherwise.
                os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
                # With an emulator the client uses anonymous credentials; only creating buckets needs a project.
                client = storage.Client(project="emulator") if os.environ.get(EMULATOR) else storage.Client()
                self._connected = os.getpid(), client.bucket(self._name)
            return self._connected[1]

    def _check_bucket(self) -> None:
        """After a 404, find out once whether the bucket or only the object is missing."""
        if not self._is_known:
            # Unlike `bucket.exists`, a listing needs only permissions for objects.
            next(iter(self._bucket().list_blobs(max_results=1, **self._options)), None)
            self._is_known = True

    @contextlib.contextmanager
    def _sentences(self, name: str) -> Iterator[None]:
        where = f"{self.uri}/{name}"
        try:
            try:
                yield
            except api.NotFound as error:
                self._check_bucket()
                raise NotFoundError(f"{where} is not there") from error
        except api.NotFound as error:
            raise UserError(
                f"store {self.uri}: bucket {self._name!r} doesn't exist; "
                f"create it with `gcloud storage buckets create gs://{self._name}` or correct the name"
            ) from error
        except api.PreconditionFailed as error:
            raise ConflictError(f"{where} isn't in the expected state") from error
        except (api.Forbidden, api.Unauthorized) as error:
            raise self._explain(error, where) from error
        except auth.DefaultCredentialsError as error:
            raise UserError(
                f"no credentials for {self.uri}: run `gcloud auth application-default login`, set "
                f"GOOGLE_APPLICATION_CREDENTIALS, or in a pod bind its service account (for an emulator: {EMULATOR})"
            ) from error
        except auth.GoogleAuthError as error:
            raise _explain_sign_in(error, self.uri) from error
        except PASSING as error:
            raise OutageError(f"can't reach {where} now: {_short(error)}") from error
        except (api.ClientError, ValueError) as error:
            raise UserError(f"{where} was refused: {_short(error)}") from error

    def _explain(self, error: api.GoogleAPICallError, where: str) -> BertlineError:
        """The error for a 401 or 403; only the reasons in the answer's body say whether a permission is missing."""
        reasons = {str(each.get("reason", "")) for each in error.errors or () if isinstance(each, dict)}
        reasons |= set(REASON.findall(str(error)))  # for a download the message contains the answer
        said = _short(error)
        if reasons & LIMITS or LIMITS_SAID.search(said):
            return OutageError(
                f"{where} was refused because a quota or a rate limit is used up: {said}; raise it, or delete "
                "unneeded objects (`bertline store gc` lists them)"
            )
        if isinstance(error, api.Unauthorized) and reasons & SIGN_IN:
            return UserError(
                f"the credentials for {self.uri} aren't accepted, or have expired: {said}; {SIGN_IN_AGAIN}"
            )
        if reasons - PERMISSION - SIGN_IN:
            return UserError(f"{where} was refused ({', '.join(sorted(reasons))}): {said}")
        return UserError(
            f"no permission for {where}: {said}; this account needs roles/storage.objectAdmin on bucket {self._name!r}"
        )


def _explain_sign_in(error: auth.GoogleAuthError, uri: str) -> BertlineError:
    said = _short(error)
    if CLOCK_SAID.search(str(error)):
        now = datetime.datetime.now(datetime.UTC)
        return OutageError(
            f"signing in for {uri} was refused because of the time: {said}; this machine's clock says "
            f"{now:%Y-%m-%d %H:%M:%S} UTC: set it (NTP does it automatically)"
        )
    if isinstance(error, auth.TransportError) or error.retryable:
        return OutageError(f"signing in for {uri} failed: {said}")
    if SESSION_SAID.search(str(error)):
        return UserError(f"the session of the credentials for {uri} has ended: {said}; {SIGN_IN_AGAIN}")
    return UserError(f"the credentials for {uri} aren't accepted: {said}; {SIGN_IN_AGAIN}")


LIMITS = {
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "quotaExceeded",
    "dailyLimitExceeded",
    "limitExceeded",
    "bandwidthLimitExceeded",
}
REASON = re.compile(r'"reason": ?"(\w+)"')
LIMITS_SAID = re.compile(r"quota (was |is |has been )?exceeded|rate limit", re.IGNORECASE)
PERMISSION = {"forbidden", "insufficientPermissions", "required", ""}
SIGN_IN = {"authError", "expired", "invalid", "unauthorized"}
SIGN_IN_AGAIN = (
    "sign in again with `gcloud auth application-default login`, or correct GOOGLE_APPLICATION_CREDENTIALS, or in a "
    "pod its service account"
)
CLOCK_SAID = re.compile(r"short-lived token|iat and exp|reasonable timeframe|token used too early", re.IGNORECASE)
SESSION_SAID = re.compile(r"expired|revoked|reauth|invalid_rapt", re.IGNORECASE)

PASSING = (
    api.ServerError,
    api.TooManyRequests,
    api.RetryError,
    media.DataCorruption,  # in one transfer: its checksum isn't the bucket's
    media.InvalidResponse,
    requests.RequestException,
    ConnectionError,
    TimeoutError,
)


def _token() -> str:
    return uuid.uuid4().hex


def _short(error: Exception) -> str:
    """The error on one line, without the URL and the answer, which are in `__cause__`."""
    if isinstance(error, api.RetryError) and error.cause is not None:
        return _short(error.cause)
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


class _Reader:
    """A file that reports the bytes read. The client keeps chunks, so a repeated chunk isn't read again."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._file, self._progress = file, progress
        self.tell: Callable[[], int] = file.tell
        self.seek: Callable[..., int] = file.seek

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._progress(len(content))
        return content


class _Writer:
    """A file that reports the bytes written."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._file, self._progress = file, progress

    def write(self, content: bytes) -> int:
        count = self._file.write(content)
        self._progress(count)
        return count
