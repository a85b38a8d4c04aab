"""A test of the store: writes one object, reads it, checks that a second write is refused, deletes it.

It uses this machine's credentials and address; pods may have others. It deletes the objects of earlier tests that were
killed.
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
    """The store, with short timeouts: the user is waiting for the doctor."""
    parts = urlsplit(uri)
    if parts.scheme == "gs":
        from bertline.store.gcs import GoogleCloudStore

        return GoogleCloudStore(parts.netloc, parts.path.strip("/"), patience_s=PATIENCE_S, timeout_s=TIMEOUT_S)
    from bertline.store.s3 import S3Store

    return S3Store(parts.netloc, parts.path.strip("/"), attempts=ATTEMPTS, timeout_s=TIMEOUT_S)


def run(store: ObjectStore, access: StoreAccess) -> Iterator[Finding]:
    """Test the store."""
    name = f"{FOLDER}{uuid.uuid4().hex}"
    try:
        left = list(store.list(FOLDER))
    except TransientError as error:
        hint = f"; check the address {access.endpoint_here}, and whether its port-forward runs"
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
            raise UserError(f"{store.uri}/{name} still exists after it was deleted; has the bucket a retention?")
    except BertlineError as error:
        yield findings.from_error("store", error, f"{store.uri} can be listed, but something else fails: ")
        return
    finally:
        with contextlib.suppress(BertlineError):
            store.delete(name)
    yield finding
    if abs(ahead_s) > SKEW_S:
        yield findings.warning(
            "clock",
            f"this machine's clock is {abs(ahead_s):.0f} seconds {'behind' if ahead_s > 0 else 'ahead of'} the store's",
            "set the clock; object stores refuse requests that are signed with a wrong time",
        )
    if access.endpoint and urlsplit(access.endpoint).hostname in HERE:
        yield findings.warning(
            "store",
            f"pods look for the store at {access.endpoint}, but there that is the pod itself",
            "set `store.endpoint` to its address inside the cluster, and `endpoint_here` to this one",
        )


def _write_and_read(store: ObjectStore, name: str, access: StoreAccess) -> tuple[Finding, float]:
    """The finding if all works, and the seconds by which the store's clock is ahead of ours."""
    first, second, third = (f"{name} {number}".encode() for number in range(3))
    version = store.create(name, first)
    began = time.monotonic()
    try:
        content, _ = store.get(name)
    except NotFoundError as error:
        raise UserError(f"an object can't be read after it was written: {error}; use another store") from error
    read_s = time.monotonic() - began
    if content != first:
        raise UserError(f"{store.uri}/{name} has other bytes than were written; a proxy may change them")
    began = time.monotonic()
    store.replace(name, second, version)
    write_s = time.monotonic() - began
    found = store.stat(name)
    ahead_s = found.modified - time.time() if found else 0.0
    _refused(lambda: store.create(name, third), store, "an object was created twice")
    _refused(lambda: store.replace(name, third, version), store, "an object was replaced with an outdated version")
    sentence = (
        f"{store.uri}{_by(access)} can be written, read and deleted, and refuses overwriting; "
        f"{read_s * 1000:.0f} ms to read, {write_s * 1000:.0f} ms to write"
    )
    if access.endpoint and access.endpoint != _address(access):
        sentence += f"; pods use {access.endpoint}, which can't be tested from here"
    return findings.ok("store", sentence), ahead_s


def _refused(write: Callable[[], object], store: ObjectStore, fault: str) -> None:
    with contextlib.suppress(ConflictError):
        write()
        raise UserError(
            f"{store.uri}: {fault}, so its server ignores conditional writes, and two runs would overwrite each "
            "other. Use Cloud Storage, Amazon S3, or a newer version of the server"
        )


def _address(access: StoreAccess) -> str | None:
    return os.environ.get(access.endpoint_variable)


def _by(access: StoreAccess) -> str:
    address = _address(access)
    return f" at {address}" if address else ""
