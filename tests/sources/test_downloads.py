import gzip
import hashlib
import time

import pytest

from bertline.errors import TransientError, UserError
from bertline.sources import downloads
from support.web_servers import chunked, file, raw, slowly, status, without_length

OLD = b"".join(b"%06d old\n" % line for line in range(500))
NEW = b"".join(b"%06d new\n" % line for line in range(500))
SHA256 = hashlib.sha256(NEW).hexdigest()
LONG_AGO = "Tue, 01 Oct 2024 10:00:00 GMT"


@pytest.fixture
def fetch(web, tmp_path):
    """Download `/file` after some answers; what is on disk then."""

    def fetched(*answers, checked=False, path="/file"):
        web.answers[path] = list(answers)
        target = tmp_path / "came"
        sums = {"sha256": SHA256} if checked else {}
        digest = downloads.fetch(web.url + path, target, "file", sums)
        content = target.read_bytes()
        assert digest == hashlib.sha256(content).hexdigest()
        return content

    return fetched


@pytest.mark.parametrize(
    "answer",
    [file(NEW), chunked(NEW), file(NEW, Content_Encoding="identity"), slowly(NEW, 0.2)],
    ids=["length", "chunks", "identity", "slow"],
)
def test_a_whole_file_arrives_at_the_first_try(web, fetch, answer):
    assert fetch(answer) == NEW
    assert len(web.requests) == 1
    assert web.requests[0].headers["Accept-Encoding"] == "identity"


def test_an_empty_file_is_a_file(fetch):
    assert fetch(file(b"")) == b""


# Broken off


@pytest.mark.parametrize("validator", [{"ETag": '"1"'}, {"Last_Modified": LONG_AGO}], ids=["etag", "date"])
def test_it_goes_on_where_it_broke_off(web, fetch, validator):
    again = [file(NEW, breaks_after=count, **validator) for count in (2000, 1, None)]
    assert fetch(*again) == NEW
    assert [request.begin for request in web.requests] == [0, 2000, 2001]
    assert {request.headers["If-Range"] for request in web.requests[1:]} == set(validator.values())


@pytest.mark.parametrize("ranges", ["proper", "careless", "none"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"ETag": '"1"'}, {}),
        ({"Last_Modified": LONG_AGO}, {"Last_Modified": "Wed, 02 Oct 2024 10:00:00 GMT"}),
        ({"ETag": 'W/"1"'}, {"ETag": 'W/"1"'}),
        ({}, {}),
    ],
    ids=["etag", "lost etag", "date", "weak etag", "nothing"],
)
def test_two_states_of_a_file_are_never_mixed(fetch, ranges, before, after):
    assert fetch(file(OLD, breaks_after=2000, **before), file(NEW, ranges=ranges, **after)) == NEW


def test_a_date_that_may_cover_two_states_proves_nothing(web, fetch):
    just_now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1))
    assert fetch(file(OLD, breaks_after=2000, Last_Modified=just_now), file(NEW, Last_Modified=just_now)) == NEW
    assert "Range" not in web.requests[1].headers


def test_a_file_that_became_longer_or_shorter_is_taken_anew(fetch):
    etag = {"ETag": '"1"'}
    longer = NEW + b"more"
    assert fetch(file(NEW, breaks_after=2000, **etag), file(longer, ranges="careless", **etag)) == longer
    assert fetch(file(NEW, breaks_after=2000, **etag), file(NEW[:1000], ranges="careless", **etag)) == NEW[:1000]


def test_with_a_checksum_a_rest_needs_no_other_proof(web, fetch):
    assert fetch(file(NEW, breaks_after=2000), file(NEW), checked=True) == NEW
    assert web.requests[1].headers["Range"] == "bytes=2000-"
    # and what doesn't fit together is taken anew
    assert fetch(file(OLD, breaks_after=2000), file(NEW), file(NEW), checked=True) == NEW


def test_a_server_that_always_breaks_off_but_moves_on_is_followed_to_the_end(web, fetch):
    assert fetch(file(NEW, breaks_after=100, ETag='"1"')) == NEW
    assert len(web.requests) == len(NEW) // 100


@pytest.mark.parametrize(
    "broken",
    [
        chunked(NEW, breaks_after=2500),
        chunked(NEW, breaks_after=2000),
        file(NEW, breaks_after=0),
        file(NEW, breaks_after=2000),
        raw(b"HTTP/1.1\r\n\r\n"),
        raw(b"\x00\xff garbage\r\n\r\n"),
        raw(b""),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n" + NEW),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + NEW),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n" + NEW),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" + NEW),
        raw(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\nabcde"),
        status(429),
        status(500),
        status(503),
        status(408),
        slowly(NEW, 1.0),
    ],
    ids=[
        "within a chunk", "between chunks", "after the head", "in the middle", "no status", "garbage", "nothing",
        "length of letters", "negative length", "two lengths", "chunk of letters", "endless head", "unasked part",
        "429", "500", "503", "408", "silent",
    ],
)  # fmt: skip
def test_a_broken_answer_passes_or_is_transient(fetch, broken):
    assert fetch(broken, file(NEW)) == NEW
    with pytest.raises(TransientError, match="run the same command again"):
        fetch(broken)


# Without a length


def test_what_may_have_broken_off_is_refused_with_the_line_to_write(web, fetch):
    torn = NEW[:2000]
    with pytest.raises(UserError, match="without a length") as refusal:
        fetch(without_length(torn))
    assert f"{{url: {web.url}/file, sha256: {hashlib.sha256(torn).hexdigest()}}}" in str(refusal.value)
    assert "2,000 bytes" in str(refusal.value)
    assert len(web.requests) == 1


def test_with_a_checksum_it_is_accepted_and_a_torn_one_tried_again(web, fetch):
    assert fetch(without_length(NEW), checked=True) == NEW
    assert fetch(without_length(NEW[:2000]), without_length(NEW[:3000]), without_length(NEW), checked=True) == NEW
    # the same bytes a second time are what the server has
    before = len(web.requests)
    with pytest.raises(UserError, match="isn't the expected file"):
        fetch(without_length(OLD), checked=True)
    assert len(web.requests) == before + 2


def test_a_rest_without_length_proves_nothing(fetch):
    rest = raw(b'HTTP/1.1 206 Part\r\nETag: "1"\r\nContent-Range: bytes 2000-2499/*\r\n\r\n' + NEW[2000:2500])
    with pytest.raises(UserError, match="without a length"):
        fetch(chunked(NEW, breaks_after=2000, ETag='"1"'), rest)


def test_another_file_is_refused_at_once(web, fetch):
    with pytest.raises(UserError, match=f"should be {SHA256}, is {hashlib.sha256(OLD).hexdigest()}"):
        fetch(file(OLD), checked=True)
    assert len(web.requests) == 1


# Bytes as they are


def test_bytes_packed_on_the_way_are_refused_and_never_unpacked(fetch):
    packed = gzip.compress(NEW)
    with pytest.raises(UserError, match="Content-Encoding: gzip"):
        fetch(file(packed, Content_Encoding="gzip"))
    with pytest.raises(UserError, match="Content-Encoding: gzip"):
        fetch(file(packed, Content_Encoding="gzip"), checked=True)
    assert fetch(file(NEW, Content_Encoding="x-bzip2"), path="/dump.xml.bz2") == NEW
    assert fetch(file(NEW, Content_Encoding="gzip"), checked=True) == NEW


# Pauses


def test_the_pause_that_the_server_asks_for_is_kept(web, fetch):
    began = time.monotonic()
    assert fetch(status(429, Retry_After="1"), status(503, Retry_After="1"), file(NEW)) == NEW
    assert 2.0 <= time.monotonic() - began < 5.0
    assert len(web.requests) == 3


def test_nobody_waits_for_an_hour(web, fetch):
    began = time.monotonic()
    with pytest.raises(TransientError, match="3,600 s"):
        fetch(status(429, Retry_After="3600"))
    assert time.monotonic() - began < 1
    # a pause that makes no sense isn't one
    assert fetch(status(503, Retry_After="soon"), file(NEW)) == NEW
    assert fetch(status(503, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), file(NEW)) == NEW


@pytest.mark.parametrize("asked", [{}, {"Retry_After": "0"}], ids=["by itself", "asked for none"])
def test_tries_are_spread_over_the_patience(web, fetch, asked):
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"429 Said.* tried for"):
        fetch(status(429, **asked))
    assert time.monotonic() - began >= downloads.PATIENCE.lasts_s
    assert 5 < len(web.requests) < 25


def test_nothing_listens_for_a_while(web, tmp_path):
    web.close()
    began = time.monotonic()
    with pytest.raises(TransientError, match="refused"):
        downloads.fetch(f"{web.url}/file", tmp_path / "came", "file", {})
    assert time.monotonic() - began >= downloads.PATIENCE.lasts_s


# What trying again can't help


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451, 204, 304])
def test_other_answers_are_the_users_matter(web, fetch, code):
    with pytest.raises(UserError, match=rf"{web.url}/file: the server says {code}"):
        fetch(status(code))
    assert len(web.requests) == 1


def test_redirects_are_followed_and_endless_ones_named(web, fetch):
    web.answers["/there"] = [file(NEW, breaks_after=2000, ETag='"1"'), file(NEW, ETag='"1"')]
    assert fetch(status(302, Location="/there")) == NEW
    assert [request.path for request in web.requests] == ["/file", "/there"] * 2
    with pytest.raises(UserError, match="without end"):
        fetch(status(302, Location="/file"))
    for target in ("ftp://host/file", "http://[::1/file"):
        with pytest.raises(UserError, match="can't be downloaded"):
            fetch(status(302, Location=target))


def test_a_signed_address_behind_a_redirect_is_in_no_message(fetch):
    target = "http://user:hunter2@127.0.0.1:1/file?X-Amz-Signature=hunter2&X-Amz-Security-Token=hunter2"
    with pytest.raises(TransientError) as failure:
        fetch(status(302, Location=target))
    assert "hunter2" not in str(failure.value)
