"""A container's log, line by line, through dropped connections: nothing twice, nothing lost.

The API can begin a log at a second, not at a line. So lines come with their time, and after a drop those that were
there already are told by time and text. Whether the log is over isn't concluded from the end of a stream, which a proxy
or an API server that restarts may cause as well, but from the container's state, looked up *before* the last reading.
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

SILENCE_S = 60.0  # of a log that is followed: then the pod is looked at and the connection made anew
PAUSE_S = 2.0
DROPS = 10  # in a row, without a line in between
OVERLAP = datetime.timedelta(seconds=2)  # stdout and stderr may be written out of order
GONE = "unable to retrieve container logs"


class LogGoneError(TransientError):
    """There is no log, and asking again won't bring it."""


class Seen:
    """The lines that may come again: those of the last seconds, as often as they came."""

    def __init__(self) -> None:
        self.last: datetime.datetime | None = None
        self._lines: collections.deque[tuple[datetime.datetime, str]] = collections.deque()
        self._again: collections.Counter[str] = collections.Counter()

    @property
    def since(self) -> datetime.datetime | None:
        """Where to read on."""
        return self.last - OVERLAP if self.last else None

    def reconnect(self) -> None:
        """From here on, lines that were seen are expected once more."""
        since = self.since
        # The server knows whole seconds only, so it may send the beginning of the first one too.
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
    """What a pod's main container wrote, line by line.

    Args:
        cluster: Where it runs.
        namespace: Its namespace.
        pod: Its name.
        follow: Wait for the container to start, and go on until it ends, through dropped connections.
        tail: How many lines back to begin; all of them where None.

    Raises:
        TransientError: the pod or its log is gone, or the API doesn't answer any more.
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
                why = "its node is starting it" if found.main else "it is on no node yet"
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
            pass  # silence: look whether it still runs
        except (urllib3.exceptions.HTTPError, TransientError) as error:
            problem = error
        except MissingError:
            pass  # it went just now, the next look tells
        except UserError as error:
            if "waiting to start" not in str(error):
                raise
        drops = drops + 1 if problem and seen.last == before else 0
        if drops >= DROPS:
            raise TransientError(f"the log of pod {pod} breaks off again and again: {problem}") from problem
        time.sleep(PAUSE_S)


def _look(cluster: Cluster, namespace: str, pod: str, known: str) -> Pod:
    """The pod, if it is still the one that it was."""
    found = cluster.pod(namespace, pod)
    if found and known in ("", found.uid):
        return found
    if known:
        raise LogGoneError(f"pod {pod} was deleted, its last lines are lost; `bertline status` shows what runs now")
    raise LogGoneError(f"there is no pod {pod} in namespace {namespace} any more, and its log went with it")


def _read(
    cluster: Cluster, namespace: str, pod: str, *, follow: bool, tail: int | None, since: datetime.datetime | None
) -> Iterator[str]:
    """The lines of one connection, each with its time. What a drop leaves after the last newline isn't a line."""
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
    """A kubelet that has lost a log says so in its place, with status 200."""
    text = line.decode("utf-8", "replace")
    if text.startswith(GONE):
        raise LogGoneError(f"the log of pod {pod} isn't on its node any more")
    return text


def _over(pod: Pod) -> bool:
    return pod.phase in ("Succeeded", "Failed") or (pod.main is not None and pod.main.state == "terminated")


def _time(line: str) -> datetime.datetime | None:
    """When it was written; None for what the kubelet says in place of a log."""
    stamp = line.partition(" ")[0]
    try:
        return moment(stamp) if stamp[:4].isdigit() and "T" in stamp else None
    except ValueError:
        return None
