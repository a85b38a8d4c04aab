"""Logins, certificates and proxies: how a user gives what must not be in a URL."""

import base64
import json
import os
import subprocess
import sys

import pytest

from bertline.errors import TransientError, UserError
from bertline.sources import downloads
from support.web_servers import WebServer, file, status

PIECES = "".join(f"{piece}\n" for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijk")).encode()
EXPECTED = "Basic " + base64.b64encode(b"ann:hunter2").decode()
LINE = "machine 127.0.0.1 login ann password hunter2\n"


def guarded(request, writer):
    allowed = request.headers.get("Authorization") == EXPECTED
    (file(PIECES) if allowed else status(401))(request, writer)


@pytest.mark.parametrize("given", ["file", "variable"])
def test_a_component_logs_in_and_tells_nobody(web, tmp_path, given):
    web.answers["/vocab.txt"] = [guarded]
    (tmp_path / ".netrc").write_text(LINE if given == "file" else "machine 127.0.0.1 login x password y\n")
    (tmp_path / ".netrc").chmod(0o600)
    environment = os.environ | {"HOME": str(tmp_path)} | ({"BERTLINE_NETRC": LINE} if given == "variable" else {})
    config = json.dumps({"vocabulary": {"file": f"{web.url}/vocab.txt", "lower_case": True}})
    done = subprocess.run(
        [sys.executable, "-m", "bertline.vocabulary", "--store", "store", "--config", config],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr + "".join(p.read_text() for p in (tmp_path / "store").rglob("*") if p.is_file())
    assert "hunter2" not in told


def test_a_login_isnt_taken_along_to_another_host(web, tmp_path, monkeypatch):
    monkeypatch.setenv("BERTLINE_NETRC", LINE)
    web.answers["/here"] = [status(302, Location=web.url.replace("127.0.0.1", "localhost") + "/there")]
    web.answers["/there"] = [file(PIECES)]
    downloads.fetch(f"{web.url}/here", tmp_path / "came", "file", {})
    assert [request.headers.get("Authorization") for request in web.requests] == [EXPECTED, None]


def test_a_missing_and_a_wrong_login_are_told_with_what_to_do(web, tmp_path, monkeypatch):
    web.answers["/file"] = [guarded]
    with pytest.raises(UserError, match=r"machine 127\.0\.0\.1 login NAME .* BERTLINE_NETRC"):
        downloads.fetch(f"{web.url}/file", tmp_path / "came", "file", {})
    monkeypatch.setenv("BERTLINE_NETRC", "ann hunter2")
    with pytest.raises(UserError, match="BERTLINE_NETRC isn't a netrc") as refusal:
        downloads.fetch(f"{web.url}/file", tmp_path / "came", "file", {})
    assert "hunter2" not in str(refusal.value)


def test_a_proxy_is_used_and_its_password_told_nobody(web, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("http_proxy", web.url.replace("//", "//ann:hunter2@"))
    web.answers["http://host.invalid/file"] = [file(PIECES)]
    downloads.fetch("http://host.invalid/file", tmp_path / "came", "file", {})
    assert web.requests[0].headers["Proxy-Authorization"] == EXPECTED
    web.answers["http://host.invalid/file"] = [status(407)]
    with pytest.raises(UserError, match="the proxy's") as refusal:
        downloads.fetch("http://host.invalid/file", tmp_path / "came", "file", {})
    assert "hunter2" not in str(refusal.value)
    monkeypatch.setenv("https_proxy", web.url.replace("//", "//ann:hunter2@"))
    web.answers["host.invalid:443"] = [status(407)]
    with pytest.raises(UserError, match="407") as refusal:
        downloads.fetch("https://host.invalid/file", tmp_path / "came", "file", {})
    assert "hunter2" not in str(refusal.value)
    monkeypatch.setenv("http_proxy", "http://ann:hunter2@127.0.0.1:1")
    with pytest.raises(TransientError, match="refused") as failure:
        downloads.fetch("http://host.invalid/file", tmp_path / "came", "file", {})
    assert "hunter2" not in str(failure.value)


def test_a_certificate_nobody_trusts_is_named_and_can_be_trusted(tmp_path, monkeypatch):
    certificate, public = tmp_path / "certificate.pem", tmp_path / "public.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", certificate, "-out", public],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate.write_text(certificate.read_text() + public.read_text())
    web = WebServer(str(certificate))
    try:
        web.answers["/file"] = [file(PIECES)]
        with pytest.raises(UserError, match=r"certificate .* self-signed .*SSL_CERT_FILE"):
            downloads.fetch(f"{web.url}/file", tmp_path / "came", "file", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
        downloads.fetch(f"{web.url}/file", tmp_path / "came", "file", {})
        assert (tmp_path / "came").read_bytes() == PIECES
    finally:
        web.close()


def test_an_answer_without_tls_may_pass(web, tmp_path):
    """As that of a proxy in trouble."""
    web.answers["/file"] = [file(PIECES)]
    with pytest.raises(TransientError):
        downloads.fetch(web.url.replace("http", "https") + "/file", tmp_path / "came", "file", {})
