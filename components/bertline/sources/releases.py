"""What Wikimedia publishes beside its dumps: the date that `latest` stands for, and the sha1 of each file.

    …/enwiki/latest/enwiki-latest-pages-articles.xml.bz2       → the URL with the date, and the sha1
    …/enwiki/20261101/enwiki-20261101-pages-articles.xml.bz2   → the sha1

Both are in a file in the same folder, `enwiki-latest-sha1sums.txt` or `enwiki-20261101-sha1sums.txt`: a line for each
file, whose name has the date in both. Mirrors have the same folders.
"""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from bertline.errors import UserError
from bertline.sources import downloads
from bertline.sources.files import Source

LATEST = "latest"
_DUMP = re.compile(
    r"(?P<folder>https?://[^?#]+/(?P<wiki>[a-z0-9_]+)/)(?P<date>latest|\d{8})/(?P=wiki)-(?P=date)-(?P<rest>[^/?#]+)"
)
_LINE = re.compile(r"([0-9a-f]{40}) [ *](\S+)")

PATIENCE = replace(downloads.PATIENCE, lasts_s=10.0, asked_s=30.0)
"""Short, because a user is waiting."""


def has_more(source: Source) -> bool:
    """True if there is something to look up: a Wikimedia dump without checksum."""
    return not (source.sha256 or source.sha1 or source.member) and _DUMP.fullmatch(source.url) is not None


def look_up(source: Source) -> Source:
    """The dump by its date, with its sha1; itself if it has a date and its sha1 isn't published.

    Raises:
        UserError: the date of `latest` can't be found.
        TransientError: the server failed repeatedly.
    """
    match = _DUMP.fullmatch(source.url)
    if match is None or not has_more(source):
        return source
    wiki, date = match["wiki"], match["date"]
    sums = f"{match['folder']}{date}/{wiki}-{date}-sha1sums.txt"
    dates = r"\d{8}" if date == LATEST else date
    name = re.compile(rf"{re.escape(wiki)}-({dates})-{re.escape(match['rest'])}")
    try:
        lines = _lines(sums)
    except UserError as error:
        if date == LATEST:
            raise UserError(f"the date of {source.url} can't be found: {error}; {_BY_DATE}") from error
        return source
    found = {named[1]: line[1] for line in lines if (named := name.fullmatch(line[2]))}
    if date != LATEST:
        return source.model_copy(update={"sha1": found[date]}) if date in found else source
    if not found:
        raise UserError(f"the date of {source.url} can't be found: {sums} has no line for it; {_BY_DATE}")
    newest = max(found)
    url = f"{match['folder']}{newest}/{wiki}-{newest}-{match['rest']}"
    return source.model_copy(update={"url": url, "sha1": found[newest], "asked": source.url})


_BY_DATE = "give the URL of a dump by its date, as …/enwiki/20261101/enwiki-20261101-pages-articles.xml.bz2"


def _lines(url: str) -> list[re.Match[str]]:
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        path = Path(directory, "sums")
        downloads.fetch(url, path, "checksums", {}, PATIENCE)
        text = path.read_text(encoding="utf-8", errors="replace")
    return [match for line in text.splitlines() if (match := _LINE.fullmatch(line.strip()))]
