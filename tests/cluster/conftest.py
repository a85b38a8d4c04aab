"""Kubernetes' API over HTTP, and the real client connected to it."""

import pytest

from bertline_pipelines.cluster import pod_logs, reader
from support import kubernetes_api


@pytest.fixture
def server():
    with kubernetes_api.serve() as running:
        yield running


@pytest.fixture
def api(server):
    return server.api


@pytest.fixture
def kubeconfig(server, tmp_path, monkeypatch, quick_retries):
    path = kubernetes_api.kubeconfig(tmp_path / "config", server.url)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(pod_logs, "PAUSE_S", 0.01)
    return path


@pytest.fixture
def connected(kubeconfig):
    with reader.connect() as found:
        yield found
