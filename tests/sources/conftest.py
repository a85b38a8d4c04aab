import pytest

from bertline.retries import Pauses
from bertline.sources import downloads
from bertline.sources.downloads import Patience
from support.seaweed import s3_uri, seaweed
from support.web_servers import WebServer

__all__ = ["s3_uri", "seaweed"]


@pytest.fixture
def web():
    server = WebServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """As patient as usual, at a hundred times the pace; and nobody's own proxy or login."""
    patience = Patience(lasts_s=0.5, pauses=Pauses(0.01, 0.1), asked_s=3, connect_s=2, silence_s=0.5)
    monkeypatch.setattr(downloads, "PATIENCE", patience)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "BERTLINE_NETRC", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
