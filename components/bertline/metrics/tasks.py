"""The values of this process' task, and their server.

BERTLINE_METRICS_ADDRESS   where to listen: 0.0.0.0:9109, [::]:9109 or 127.0.0.1:0 (any free port); unset: no server
BERTLINE_METRICS_LINGER_S  seconds that a finished task may wait for the scrape that sees its last values: a little
                           more than the scrape interval. 0 if unset

A task waits only if its last value can't have been scraped yet and can't be computed from other values (see
`Gauges.await_scrape`), and if it was scraped before. It waits until that scrape, or until it is told to stop. All other
tasks end at once: their last and peak values are in the manifest.
"""

import contextlib
import os
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from bertline.errors import ExitCode, UserError
from bertline.metrics import gpus
from bertline.metrics.gauges import Counts, Gauges, Labels
from bertline.metrics.memories import Memory
from bertline.process import progress
from bertline.stage import entrypoints
from bertline.stage.configs import Label

if TYPE_CHECKING:
    from bertline.metrics import servers

ADDRESS = "BERTLINE_METRICS_ADDRESS"
LINGER = "BERTLINE_METRICS_LINGER_S"

_current: Gauges | None = None
_sampler: gpus.Sampler | None = None
_server: "servers.Server | None" = None
_pages: "servers.Pages | None" = None
_asked = False


def current() -> Gauges | None:
    """The values of the running task, or of the last one."""
    return _current


def begin(stage: str, label: Label, key: str, task: str = "") -> Gauges:
    """Create the values of the next task of this process, and start the server if the environment asks for one.

    Raises:
        UserError: the address or the seconds in the environment are invalid.
    """
    global _current, _sampler
    if _sampler is None:
        _sampler = gpus.Sampler()
    _sampler.forget_peak()
    labels = Labels(label.experiment, label.run, label.model, stage, str(label.epoch), task)
    made = Gauges(labels, key, Memory(_sampler), Counts())
    if _current and _current.labels == labels:  # another seed: counters mustn't fall
        made.counts = replace(_current.counts)
        made.evaluation_accuracies = _current.evaluation_accuracies
    _current = made
    _serve()  # not before there are values
    return made


def _serve() -> None:
    global _asked, _pages, _server
    if _server:
        entrypoints.at_end(_end)
    address = os.environ.get(ADDRESS)
    if _asked or not address:
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit() and int(port) < 1 << 16):
        raise UserError(f"{ADDRESS} is {address!r}; expected host and port, such as 127.0.0.1:9109")
    _linger_s()
    _asked = True
    from bertline.metrics import collectors, servers

    try:
        _pages = servers.Pages(collectors.registry(current), current)
        _server = servers.Server(host.strip("[]"), int(port), _pages)
    except OSError as error:
        progress.say(f"continuing without metrics: {ADDRESS} is {address}, and {error.strerror or error}")
    else:
        entrypoints.at_end(_end)
        progress.say(f"metrics: http://{host}:{_server.port}/metrics")


def _end(code: ExitCode) -> None:
    """Wait for one more scrape if it is needed and no signal to stop has come."""
    if _current is None or _pages is None:
        return
    _current.enter("finishing")
    seconds = _linger_s()
    if not (seconds and _current.await_scrape) or code not in (ExitCode.OK, ExitCode.USER_ERROR):
        return
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        _pages.wait_until_seen(seconds, told)
        return
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _pages.wait_until_seen(seconds, told)
    finally:
        signal.signal(signal.SIGTERM, before)


def _linger_s() -> float:
    text = os.environ.get(LINGER) or "0"
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{LINGER} is {text!r}; expected seconds") from None
