"""Tests an S3 server's conditional writes: two writers race for a test object, and exactly one may succeed.

Some servers accept `If-None-Match: *` and `If-Match` without atomicity: old ones ignore them, and SeaweedFS 4.16 checks
first and writes later, so that several writers at the same time succeed. A single refused write proves nothing then. So
we hold back the bodies of the racing requests until the headers of both are sent: a server that checks first does it
when it has the headers, and then accepts both writers.
"""

import contextlib
import io
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore import exceptions as boto

from bertline.errors import TransientError, UserError

WRITERS = 2  # more writers don't find more, and SeaweedFS lets each wait for seconds
PAUSE_S = 0.05  # between the last headers and the first body: time for the headers to arrive
PATIENCE_S = 5.0  # for the slowest writer's headers
EVENT = "before-send.s3.PutObject"


def check(client: Any, bucket: str, name: str, uri: str) -> None:
    """Race for creating an object, then for replacing it; then delete it.

    Args:
        client: The botocore client; the caller handles its errors.
        bucket: The bucket.
        name: Name of the test object; its last part is unique and needs no quoting.
        uri: The store's name in messages.

    Raises:
        UserError: both writers succeeded.
        TransientError: neither succeeded.
    """
    place = {"Bucket": bucket, "Key": name}
    try:
        _race(client, place, uri, "create one object", "If-None-Match: *", IfNoneMatch="*")
        etag = client.head_object(**place)["ETag"]
        _race(client, place, uri, "replace one state of an object", "If-Match", IfMatch=etag)
    finally:
        with contextlib.suppress(boto.ClientError, boto.BotoCoreError):  # garbage collection finds it
            client.delete_object(**place)


def _race(client: Any, place: dict[str, str], uri: str, deed: str, header: str, **condition: str) -> None:
    gate = threading.Barrier(WRITERS, action=lambda: time.sleep(PAUSE_S))
    last_part = place["Key"].rpartition("/")[2]  # the part before it is quoted in URLs

    def hold_back(request: Any, **_: Any) -> None:
        if request.url.endswith(last_part):  # other threads may use the client too
            content = request.body.read()
            request.body.seek(0)  # for another try
            request.body = _HeldBack(content, gate)
            request.headers.pop("Expect", None)  # otherwise the client waits a second if the server queues writers

    def write(number: int) -> str | None:
        try:
            answer = client.put_object(**place, Body=f"{number} {uuid.uuid4().hex}".encode(), **condition)
        except boto.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                raise
            return None
        return str(answer["ResponseMetadata"]["HTTPHeaders"].get("server", "without a name"))

    client.meta.events.register(EVENT, hold_back)
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            winners = [server for server in pool.map(write, range(WRITERS)) if server is not None]
    finally:
        client.meta.events.unregister(EVENT, hold_back)
    if not winners:
        raise TransientError(
            f"store {uri}: neither of two writers of a probe object succeeded; run the same command again"
        )
    if len(winners) > 1:
        raise UserError(
            f"store {uri}: the server ({winners[0]}) doesn't keep `{header}`: two writers could {deed} at the same "
            "time, so two runs would overwrite each other. Use Amazon S3 or a newer SeaweedFS (4.48 works, 4.16 "
            "doesn't)"
        )


class _HeldBack(io.BytesIO):
    """A request's body that can only be read once the other requests' bodies can be read too."""

    def __init__(self, content: bytes, gate: threading.Barrier) -> None:
        super().__init__(content)
        self._gate = gate

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() == 0:
            with contextlib.suppress(threading.BrokenBarrierError):  # a repeated request doesn't wait
                self._gate.wait(PATIENCE_S)
        return super().read(size)
