import hashlib
import http.server
import threading
from functools import partial

import pytest

from bertline import sources
from bertline.errors import TransientError, UserError
from bertline.sources import Source
from bertline.store import mirrors
from bertline.store.objects import connect

CONTENT = bytes(range(256)) * 4000
SHA1 = hashlib.sha1(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; breaks off after `limit` bytes for as many requests as `breaks` says."""

    def __init__(self, server_state, *arguments):
        self.state = server_state
        super().__init__(*arguments)

    def do_GET(self):
        self.state["requests"].append(self.headers.get("Range"))
        if self.path == "/missing":
            self.send_error(404)
            return
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        body = CONTENT[begin:]
        if self.state["breaks"] > 0:
            self.state["breaks"] -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web():
    state = {"requests": [], "breaks": 0}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, state))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state["url"] = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_is_checked(web, tmp_path):
    path = Source(url=f"{web['url']}/dump.bz2", sha1=SHA1, sha256=SHA256).fetch(tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_stopped(web, tmp_path):
    web["breaks"] = 2
    assert Source(url=f"{web['url']}/dump.bz2", sha1=SHA1).fetch(tmp_path).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert web["requests"] == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_download_that_keeps_breaking_is_transient(web, tmp_path, monkeypatch):
    web["breaks"] = 10**6
    monkeypatch.setattr(sources, "ATTEMPTS", 2)
    with pytest.raises(TransientError, match="2 times"):
        Source(url=f"{web['url']}/dump.bz2").fetch(tmp_path)


def test_what_isnt_there_is_the_users_error(web, tmp_path):
    with pytest.raises(UserError, match="404"):
        Source(url=f"{web['url']}/missing").fetch(tmp_path)
    with pytest.raises(UserError, match="no file"):
        Source(url=str(tmp_path / "missing")).fetch(tmp_path)
    with pytest.raises(UserError, match="pydoc-topics"):
        Source(url="sample:poems").fetch(tmp_path)


def test_another_file_than_the_checksum_names_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=SHA256):
        Source(url=str(path), sha256=SHA256).fetch(tmp_path)


def test_identity_is_the_bytes_and_not_the_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(CONTENT)
    first, second = (Source(url=str(tmp_path / name)).pinned() for name in ("a", "b"))
    assert first.url != second.url
    assert first.identity == second.identity == f"sha256:{SHA256}"


def test_samples_are_the_same_bytes_each_time(tmp_path):
    for name in ("pydoc-topics", "nli/train", "nli/dev"):
        assert Source(url=f"sample:{name}").pinned() == Source(url=f"sample:{name}").pinned()


# Sources in the store


@pytest.fixture(params=["file", "gs"])
def store(request, tmp_path):
    uri = str(tmp_path / "store") if request.param == "file" else request.getfixturevalue("gs_uri")
    connected = connect(uri)
    yield connected
    for client in filter(None, [getattr(connected, "_connected", None)]):
        client[1].client.close()


@pytest.fixture
def elsewhere(tmp_path):
    """A pod's scratch."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def test_a_pod_gets_from_the_store_what_was_on_the_users_disk(store, tmp_path, elsewhere):
    # GIVEN a file and a sample, known by checksum, and uploaded
    path = tmp_path / "vocab.txt"
    path.write_bytes(CONTENT)
    mine, sample = Source(url=str(path)).pinned(), Source(url="sample:nli/dev").pinned()
    assert sources.upload([mine, sample, mine], store) == [mine, sample]
    assert sources.upload([mine, sample], store) == []
    # WHEN the disk is out of reach
    path.unlink()
    # THEN the store has it, and a second upload isn't missing the file
    assert mine.fetch(elsewhere, store).read_bytes() == CONTENT
    assert sources.upload([mine], store) == []


def test_a_sample_that_this_python_makes_otherwise_comes_from_the_store(store, elsewhere, tmp_path):
    """As one that another patch release made: other bytes, known by their checksum."""
    other = Source(url="sample:pydoc-topics", sha256=SHA256)
    with pytest.raises(UserError, match="another version of Python makes other samples"):
        other.fetch(elsewhere, store)
    path = tmp_path / "made-elsewhere"
    path.write_bytes(CONTENT)
    mirrors.send(store, path, SHA256, "sample")
    assert other.fetch(elsewhere, store).read_bytes() == CONTENT


def test_a_local_file_is_used_where_it_is_and_a_changed_one_refused(store, tmp_path, elsewhere):
    path = tmp_path / "vocab.txt"
    path.write_bytes(CONTENT)
    source = Source(url=str(path)).pinned()
    sources.upload([source], store)
    assert source.fetch(elsewhere, store) == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=SHA256):
        source.fetch(elsewhere, store)
    with pytest.raises(UserError, match="has changed since the experiment was planned"):
        sources.upload([source], store)


def test_a_file_that_is_nowhere_is_told_with_both_places(store, tmp_path, elsewhere):
    missing = Source(url=str(tmp_path / "gone.txt"), sha256=SHA256)
    with pytest.raises(UserError, match=rf"no file {missing.url} .*sources/{SHA256}; `bertline submit`"):
        missing.fetch(elsewhere, store)
    with pytest.raises(UserError, match="there is no file"):
        sources.upload([missing], store)


def test_a_url_is_downloaded_unless_the_store_has_it(web, store, tmp_path, elsewhere):
    source = Source(url=f"{web['url']}/dump.bz2", sha256=SHA256)
    assert sources.upload([source], store) == []
    assert source.fetch(elsewhere, store).read_bytes() == CONTENT
    assert len(web["requests"]) == 1
    mirrors.send(store, elsewhere / "dump.bz2", SHA256, "dump")
    assert source.fetch(tmp_path, store).read_bytes() == CONTENT
    assert len(web["requests"]) == 1
