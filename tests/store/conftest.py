"""Two stores that keep one contract: a directory, and a bucket of the real fake-gcs-server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bertline.store.objects import ObjectStore, connect


def pytest_configure(config: pytest.Config) -> None:
    # TensorFlow brings grpcio without grpcio-status, and google-api-core remarks on it. Storage speaks HTTP, not gRPC.
    config.addinivalue_line("filterwarnings", "ignore:Please install grpcio-status:ImportWarning")


@pytest.fixture(params=["file", "gs"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URI of an empty store, of each kind."""
    return (tmp_path / "a store").as_uri() if request.param == "file" else request.getfixturevalue("gs_uri")


@pytest.fixture
def store(uri: str) -> Iterator[ObjectStore]:
    """An empty store, of each kind."""
    store = connect(uri)
    yield store
    _close(store)


@pytest.fixture
def directory(tmp_path: Path) -> ObjectStore:
    """An empty store on disk, for what doesn't depend on the kind."""
    return connect(str(tmp_path / "store"))


def _close(store: ObjectStore) -> None:
    connected = getattr(store, "_connected", None)
    if connected:
        connected[1].client.close()
