"""A probe of the store: writes one object, reads it back, sees that nobody may write it twice, deletes it.

It runs with this machine's credentials and address; pods may have others. What probes that were killed have left is
deleted by the next one.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from bertline.errors import BertlineError, TransientError, UserError
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore
from bertline_pipelines.doctor import findings
from bertline_pipelines.doctor.findings import Finding
from bertline_pipelines.places.profiles import StoreAccess

FOLDER = "doctor/"
LEFT_S = 3600.0  # a probe takes seconds
SKEW_S = 60.0
PATIENCE_S = 15.0
TIMEOUT_S = (5.0, 15.0)
ATTEMPTS = 2
HERE = ("localhost", "127.0.0.1", "::1")


def connect(uri: str) -> ObjectStore:
    """The store, with less patience than work has: who asks the doctor sits and waits."""
    parts = urlsplit(uri)
    if parts.scheme == "gs":
        from bertline.store.gcs import GoogleCloudStore

        return GoogleCloudStore(parts.netloc, parts.path.strip("/"), patience_s=PATIENCE_S, timeout_s=TIMEOUT_S)
    from bertline.store.s3 import S3Store

    return S3Store(parts.netloc, parts.path.strip("/"), attempts=ATTEMPTS, timeout_s=TIMEOUT_S)


def examine(store: ObjectStore, access: StoreAccess) -> Iterator[Finding]:
    """What is to be said of the store."""
    name = f"{FOLDER}{uuid.uuid4().hex}"
    try:
        left = list(store.list(FOLDER))
    except TransientError as error:
        hint = f"; is {access.endpoint_here} the right address, and is its port-forward running?"
        after = hint if access.endpoint_here else ""
        yield findings.failed("store", f"{error}{after}", exit_code=error.exit_code)
        return
    except BertlineError as error:
        yield findings.from_error("store", error)
        return
    try:
        finding, ahead_s = _write_and_read(store, name, access)
        oldest = time.time() + ahead_s - LEFT_S
        for probe in left:
            if probe.modified < oldest:
                store.delete(probe.name)
        store.delete(name)
        if store.stat(name) is not None:
            raise UserError(f"{store.uri}/{name} is still there after it was deleted: is the bucket under a retention?")
    except BertlineError as error:
        yield findings.from_error("store", error, f"{store.uri} can be listed, but not all works: ")
        return
    finally:
        with contextlib.suppress(BertlineError):
            store.delete(name)
    yield finding
    if abs(ahead_s) > SKEW_S:
        yield findings.warning(
            "clock",
            f"this machine's clock is {abs(ahead_s):.0f} seconds {'behind' if ahead_s > 0 else 'ahead of'} the store's",
            "set it; object stores refuse requests that are signed for another time",
        )
    if access.endpoint and urlsplit(access.endpoint).hostname in HERE:
        yield findings.warning(
            "store",
            f"pods look for the store at {access.endpoint}, which is each pod itself",
            "give the address that it has inside the cluster as `store.endpoint`, and this one as `endpoint_here`",
        )


def _write_and_read(store: ObjectStore, name: str, access: StoreAccess) -> tuple[Finding, float]:
    """That all is well, and how many seconds the store's clock is ahead of ours."""
    first, second, third = (f"{name} {number}".encode() for number in range(3))
    version = store.create(name, first)
    began = time.monotonic()
    try:
        content, _ = store.get(name)
    except NotFoundError as error:
        raise UserError(f"what was written just now can't be read: {error}; the store isn't fit for this") from error
    read_s = time.monotonic() - began
    if content != first:
        raise UserError(f"{store.uri}/{name} isn't what was written: a proxy may change it")
    began = time.monotonic()
    store.replace(name, second, version)
    write_s = time.monotonic() - began
    found = store.stat(name)
    ahead_s = found.modified - time.time() if found else 0.0
    _refused(lambda: store.create(name, third), store, "an object was created twice")
    _refused(lambda: store.replace(name, third, version), store, "an object was replaced by a state of old")
    sentence = (
        f"{store.uri}{_by(access)} can be written, read and deleted, and nothing is written over; "
        f"{read_s * 1000:.0f} ms to read, {write_s * 1000:.0f} ms to write"
    )
    if access.endpoint and access.endpoint != _address(access):
        sentence += f"; pods go by {access.endpoint}, which can't be tried from here"
    return findings.ok("store", sentence), ahead_s


def _refused(write: Callable[[], object], store: ObjectStore, deed: str) -> None:
    with contextlib.suppress(ConflictError):
        write()
        raise UserError(
            f"{store.uri}: {deed}, so its server doesn't keep conditional writes, and two runs would overwrite each "
            "other; use Cloud Storage, Amazon S3, or a newer version of the server"
        )


def _address(access: StoreAccess) -> str | None:
    return os.environ.get(access.endpoint_variable)


def _by(access: StoreAccess) -> str:
    address = _address(access)
    return f" at {address}" if address else ""
