"""What kustomize makes of the manifests, and the object store as KFP runs it."""

import contextlib
import functools
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
KUBECTL = Path(sys.executable).with_name("kubectl")
WEED = Path(sys.executable).with_name("weed")
KEYS = {"accesskey": "minio", "secretkey": "minio123"}  # what KFP's secret has


@functools.cache
def _rendered(folder: Path) -> str:
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


@pytest.fixture(scope="session")
def manifests() -> Path:
    return MANIFESTS


@pytest.fixture(scope="session")
def render():
    """The documents that kustomize makes of a folder; a ValueError with its words if it refuses."""

    def documents(folder: Path) -> list[dict]:
        return [document for document in yaml.safe_load_all(_rendered(folder)) if document]

    return documents


@pytest.fixture(scope="session")
def kfp_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL of a SeaweedFS started with the arguments that KFP and the image's entry point give it; its master's address.

    Nothing but the addresses is ours. It knows no user yet: KFP makes one when it is up.
    """
    directory = tmp_path_factory.mktemp("store")
    services = ["master", "volume", "filer", "s3"]
    ports = dict(zip([*services, "iam"], _free_ports(5), strict=True))
    grpc = dict(zip(services, _free_ports(4), strict=True))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(WEED, "-logtostderr=true", "server"),
                *("-dir=.", "-volume.max=0", "-master.volumePreallocate", "-master.volumeSizeLimitMB=1024"),
                *("-dir=.", "-s3", "-iam", "-filer", "-master.volumePreallocate=false"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-{service}.port={port}" for service, port in ports.items()),
                *(f"-{service}.port.grpc={port}" for service, port in grpc.items()),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            ],
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{ports['s3']}"
    try:
        _wait_until_it_answers(process, f"{url}/status", directory / "log")
        yield url, f"127.0.0.1:{ports['master']}.{grpc['master']}"
    finally:
        process.kill()  # its data goes as well
        process.wait(20)
        for port in (*ports.values(), *grpc.values()):  # it makes them there, whatever its flags, and leaves them
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def kfp_user(kfp_store: tuple[str, str]) -> dict[str, str]:
    """KFP's user, made by KFP's words to `weed shell`; what a pod's environment says of it."""
    url, master = kfp_store
    command = "s3.configure -user kubeflow-admin -access_key {accesskey} -secret_key {secretkey} -actions Admin -apply"
    subprocess.run(
        [WEED, "shell", f"-master={master}"],
        input=command.format(**KEYS),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return environment | {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEYS["accesskey"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secretkey"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, f"SeaweedFS ended at once: {log.read_text()}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"SeaweedFS doesn't answer: {log.read_text()}")
