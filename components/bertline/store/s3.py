"""`s3://`: a prefix in a bucket of Amazon S3, or of a server with its protocol at `AWS_ENDPOINT_URL`.

The client is botocore, AWS's own, on which boto3 is built. Unlike obstore it lets us control every request, its
conditions and its retries. What boto3 adds (threads and buffers for big files) is done here with limited memory.
Credentials, region and endpoint come from the environment as AWS documents it: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_S3, or what a pod's service account provides.

Conditional writes are the server's `If-None-Match: *` and `If-Match`. Some servers don't keep them. So each process
tests them before its first conditional write (`races`) and refuses a server on which two writers succeed.

An ETag is a digest of the content, so equal contents have equal ETags. So every write has a random token in the
object's metadata, and a version is ETag and token. The token distinguishes our own write, if its answer was lost, from
another writer's, and a state from a later one with equal content. The second check happens just before the write, not
atomically, because S3 has no condition on metadata. So if two writers replace an object by its own content at the same
time, both may succeed; leases, the only objects replaced here, differ in every write.

Every request has a timeout and is sent up to `ATTEMPTS` times; then it is an OutageError. Big files are uploaded in
parts, each with its own retries, and downloaded in one stream, which is resumed if it breaks.
"""

import contextlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import botocore.loaders
import botocore.session
from botocore import exceptions as boto
from botocore.config import Config

from bertline import retries
from bertline.errors import UserError
from bertline.store import disks, races, s3_errors
from bertline.store.objects import ConflictError, NotFoundError, OutageError, Progress, Stat, Version, no_progress

TOKEN = "bertline-write"
REGION = "us-east-1"  # for servers other than AWS's
CHUNK = 8 << 20  # of an upload; 8 threads hold 64 MiB
PIECE = 1 << 20  # of a download
PARTS = 10_000  # the protocol's limit
TIMEOUT_S = (10, 30)  # to connect, and between two bytes
ATTEMPTS = 7  # with the client's random pauses 10 to 40 s, if answers come at once
HASTY_TIMEOUT_S = (5, 5)
HASTY_ATTEMPTS = 2
PROBE = ".probe-"
UPLOAD = ".upload-"

_atomic: set[tuple[str, str]] = set()
"""Endpoints and buckets that passed the test of conditional writes."""
_probing = threading.Lock()
_loader = botocore.loaders.create_loader()  # keeps the descriptions of AWS's services, read in 0.15 s


class S3Store:
    """An `ObjectStore` in a bucket. The bucket must exist; list, get, put and delete must be allowed."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        attempts: int = ATTEMPTS,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        chunk: int = CHUNK,
    ) -> None:
        """Prepare; nothing is sent before the first operation.

        Args:
            bucket: Its name.
            prefix: Where in the bucket; "" is the bucket's root.
            attempts: How often one request is sent at most.
            timeout_s: Seconds to connect, and seconds without a byte.
            chunk: Bytes of one part of an upload; at least 5 MiB.
        """
        if not bucket:
            raise UserError("store s3://: the bucket's name is missing; it looks like s3://my-bucket/experiments")
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._name = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._attempts, self._timeout_s, self._chunk = attempts, timeout_s, chunk
        self._lock = threading.Lock()
        self._connected: tuple[int, Any] | None = None
        self._is_known = False
        self._hasty: S3Store | None = None

    def get(self, name: str) -> tuple[bytes, Version]:  # noqa: D102 - the protocol says it
        with self._sentences(name):
            for tries in itertools.count(1):
                answer = self._client().get_object(**self._at(name))
                with contextlib.closing(answer["Body"]) as body:
                    try:
                        return body.read(), _version(answer)
                    except BROKEN_OFF:  # the client only repeats failures before the first byte
                        if tries >= self._attempts:
                            raise
                time.sleep(retries.PAUSES.after(tries))
            raise AssertionError

    def read(self, name: str, begin: int, end: int, state: str = "") -> bytes:  # noqa: D102
        content, failures = b"", 0
        condition = {"IfMatch": state} if state else {}
        with self._sentences(name):
            while begin + len(content) < end:
                try:
                    asked = f"bytes={begin + len(content)}-{end - 1}"
                    answer = self._client().get_object(**self._at(name), **condition, Range=asked)
                    condition = {"IfMatch": answer["ETag"]}  # otherwise two states could be mixed
                    with contextlib.closing(answer["Body"]) as body:
                        for piece in body.iter_chunks(PIECE):
                            content += piece
                            failures = 0
                    if begin + len(content) >= _size(answer):
                        break
                except BROKEN_OFF:
                    failures += 1
                    if failures >= self._attempts:
                        raise
                except boto.ClientError as error:
                    if s3_errors.status_of(error) != 416:
                        raise
                    break  # it ends before `begin`
        return content

    def stat(self, name: str) -> Stat | None:  # noqa: D102
        with self._sentences(name):
            found = self._head(name)
            return found and Stat(name, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"])

    def list(self, prefix: str) -> Iterator[Stat]:  # noqa: D102
        # AWS lists in the order of names, SeaweedFS folder by folder: `a/1` before `a-b`.
        found = (stat for stat in self._list(prefix) if not stat.name.startswith(PROBE))
        yield from sorted(found, key=lambda stat: stat.name)

    def leftovers(self) -> Iterator[Stat]:
        """Test objects, and parts of unfinished uploads, which cost money and stay in the bucket for ever."""
        yield from self._list(PROBE)
        with self._sentences(""):
            client = self._client()
            for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=self._name, Prefix=self._prefix):
                for upload in page.get("Uploads", []):
                    yield self._leftover(upload)

    def put(self, name: str, content: bytes) -> Version:  # noqa: D102
        with self._sentences(name):
            return self._write(name, content, _token())

    def create(self, name: str, content: bytes) -> Version:  # noqa: D102
        self._check_server()
        return self._write_if(name, content, "exists already", IfNoneMatch="*")

    def replace(self, name: str, content: bytes, version: Version) -> Version:  # noqa: D102
        self._check_server()
        etag, _, token = version.partition(" ")
        with self._sentences(name):
            found = self._head(name)
        refusal = "was changed by another process"
        if found is None or found["Metadata"].get(TOKEN, "") != token:
            raise ConflictError(f"{self.uri}/{name} {refusal}")
        return self._write_if(name, content, refusal, IfMatch=etag)

    def delete(self, name: str) -> None:  # noqa: D102
        with contextlib.suppress(NotFoundError), self._sentences(name):
            if name.startswith(UPLOAD):
                upload, _, name = name.removeprefix(UPLOAD).partition("/")
                self._abort(name, unquote(upload))
            else:
                self._client().delete_object(**self._at(name))

    def upload(self, path: Path, name: str, progress: Progress = no_progress) -> None:  # noqa: D102
        with path.open("rb") as file, self._sentences(name):
            size = path.stat().st_size
            if size > self._chunk:
                self._upload_parts(file, size, name, progress)
            else:
                self._write(name, file.read(), _token())
                progress(size)

    def download(self, name: str, path: Path, progress: Progress = no_progress) -> None:  # noqa: D102
        with self._sentences(name):
            found = self._head(name)
            if found is None:
                raise NotFoundError(f"{self.uri}/{name} is not there")
            size, etag = found["ContentLength"], found["ETag"]
            with disks.explained("write", path), path.open("wb") as file:
                failures = 0
                while file.tell() < size:
                    try:
                        for piece in self._pieces(name, etag, file.tell()):
                            file.write(piece)
                            progress(len(piece))
                            failures = 0
                    except BROKEN_OFF:
                        failures += 1
                        if failures >= self._attempts:
                            raise
                        time.sleep(retries.PAUSES.after(failures))
                    except boto.ClientError as error:
                        if s3_errors.status_of(error) != 412:
                            raise
                        raise s3_errors.overwritten(f"{self.uri}/{name}") from error

    def local_path(self, name: str) -> Path | None:  # noqa: D102
        return None

    def hasty(self) -> "S3Store":  # noqa: D102
        with self._lock:  # one: a client has connections of its own
            if self._hasty is None:
                prefix = self._prefix.removesuffix("/")
                self._hasty = S3Store(self._name, prefix, attempts=HASTY_ATTEMPTS, timeout_s=HASTY_TIMEOUT_S)
            return self._hasty

    def __getstate__(self) -> dict[str, Any]:
        """Leave out connections and locks, which can't leave their process."""
        return {**self.__dict__, "_lock": None, "_connected": None, "_hasty": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _list(self, prefix: str) -> Sequence[Stat]:
        with self._sentences(prefix):
            pages = self._client().get_paginator("list_objects_v2")
            return [
                Stat(found["Key"].removeprefix(self._prefix), found["Size"], found["LastModified"].timestamp())
                for page in pages.paginate(Bucket=self._name, Prefix=self._prefix + prefix)
                for found in page.get("Contents", [])
            ]

    def _leftover(self, upload: Any) -> Stat:
        place = {"Bucket": self._name, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        pages = self._client().get_paginator("list_parts").paginate(**place)
        parts = [part for page in pages for part in page.get("Parts", [])]
        return Stat(
            f"{UPLOAD}{quote(upload['UploadId'], safe='')}/{upload['Key'].removeprefix(self._prefix)}",
            sum(part["Size"] for part in parts),
            max([upload["Initiated"], *(part["LastModified"] for part in parts)]).timestamp(),
        )

    def _head(self, name: str) -> Any | None:
        try:
            return self._client().head_object(**self._at(name))
        except boto.ClientError as error:
            if not self._is_known or s3_errors.status_of(error) != 404:
                # This answer has no body, so a missing bucket looks like a missing object, and a wrong clock like a
                # missing permission. A listing's answer has a body.
                self._client().list_objects_v2(Bucket=self._name, MaxKeys=1)
                self._is_known = True
            if s3_errors.status_of(error) != 404:
                raise
        return None

    def _write(self, name: str, content: bytes, token: str, **conditions: str) -> Version:
        answer = self._client().put_object(**self._at(name), Body=content, Metadata={TOKEN: token}, **conditions)
        return f"{answer['ETag']} {token}"

    def _write_if(self, name: str, content: bytes, refusal: str, **conditions: str) -> Version:
        token = _token()
        with self._sentences(name):
            for tries in itertools.count(1):
                try:
                    return self._write(name, content, token, **conditions)
                except boto.ClientError as error:
                    if s3_errors.status_of(error) not in (404, 409, 412) or s3_errors.code(error) == "NoSuchBucket":
                        raise
                    if s3_errors.status_of(error) == 409 and tries < self._attempts:
                        time.sleep(retries.PAUSES.after(tries))  # AWS: another is writing just now
                        continue
                    # An earlier try may have made it, if only its answer was lost.
                    found = self._head(name)
                    if found is not None and found["Metadata"].get(TOKEN) == token:
                        return _version(found)
                    raise ConflictError(f"{self.uri}/{name} {refusal}") from error
            raise AssertionError

    def _upload_parts(self, file: IO[bytes], size: int, name: str, progress: Progress) -> None:
        client, token = self._client(), _token()
        chunk = max(self._chunk, -(-size // PARTS))
        place = self._at(name)
        place["UploadId"] = client.create_multipart_upload(**place, Metadata={TOKEN: token})["UploadId"]
        try:
            parts: Any = []
            while content := file.read(chunk):
                number = len(parts) + 1
                etag = client.upload_part(**place, PartNumber=number, Body=content)["ETag"]
                parts.append({"PartNumber": number, "ETag": etag})
                progress(len(content))
            client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except BaseException as error:
            if isinstance(error, boto.ClientError) and s3_errors.code(error) == "NoSuchUpload":
                # Either another process cleaned up, or an earlier try completed it and only its answer was lost.
                found = self._head(name)
                if found is not None and found["Metadata"].get(TOKEN) == token:
                    return
            with contextlib.suppress(boto.ClientError, boto.BotoCoreError):  # `leftovers` shows it otherwise
                self._abort(name, place["UploadId"])
            raise

    def _abort(self, name: str, upload: str) -> None:
        self._client().abort_multipart_upload(**self._at(name), UploadId=upload)

    def _pieces(self, name: str, etag: str, offset: int) -> Iterator[bytes]:
        """Content from an offset, of the state with this ETag, even if the object is overwritten."""
        answer = self._client().get_object(**self._at(name), IfMatch=etag, Range=f"bytes={offset}-")
        with contextlib.closing(answer["Body"]) as body:
            yield from body.iter_chunks(PIECE)

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._name, "Key": self._prefix + name}

    def _client(self) -> Any:
        """One client for each process, because a forked child must not share sockets."""
        with self._lock:
            if self._connected is None or self._connected[0] != os.getpid():
                session = botocore.session.Session()
                session.register_component("data_loader", _loader)
                connect_s, read_s = self._timeout_s
                config = Config(
                    connect_timeout=connect_s,
                    read_timeout=read_s,
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                    max_pool_connections=16,  # staging's threads, the lease's, and the probe's
                    # Many servers don't know newer checksums; manifests have checksums anyway.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                # The client itself only reads AWS_DEFAULT_REGION.
                region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or REGION
                try:
                    client = session.create_client("s3", region_name=region, config=config)
                except ValueError as error:
                    raise UserError(
                        f"can't use {self.uri}: {s3_errors.short(error)}; AWS_ENDPOINT_URL looks like http://host:port"
                    ) from error
                self._connected = os.getpid(), client
            return self._connected[1]

    def _check_server(self) -> None:
        """Refuse a server on which two writers succeed; tested once per process."""
        client = self._client()
        bucket = (str(client.meta.endpoint_url), self._name)
        if bucket in _atomic:  # without the lock, on which a child forked just now would wait for ever
            return
        with _probing:
            if bucket not in _atomic:
                name = f"{PROBE}{_token()}"
                with self._sentences(name):
                    races.check(client, self._name, self._prefix + name, self.uri)
                _atomic.add(bucket)

    @contextlib.contextmanager
    def _sentences(self, name: str) -> Iterator[None]:
        where = f"{self.uri}/{name}"
        try:
            yield
        except boto.ClientError as error:
            raise s3_errors.explain(error, self.uri, self._name, where) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError) as error:
            raise UserError(
                f"no credentials for {self.uri}: {s3_errors.short(error)}; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY in the environment, or in a pod from its secret (for a server other than AWS: "
                "AWS_ENDPOINT_URL as well)"
            ) from error
        except (boto.HTTPClientError, boto.ConnectionError, *BROKEN_OFF) as error:
            raise OutageError(f"can't reach {where} now: {s3_errors.short(error)}") from error
        except (boto.BotoCoreError, ValueError) as error:
            raise UserError(f"{where} was refused: {s3_errors.short(error)}") from error


BROKEN_OFF = (boto.IncompleteReadError, boto.ResponseStreamingError, boto.ReadTimeoutError)


def _token() -> str:
    return uuid.uuid4().hex


def _size(answer: Any) -> int:
    """Size of the whole object, from an answer with a part of it."""
    return int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else 0


def _version(answer: Any) -> Version:
    return f"{answer['ETag']} {answer['Metadata'].get(TOKEN, '')}"
