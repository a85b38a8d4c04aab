"""A container's log, line by line. After a dropped connection no line is repeated or lost.

The API can begin a log at a second, but not at a line. So we ask for lines with their times, and after a drop we
recognize repeated lines by time and text. The end of a stream doesn't mean the end of the log: a proxy or a restarting
API server can end it too. So we read the container's state *before* the last read of the log.
"""

import collections
import datetime
import time
from collections.abc import Iterator
from typing import Any

import urllib3

from bertline.errors import TransientError, UserError
from bertline_pipelines.cluster.connections import MissingError
from bertline_pipelines.cluster.nodes import time as moment
from bertline_pipelines.cluster.pods import MAIN, Pod
from bertline_pipelines.cluster.reader import Cluster

SILENCE_S = 60.0  # without a line of a followed log: then read the pod and connect again
PAUSE_S = 2.0
DROPS = 10  # in a row, without a line in between
OVERLAP = datetime.timedelta(seconds=2)  # stdout and stderr may be written out of order
GONE = "unable to retrieve container logs"


class LogGoneError(TransientError):
    """There is no log, and asking again won't help."""


class Seen:
    """Counts the lines of the last seconds, which may be repeated after a reconnection."""

    def __init__(self) -> None:
        self.last: datetime.datetime | None = None
        self._lines: collections.deque[tuple[datetime.datetime, str]] = collections.deque()
        self._again: collections.Counter[str] = collections.Counter()

    @property
    def since(self) -> datetime.datetime | None:
        """The time from which to read after a reconnection."""
        return self.last - OVERLAP if self.last else None

    def reconnect(self) -> None:
        """Expect the seen lines once more."""
        since = self.since
        # The server only knows whole seconds, so it may send the beginning of the first one too.
        kept = [line for at, line in self._lines if since is None or at >= since.replace(microsecond=0)]
        self._again = collections.Counter(kept)

    def is_new(self, line: str) -> bool:
        """Note a line; False if it was seen before the last reconnection."""
        if self._again[line]:
            self._again[line] -= 1
            return False
        at = _time(line)
        if at:
            self.last = max(at, self.last or at)
            self._lines.append((at, line))
            while self._lines and self._lines[0][0] < self.last - 2 * OVERLAP:
                self._lines.popleft()
        return True


def lines(
    cluster: Cluster, namespace: str, pod: str, *, follow: bool = False, tail: int | None = None
) -> Iterator[str]:
    """The log of a pod's main container, line by line.

    Args:
        cluster: The pod's cluster.
        namespace: The pod's namespace.
        pod: The pod's name.
        follow: Wait for the container to start, and continue until it ends, through dropped connections.
        tail: Begin so many lines before the end; None means with the first line.

    Raises:
        TransientError: the pod or its log doesn't exist any more, or the API doesn't answer.
    """
    seen, drops, known = Seen(), 0, ""
    while True:
        before, problem = seen.last, None
        try:
            found = _look(cluster, namespace, pod, known)
            known, over = found.uid, _over(found)
            waiting = found.main is None or found.main.state == "waiting"
            if waiting and over:
                return
            if waiting and not follow:
                why = "its node is starting it" if found.main else "it has no node yet"
                raise LogGoneError(f"pod {pod} has no log, it hasn't started ({why}); -f waits for it")
            if not waiting:
                seen.reconnect()
                for line in _read(cluster, namespace, pod, follow=follow and not over, tail=tail, since=seen.since):
                    if seen.is_new(line):
                        yield line.partition(" ")[2] if _time(line) else line
                if over or not follow:
                    return
        except LogGoneError:
            raise
        except urllib3.exceptions.ReadTimeoutError:
            pass  # silence: check whether it still runs
        except (urllib3.exceptions.HTTPError, TransientError) as error:
            problem = error
        except MissingError:
            pass  # it ended just now; the next check will show it
        except UserError as error:
            if "waiting to start" not in str(error):
                raise
        drops = drops + 1 if problem and seen.last == before else 0
        if drops >= DROPS:
            raise TransientError(f"the connection to the log of pod {pod} breaks repeatedly: {problem}") from problem
        time.sleep(PAUSE_S)


def _look(cluster: Cluster, namespace: str, pod: str, known: str) -> Pod:
    """The pod, if it is still the same one."""
    found = cluster.pod(namespace, pod)
    if found and known in ("", found.uid):
        return found
    if known:
        raise LogGoneError(f"pod {pod} was deleted, and its last lines are lost; `bertline status` shows what runs now")
    raise LogGoneError(f"pod {pod} in namespace {namespace} was deleted, with its log")


def _read(
    cluster: Cluster, namespace: str, pod: str, *, follow: bool, tail: int | None, since: datetime.datetime | None
) -> Iterator[str]:
    """The complete lines of one connection, each with its time."""
    query: dict[str, Any] = {"container": MAIN, "timestamps": "true"}
    if follow:
        query["follow"] = "true"
    if since:
        query["sinceTime"] = since.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    elif tail is not None:
        query["tailLines"] = str(tail)
    response = cluster.log(namespace, pod, query, silence_s=SILENCE_S)
    rest = b""
    try:
        for chunk in response.stream(1 << 16):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (_checked(line, pod) for line in whole)
        if rest and not follow:
            yield _checked(rest, pod)
    finally:
        response.close()
        response.release_conn()


def _checked(line: bytes, pod: str) -> str:
    """The line, unless it is the kubelet's message, with status 200, that it has lost the log."""
    text = line.decode("utf-8", "replace")
    if text.startswith(GONE):
        raise LogGoneError(f"the log of pod {pod} isn't on its node any more")
    return text


def _over(pod: Pod) -> bool:
    return pod.phase in ("Succeeded", "Failed") or (pod.main is not None and pod.main.state == "terminated")


def _time(line: str) -> datetime.datetime | None:
    """When the line was written; None for a message of the kubelet."""
    stamp = line.partition(" ")[0]
    try:
        return moment(stamp) if stamp[:4].isdigit() and "T" in stamp else None
    except ValueError:
        return None
