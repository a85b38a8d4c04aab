import hashlib
import json

import pytest
import yaml

from bertline.errors import ExitCode, UserError
from bertline.experiment import specs
from bertline.sources import files
from bertline.sources.files import Source
from bertline.stage.entrypoints import main
from bertline.store import mirrors
from bertline.store.backends import connect
from bertline.store.realizations import find
from bertline.vocabulary.config import VocabularyConfig
from bertline.vocabulary.stage import run
from support.web_servers import WebServer, chunked, file, without_length

CONTENT = bytes(range(256)) * 4000
SHA1 = hashlib.sha1(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PIECES = "".join(f"{piece}\n" for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijk"))


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = WebServer()
    server.answers["/dump.bz2"] = [file(CONTENT)]
    yield server
    server.close()


def test_a_download_is_checked(web, tmp_path):
    path = Source(url=f"{web.url}/dump.bz2", sha1=SHA1, sha256=SHA256).fetch(tmp_path)
    assert path.read_bytes() == CONTENT
    with pytest.raises(UserError, match="sha1 should be"):
        Source(url=f"{web.url}/dump.bz2", sha1="0" * 40).fetch(tmp_path)


def test_what_isnt_there_is_the_users_error(web, tmp_path):
    with pytest.raises(UserError, match="404"):
        Source(url=f"{web.url}/missing").fetch(tmp_path)
    with pytest.raises(UserError, match="no file"):
        Source(url=str(tmp_path / "missing")).fetch(tmp_path)
    with pytest.raises(UserError, match="pydoc-topics"):
        Source(url="sample:poems").fetch(tmp_path)


# Addresses as people write them


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("http://host/a/dump.bz2?x=1#y", "http://host/a/dump.bz2?x=1#y"),
        ("HTTPS://Host:8443/x", "https://Host:8443/x"),
        ("http://host/sp ace/ünï.tsv", "http://host/sp%20ace/%C3%BCn%C3%AF.tsv"),
        ("http://host/sp%20ace.tsv", "http://host/sp%20ace.tsv"),
        ("http://host/50%.tsv?q=ä b", "http://host/50%.tsv?q=%C3%A4%20b"),
        ("http://bücher.example:80/x", "http://xn--bcher-kva.example:80/x"),
        ("http://straße.example/x", "http://xn--strae-oqa.example/x"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_a_web_address_can_be_sent_and_stays_as_it_is_if_it_could_be(written, sent):
    source = Source(url=written)
    assert source.url == source.identity == sent
    assert not source.is_local
    assert Source.model_validate(source.model_dump()) == source


@pytest.mark.parametrize(
    "url", ["http:///x", "http:/host/x", "https://", "http://h:x/", "http://[::1/x", "http://a b/x"]
)
def test_half_an_address_is_refused(url):
    with pytest.raises(ValueError, match=r"host|IPv6"):
        Source(url=url)


@pytest.mark.parametrize(
    "uri", ["file://{}", "FILE://{}", "file:{}", "file://localhost{}", "file://./odd/sp%20ace/%C3%BC.tsv"]
)
def test_a_file_uri_is_a_path(tmp_path, uri):
    path = tmp_path / "odd" / "sp ace" / "ü.tsv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    uri = uri.format(str(path).replace(" ", "%20").replace("ü", "%C3%BC"))
    source = Source.model_validate(uri, context={"folder": tmp_path})
    assert source.url == str(path)
    assert source.fetch(tmp_path) == path


def test_a_blank_in_an_address_arrives(web, tmp_path):
    web.answers["/sp%20ace/%C3%BC"] = [file(CONTENT)]
    source = Source(url=f"HTTP{web.url[4:]}/sp ace/ü")
    assert source.fetch(tmp_path).read_bytes() == CONTENT
    assert source.name == "ü"


# Secrets


SECRET_URLS = [
    "https://user:hunter2@host/x",
    "https://hunter2@host/x",
    "HTTPS://user:hunter2@host/x",
    "https://user:hun/ter2@host/x",
    "https://bucket.s3.amazonaws.com/x?X-Amz-Algorithm=A&X-Amz-Signature=hunter2",
    "https://bucket.s3.amazonaws.com/x?x-amz-security-token=hunter2",
    "https://bucket.s3.amazonaws.com/x?AWSAccessKeyId=hunter2&Expires=1",
    "https://storage.googleapis.com/b/x?X-Goog-Signature=hunter2",
    "https://storage.googleapis.com/b/x?GoogleAccessId=hunter2",
    "https://d.cloudfront.net/x?Policy=p&Signature=hunter2&Key-Pair-Id=K",
    "https://a.blob.core.windows.net/c/x?sv=2022&sig=hunter2",
    "https://host/x?token=hunter2",
    "https://host/x?access_token=hunter2",
    "https://host/x?api_key=hunter2",
    "https://host/x?a=b&amp;password=hunter2",
    "https://host/x?X%2DAmz%2DSignature=hunter2",
    "https://host/x#access_token=hunter2",
    "https://host/x;jsessionid=hunter2",
    "ftp://user:hunter2@host/x",
    "s3://key:hunter2@bucket/x",
    "gs://user:hunter2@bucket/x",
]


@pytest.mark.parametrize("as_url", [True, False])
@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_secret_is_refused_and_not_repeated(tmp_path, url, as_url):
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump({"corpus": {"dump": {"url": url} if as_url else url}, "name": "n"}))
    with pytest.raises(UserError, match=r"corpus\.dump") as refusal:
        specs.load(path)
    assert "hunter2" not in str(refusal.value)
    assert "hun/ter2" not in str(refusal.value)


@pytest.mark.parametrize("content", ["name: [https://u:hunter2@host/x", "name: x?token=hunter2: }"])
def test_no_secret_is_told_of_a_file_that_isnt_yaml(tmp_path, content):
    path = tmp_path / "e.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match="isn't YAML") as refusal:
        specs.load(path)
    assert "hunter2" not in str(refusal.value)


def test_no_secret_is_told_by_a_component(tmp_path, capsys):
    config = json.dumps({"vocabulary": {"file": "http://u:hunter2@host/x", "lower_case": True}})
    code = main(VocabularyConfig, run, ["--store", str(tmp_path / "store"), "--config", config])
    assert code == ExitCode.USER_ERROR
    assert "hunter2" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "url", ["https://host/x?download=true&id=7", "https://host/@user/x", "https://host/x?author=a"]
)
def test_what_is_no_secret_is_accepted(url):
    assert Source(url=url).url == url


# What came, where no checksum tells


def vocabulary(url, **checksums):
    return VocabularyConfig.model_validate({"vocabulary": {"file": {"url": url, **checksums}, "lower_case": True}})


def test_what_came_is_recorded_and_told(web, tmp_path, capsys):
    store = connect(str(tmp_path / "store"))
    web.answers["/vocab.txt"] = [chunked(PIECES.encode())]
    url, digest = f"{web.url}/vocab.txt", hashlib.sha256(PIECES.encode()).hexdigest()
    manifest = run(vocabulary(url), store).manifest
    assert manifest.measurements["downloads"] == {url: digest}
    assert f"{{url: {url}, sha256: {digest}}}" in capsys.readouterr().out
    # with the checksum it is another vocabulary, and there is nothing to tell
    pinned = run(vocabulary(url, sha256=digest), store).manifest
    assert pinned.key != manifest.key
    assert "downloads" not in pinned.measurements


def test_a_torn_file_makes_no_vocabulary(web, tmp_path, capsys):
    store = connect(str(tmp_path / "store"))
    web.answers["/vocab.txt"] = [without_length(PIECES.encode()[:-4])]
    config = vocabulary(f"{web.url}/vocab.txt")
    arguments = ["--store", str(tmp_path / "store"), "--config", config.model_dump_json()]
    assert main(VocabularyConfig, run, arguments) == ExitCode.USER_ERROR
    assert find(store, "vocabulary", config.derivation().key) is None


# Identity


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
    assert files.upload([mine, sample, mine], store) == [mine, sample]
    assert files.upload([mine, sample], store) == []
    # WHEN the disk is out of reach
    path.unlink()
    # THEN the store has it, and a second upload isn't missing the file
    assert mine.fetch(elsewhere, store).read_bytes() == CONTENT
    assert files.upload([mine], store) == []


def test_a_sample_that_this_python_makes_otherwise_comes_from_the_store(store, elsewhere, tmp_path):
    """As one that another patch release made: other bytes, known by their checksum."""
    other = Source(url="sample:pydoc-topics", sha256=SHA256)
    with pytest.raises(UserError, match="another version of Python generates other samples"):
        other.fetch(elsewhere, store)
    path = tmp_path / "made-elsewhere"
    path.write_bytes(CONTENT)
    mirrors.send(store, path, SHA256, "sample")
    assert other.fetch(elsewhere, store).read_bytes() == CONTENT


def test_a_local_file_is_used_where_it_is_and_a_changed_one_refused(store, tmp_path, elsewhere):
    path = tmp_path / "vocab.txt"
    path.write_bytes(CONTENT)
    source = Source(url=str(path)).pinned()
    files.upload([source], store)
    assert source.fetch(elsewhere, store) == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=SHA256):
        source.fetch(elsewhere, store)
    with pytest.raises(UserError, match="has changed since the experiment was planned"):
        files.upload([source], store)


def test_a_file_that_is_nowhere_is_told_with_both_places(store, tmp_path, elsewhere):
    missing = Source(url=str(tmp_path / "gone.txt"), sha256=SHA256)
    with pytest.raises(UserError, match=rf"no file {missing.url} .*sources/{SHA256}; run `bertline submit`"):
        missing.fetch(elsewhere, store)
    with pytest.raises(UserError, match="there is no file"):
        files.upload([missing], store)


def test_a_url_is_downloaded_unless_the_store_has_it(web, store, tmp_path, elsewhere):
    source = Source(url=f"{web.url}/dump.bz2", sha256=SHA256)
    assert files.upload([source], store) == []
    assert source.fetch(elsewhere, store).read_bytes() == CONTENT
    assert len(web.requests) == 1
    mirrors.send(store, elsewhere / "dump.bz2", SHA256, "dump")
    assert source.fetch(tmp_path, store).read_bytes() == CONTENT
    assert len(web.requests) == 1
