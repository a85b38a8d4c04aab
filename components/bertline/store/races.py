"""Whether an S3 server keeps conditional writes: two writers race for a probe object, and exactly one may win.

Not every server that knows `If-None-Match: *` and `If-Match` keeps them: old ones ignore them, and SeaweedFS 4.16 still
looked first and wrote later, so that all of several writers at one moment won. A single refused write proves nothing
then. So the bodies of the racing requests are held back until the headers of both are out: a server that looks first
looks when it has the headers, and there both writers find the field clear.
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

WRITERS = 2  # more would find no more, and SeaweedFS lets each further one wait for seconds
PAUSE_S = 0.05  # between the last headers and the first body: headers are on their way that long
PATIENCE_S = 5.0  # for the slowest writer's headers
EVENT = "before-send.s3.PutObject"


def check(client: Any, bucket: str, name: str, uri: str) -> None:
    """Race for an object that isn't there, then for its replacement; the object is gone afterwards.

    Args:
        client: botocore's. Its own errors are left to the caller.
        bucket: Where.
        name: The probe object, in the bucket; its last part is like nothing else, and needs no quoting.
        uri: The store, as messages name it.

    Raises:
        UserError: the server lets two writers win.
        TransientError: nobody won.
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
    last_part = place["Key"].rpartition("/")[2]  # what lies before it is quoted in URLs

    def hold_back(request: Any, **_: Any) -> None:
        if request.url.endswith(last_part):  # the client may be at other work in other threads
            content = request.body.read()
            request.body.seek(0)  # for another try
            request.body = _HeldBack(content, gate)
            request.headers.pop("Expect", None)  # or the client waits a second for servers that let writers queue

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
            "moment, so two runs would overwrite each other. Use one that does: Amazon S3, or a newer SeaweedFS (4.16 "
            "isn't one, 4.48 is)"
        )


class _HeldBack(io.BytesIO):
    """A request's body that isn't read before the others' are about to be."""

    def __init__(self, content: bytes, gate: threading.Barrier) -> None:
        super().__init__(content)
        self._gate = gate

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() == 0:
            with contextlib.suppress(threading.BrokenBarrierError):  # a repeated request finds nobody to wait for
                self._gate.wait(PATIENCE_S)
        return super().read(size)
