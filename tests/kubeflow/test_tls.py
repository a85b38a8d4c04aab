"""TLS that fails, by servers that really fail it: who is to blame, and what is tried again."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bertline.errors import TransientError, UserError
from bertline_pipelines.cluster import reader
from bertline_pipelines.kubeflow.api import Kubeflow

pytestmark = pytest.mark.usefixtures("quick_retries")

BODY = b'{"gitVersion": "v1.36.3", "tag_name": "2.16.1"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of 127.0.0.1, signed by itself."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@contextlib.contextmanager
def serve(certificate, *behaviours):
    """Its port; each connection in turn: `eof` in mid-handshake, `plain` without TLS, `client` wants a certificate."""
    listener = socket.create_server(("127.0.0.1", 0))
    rest = list(behaviours)

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                behaviour = rest.pop(0) if len(rest) > 1 else rest[0]
                if behaviour == "eof":
                    connection.recv(65536)  # all of it, or it would be a reset
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)
                    continue
                if behaviour == "plain":
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    continue
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*certificate)
                if behaviour == "client":
                    context.verify_mode = ssl.CERT_REQUIRED
                    context.load_verify_locations(certificate[0])
                with context.wrap_socket(connection, server_side=True) as secure:
                    while secure.recv(65536):
                        secure.sendall(ANSWER)

    threading.Thread(target=answer, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def log_in(tmp_path, monkeypatch):
    def log_in(port, authority=None, attempts=5):
        place = {"server": f"https://127.0.0.1:{port}"} | (
            {"certificate-authority": str(authority)} if authority else {}
        )
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": place}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }  # fmt: skip
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("KUBECONFIG", str(path))
        with reader.connect(attempts=attempts) as connected:
            return connected.version

    return log_in


def test_a_connection_that_broke_off_is_tried_again(certificate, log_in):
    with serve(certificate, "eof", "eof", "answer") as port:
        assert log_in(port, certificate[0]) == "v1.36.3"


def test_one_that_breaks_off_for_ever_is_no_matter_of_certificates(certificate, log_in):
    with serve(certificate, "eof") as port, pytest.raises(TransientError, match="broke off") as caught:
        log_in(port, certificate[0], attempts=2)
    assert "prove" not in str(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "trusted", "words"),
    [
        ("answer", False, "doesn't prove that it is the cluster"),
        ("client", True, "doesn't accept the kubeconfig's certificate"),
        ("plain", True, "doesn't speak https"),
    ],
)
def test_what_trying_again_cannot_help_is_said_at_once(certificate, log_in, behaviour, trusted, words):
    with serve(certificate, behaviour) as port, pytest.raises(UserError, match=words):
        log_in(port, certificate[0] if trusted else None)


def test_kubeflows_connection_too(certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))

    def version(port):
        # A host that isn't this machine's name has its settings from the environment.
        with Kubeflow(f"https://127.0.0.1:{port}", "kubeflow", attempts=3) as client:
            client._connection._session.verify = str(certificate[0])
            return client.version()

    with serve(certificate, "eof", "answer") as port:
        assert version(port) == "2.16.1"
    with serve(certificate, "eof") as port, pytest.raises(TransientError, match="broke off"):
        version(port)
    with serve(certificate, "plain") as port, pytest.raises(UserError, match="speak https"):
        version(port)
    with serve(certificate, "answer") as port, pytest.raises(UserError, match="isn't trusted"):
        Kubeflow(f"https://127.0.0.1:{port}", "kubeflow", attempts=3).version()
