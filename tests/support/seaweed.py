"""Fixtures of a bucket in the real SeaweedFS, for the conftest.py of folders that need one."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertline.store.objects import ObjectStore

BUCKET = "bertline-tests"
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running SeaweedFS with one bucket."""
    directory = tmp_path_factory.mktemp("seaweed")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    services = ["master", "volume", "filer", "s3", "admin"]
    http_ports, grpc_ports = _free_ports(len(services)), _free_ports(len(services))
    ports = dict(zip(services, http_ports, strict=True))
    sockets = [f"-{service}.localSocket={directory / service}.sock" for service in ("filer", "s3")]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("weed"),
                "mini",
                f"-dir={directory}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                *(f"-{service}.port={port}" for service, port in ports.items()),
                *(f"-{service}.port.grpc={port}" for service, port in zip(services, grpc_ports, strict=True)),
                *sockets,
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.config={directory / 's3.json'}",
                "-s3.autoCreateBucket=false",
                f"-bucket={BUCKET}",
                "-admin.ui=false",
                "-webdav=false",
                "-master.telemetry=false",
            ],
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{ports['s3']}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            set_environment(patch, url)
            _wait_for_the_bucket(process, directory / "log")
        yield url
    finally:
        process.kill()  # its data goes as well
        process.wait(20)
        for port in grpc_ports:  # it makes them there, whatever its flags, and leaves them
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait_for_the_bucket(process: subprocess.Popen[bytes], log: Path) -> None:
    from bertline.errors import BertlineError
    from bertline.store.s3 import S3Store

    for _ in range(300):
        assert process.poll() is None, f"SeaweedFS ended at once: {log.read_text()}"
        store = S3Store(BUCKET, "", attempts=1)
        try:
            list(store.list(""))
            return
        except BertlineError:
            time.sleep(0.1)
        finally:
            close_store(store)
    raise AssertionError(f"SeaweedFS doesn't answer: {log.read_text()}")


def set_environment(patch: pytest.MonkeyPatch, url: str | None) -> None:
    """What a client of the server at `url` finds in its environment; nothing of AWS's with None."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):  # of whoever runs the tests
        patch.setenv(name, os.devnull)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if url is not None:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)


@pytest.fixture
def s3_uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh prefix in SeaweedFS's bucket."""
    set_environment(monkeypatch, request.getfixturevalue("seaweed"))
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def close_store(store: ObjectStore) -> None:
    """End its connections."""
    if hasty := getattr(store, "_hasty", None):
        close_store(hasty)
    connected = getattr(store, "_connected", None)
    if connected:
        getattr(connected[1], "client", connected[1]).close()  # of a bucket, or itself
