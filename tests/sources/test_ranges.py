"""Parts of a file elsewhere: the right bytes of one state, or none."""

import bz2
import dataclasses
import pickle
import random
import subprocess
import sys
import threading
import time

import pytest

from bertline.errors import TransientError, UserError
from bertline.sources import downloads, ranges
from bertline.sources.files import Source
from bertline.store import backends
from support.web_servers import chunked, file, raw, status, without_length

CONTENT = random.Random(1).randbytes(1_000_000)
LONG_AGO = "Tue, 01 Oct 2024 10:00:00 GMT"
VALIDATORS = [{"ETag": '"1"'}, {"Last_Modified": LONG_AGO}]
IDS = ["etag", "date"]


@pytest.fixture(autouse=True)
def as_hasty_as_downloads(monkeypatch):
    monkeypatch.setattr(ranges, "_patience", lambda: downloads.PATIENCE)


@pytest.fixture
def opened(web):
    """The file, looked at after some answers, read after others."""

    def make(*answers, then=None):
        web.answers["/file"] = list(answers)
        found = ranges.look(f"{web.url}/file")
        if then is not None:
            web.answers["/file"] = list(then)
        return found

    return make


@pytest.mark.parametrize("validator", VALIDATORS, ids=IDS)
@pytest.mark.parametrize("how", [{}, {"ranges": "if-range"}, {"ranges": "careless"}, {"most": 70_000}])
def test_parts_are_the_files_bytes(opened, web, validator, how):
    found = opened(file(CONTENT, **validator, **how))
    assert (found.size, found.head) == (len(CONTENT), CONTENT[: ranges.HEAD])
    with pickle.loads(pickle.dumps(found)).open() as reader:  # workers get it that way
        for begin, length in ((0, 10), (65_530, 10), (500_000, 300_000), (600_000, 10), (999_990, 100), (100, 70_000)):
            reader.seek(begin)
            assert reader.read(length) == CONTENT[begin : begin + length]
        assert reader.seek(0, 2) == len(CONTENT)
        assert reader.read(5) == b""
    [name] = validator.values()
    conditions = [request.headers["If-Match"] or request.headers["If-Unmodified-Since"] for request in web.requests[1:]]
    assert set(conditions) == {name}


def test_in_a_slice_more_is_fetched_at_once_and_nothing_twice(opened, web):
    found = opened(file(CONTENT, ETag='"1"'))
    web.sent.clear()
    web.requests.clear()
    with found.open(100_000, 900_000) as reader:
        reader.seek(100_000)
        read = b"".join(reader.read(10_000) for _ in range(85))
    assert read == CONTENT[100_000:950_000]
    assert web.sent["/file"] == 850_000
    assert len(web.requests) == 1 + 5


@pytest.mark.parametrize(
    "answer",
    [
        file(CONTENT, ranges="none", ETag='"1"'),
        file(CONTENT),
        file(CONTENT, ETag='W/"1"'),
        file(CONTENT, ETag='"1"', Content_Encoding="gzip"),
        file(b"", ETag='"1"'),
        chunked(CONTENT, ETag='"1"'),
        without_length(CONTENT),
        raw(
            b'HTTP/1.1 206 Part\r\nETag: "1"\r\nContent-Range: bytes 0-9/*\r\nContent-Length: 10\r\n\r\n' + CONTENT[:10]
        ),
    ],
    ids=["no ranges", "no validator", "weak etag", "packed", "empty", "chunks", "no length", "no total"],
)
def test_what_cannot_be_proven_has_no_parts(opened, web, answer):
    assert opened(answer) is None
    assert len(web.requests) == 1


def test_a_date_that_may_cover_two_states_proves_nothing(opened):
    just_now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 1))
    assert opened(file(CONTENT, Last_Modified=just_now)) is None


def test_what_breaks_off_or_is_slow_or_passes_goes_on_where_it_was(opened, web, monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", dataclasses.replace(downloads.PATIENCE, lasts_s=20))
    proper = {"ETag": '"1"'}
    bad = [
        file(CONTENT, breaks_after=100_000, **proper),
        status(503),
        raw(b""),
        file(CONTENT, pause_s=1.0, **proper),
        file(CONTENT, ranges="none", **proper),  # the whole, unasked
        file(CONTENT, breaks_after=1, **proper),
        file(CONTENT, **proper),
    ]
    found = opened(file(CONTENT, **proper), then=bad)
    with found.open() as reader:
        reader.seek(300_000)
        assert reader.read(400_000) == CONTENT[300_000:700_000]
    begins = [request.begin for request in web.requests[1:]]
    assert begins == [300_000, *[400_000] * 5, 400_001]


def test_who_never_gets_further_gives_up_for_now(opened):
    with opened(file(CONTENT, ETag='"1"'), then=[status(503)]).open() as reader:
        reader.seek(300_000)
        with pytest.raises(TransientError, match="503"):
            reader.read(10)


@pytest.mark.parametrize(("before", "after"), [VALIDATORS, VALIDATORS[::-1], ({"ETag": '"1"'}, {"ETag": '"2"'})])
@pytest.mark.parametrize("how", ["proper", "if-range", "careless", "none"])
def test_another_state_is_told_and_never_mixed_in(opened, before, after, how):
    found = opened(file(CONTENT, **before), then=[file(CONTENT[::-1], ranges=how, **after)])
    with found.open() as reader:
        reader.seek(300_000)
        with pytest.raises((UserError, TransientError)) as problem:
            reader.read(10)
    tells_another = before.keys() == after.keys() or how == "proper"
    assert isinstance(problem.value, UserError if tells_another else TransientError)
    assert not tells_another or "has changed while it was read in parts" in str(problem.value)


@pytest.mark.parametrize("size", [500_000, 1_200_000])
def test_another_length_is_another_state(opened, size):
    longer = (CONTENT * 2)[:size]
    found = opened(file(CONTENT, ETag='"1"'), then=[file(longer, ETag='"1"')])
    with found.open() as reader:
        reader.seek(700_000)
        with pytest.raises(UserError, match="has changed"):
            reader.read(10)


def test_what_is_not_there_or_for_us_is_told(opened):
    for code in (403, 404):
        with pytest.raises(UserError, match=str(code)):
            opened(status(code))


def test_a_redirect_is_followed_with_the_range(opened, web):
    web.answers["/there"] = [file(CONTENT, ETag='"1"')]
    with opened(status(302, Location="/there")).open() as reader:
        reader.seek(300_000)
        assert reader.read(10) == CONTENT[300_000:300_010]
    assert web.sent["/there"] == ranges.HEAD + 10


def test_a_machine_has_two_requests_under_way_to_a_host(opened, web):
    """However many workers it has, and also after one of them was killed."""
    lock, now, most = threading.Lock(), [0], [0]
    proper = file(CONTENT, ETag='"1"', pause_s=0.05)

    def counted(request, writer):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        proper(request, writer)
        with lock:
            now[0] -= 1

    found = opened(proper, then=[counted])
    read = (
        "import pickle, sys, bertline.sources.ranges; r = pickle.load(sys.stdin.buffer).open();"
        "[(r.seek(100_000 * n), r.read(10)) for n in range(1, 9)]"
    )
    processes = [subprocess.Popen([sys.executable, "-c", read], stdin=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        process.stdin.write(pickle.dumps(found))
        process.stdin.close()
    while len(web.requests) < 6:
        time.sleep(0.01)
    processes[0].kill()
    assert [process.wait(60) for process in processes[1:]] == [0, 0, 0]
    processes[0].wait(10)
    assert most[0] <= 3, "two, and one whose reader was killed"
    assert len(web.requests) >= 1 + 3 * 8


# Buckets


@pytest.fixture(params=["gs", "s3"])
def bucket(request):
    ranges._bucket.cache_clear()
    store = backends.connect(request.getfixturevalue(f"{request.param}_uri"))
    yield store
    for each in (store, ranges._bucket(store.uri.rpartition("/")[0])):
        if connected := each._connected:
            getattr(connected[1], "client", connected[1]).close()
    ranges._bucket.cache_clear()


def test_parts_of_an_object_are_of_one_state(bucket, tmp_path):
    bucket.put("dumps/a b.bz2", CONTENT)
    source = Source(url=f"{bucket.uri}/dumps/a b.bz2")
    found = source.ranged(bucket)
    with found.open(200_000, 400_000) as reader:
        reader.seek(200_000)
        assert reader.read(10) == CONTENT[200_000:200_010]
        assert source.fetch(tmp_path).read_bytes() == CONTENT
        bucket.put("dumps/a b.bz2", CONTENT[::-1])
        reader.seek(500_000)
        with pytest.raises(UserError, match="has changed while it was read in parts"):
            reader.read(10)
        bucket.delete("dumps/a b.bz2")
        with pytest.raises(UserError, match="has changed while it was read in parts"):
            reader.read(10)
    with pytest.raises(UserError, match="there is no object"):
        source.ranged(bucket)


@pytest.mark.parametrize("url", ["gs://bucket", "s3://bucket/", "gs:///name", "gs://b/folder/"])
def test_half_an_objects_url_is_refused(url):
    with pytest.raises(ValueError, match="looks like gs://"):
        Source(url=url)


def test_a_dump_in_parts_is_seen_whole(web):
    """Both ends are looked at, in what little of it."""
    from bertline.wikipedia import dumps

    xml = b"<mediawiki>" + b"<page><title>t</title><id>1</id></page>" * 30_000 + b"</mediawiki>"
    packed = bz2.compress(random.Random(2).randbytes(10_000_000).hex().encode()[:9_000_000])
    web.answers["/dump"] = [file(bz2.compress(xml) + packed + bz2.compress(b"</mediawiki>"), ETag='"1"')]
    found = ranges.look(f"{web.url}/dump")
    dumps.check(found)
    assert web.sent["/dump"] < 5_000_000
