"""What `latest` is, and which sha1 a dump has, is what Wikimedia publishes beside it."""

import pytest

from bertline.errors import TransientError, UserError
from bertline.sources import releases
from bertline.sources.files import Source
from support.web_servers import chunked, file, status

SHA1 = "852dfec9eba3f2d75ff2a1a7c0d9a7f0ff8f7a8e"
OTHER = "0123456789012345678901234567890123456789"
SUMS = f"""{OTHER}  enwiki-20261101-pages-articles-multistream.xml.bz2
{SHA1}  enwiki-20261101-pages-articles.xml.bz2
{OTHER}  enwiki-20261101-pages-articles1.xml-p1p41242.bz2
""".encode()
LATEST, DATED = "latest/enwiki-latest", "20261101/enwiki-20261101"
ARTICLES = "pages-articles.xml.bz2"


@pytest.fixture
def wiki(web):
    web.answers["/mirror/enwiki/latest/enwiki-latest-sha1sums.txt"] = [chunked(SUMS)]
    web.answers["/mirror/enwiki/20261101/enwiki-20261101-sha1sums.txt"] = [file(SUMS)]
    return f"{web.url}/mirror/enwiki/"


def test_latest_is_a_dump_by_its_date(wiki):
    asked = f"{wiki}{LATEST}-{ARTICLES}"
    found = releases.look_up(Source(url=asked))
    assert found == Source(url=f"{wiki}{DATED}-{ARTICLES}", sha1=SHA1, asked=asked)
    assert found.identity == f"sha1:{SHA1}"
    assert not releases.has_more(found)


def test_a_dump_by_its_date_gets_its_sha1(wiki):
    source = Source(url=f"{wiki}{DATED}-{ARTICLES}")
    assert releases.look_up(source) == source.model_copy(update={"sha1": SHA1})


def test_what_is_not_published_stays_as_it_is(wiki, web):
    other = Source(url=f"{wiki}{DATED}-stub.xml.gz")
    assert releases.look_up(other) == other
    web.answers["/mirror/enwiki/20261101/enwiki-20261101-sha1sums.txt"] = [status(404)]
    source = Source(url=f"{wiki}{DATED}-{ARTICLES}")
    assert releases.look_up(source) == source


@pytest.mark.parametrize("answer", [status(404), file(b"<html></html>"), file(SUMS.replace(b"enwiki", b"dewiki"))])
def test_a_latest_that_nothing_tells_of_is_the_users_to_say(wiki, web, answer):
    web.answers["/mirror/enwiki/latest/enwiki-latest-sha1sums.txt"] = [answer]
    with pytest.raises(UserError, match=r"can't be found: .* by its date"):
        releases.look_up(Source(url=f"{wiki}{LATEST}-{ARTICLES}"))


def test_a_server_that_is_away_is_asked_again_later(wiki, web, monkeypatch):
    monkeypatch.setattr(releases, "PATIENCE", releases.downloads.PATIENCE)
    web.answers["/mirror/enwiki/latest/enwiki-latest-sha1sums.txt"] = [status(503)]
    with pytest.raises(TransientError, match="503"):
        releases.look_up(Source(url=f"{wiki}{LATEST}-{ARTICLES}"))


@pytest.mark.parametrize(
    "source",
    [
        {"url": "https://host/enwiki/latest/enwiki-latest-pages-articles.xml.bz2", "sha1": SHA1},
        {"url": "https://host/enwiki/latest/ruwiki-latest-pages-articles.xml.bz2"},
        {"url": "https://host/latest.xml"},
        {"url": "enwiki/latest/enwiki-latest-pages-articles.xml.bz2"},
        {"url": "sample:pydoc-topics"},
    ],
)
def test_nothing_else_is_looked_up(source):
    source = Source(**source)
    assert not releases.has_more(source)
    assert releases.look_up(source) == source
