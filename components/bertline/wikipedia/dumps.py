"""A dump as a sequence of bz2 blocks, so that any worker can read any byte range of any dump.

Words
    stream   output of one `bzip2` run: a 4-byte header, blocks, an end mark with a checksum, padding to a whole byte.
             A single-stream dump is one stream of gigabytes, a multistream dump is many, of a hundred pages each.
    block    up to 900,000 bytes of text, compressed on their own. It starts with a 48-bit mark *at any bit*, so a block
             can be found and decoded without what precedes it; streams don't matter to us at all.
    mark     the 48 bits at which a block or a stream's end starts (`blocks`).
    slice    a range [begin, end) of compressed bytes. It owns the blocks whose mark starts in it, hence the pages whose
             `<page` tag starts in these blocks. It reads on into the blocks of its successors to finish its last page.

So every block, page and damaged byte belongs to exactly one slice, for any cut. Plain XML is read the same way, with
chunks of 256 KiB in place of blocks.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Literal, Protocol

from bertline import errors
from bertline.wikipedia import blocks

OnCorrupt = Literal["fail", "skip"]

_MAX_PAGE_BYTES = 1 << 28
"""A page of `pages-articles` has one revision of at most 2 MiB; only dumps with all revisions have such pages."""

_OPEN = re.compile(rb"<page[\s>]")
_CLOSE = b"</page>"
_TEXT, _TEXT_END = b"<![CDATA[", b"]]>"
_OPEN_PREFIXES = tuple(b"<page"[:length] for length in range(5, 0, -1))


class Elsewhere(Protocol):
    """A dump that isn't on this machine; `str` of it is its name for people. It goes to other processes."""

    def __hash__(self) -> int:
        """Hash of its content."""

    def open(self, begin: int, end: int) -> blocks.File:
        """A file to read, of which bytes [begin, end) will be read one after the other, and not much else."""


Dump = str | pathlib.Path | Elsewhere


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """A range of compressed bytes, [begin, end), that one worker reads on its own."""

    index: int
    begin: int
    end: int


@dataclasses.dataclass(slots=True)
class Damage:
    """What was left out by `on_corrupt="skip"`. The sum over a dump's slices doesn't depend on how it is sliced."""

    blocks: int = 0
    """Damaged blocks."""
    skipped_bytes: int = 0
    """Their compressed bytes."""
    pages: int = 0
    """Pages that began before a damaged block and didn't end. Pages that began inside of one can't be counted."""


def slices(dump: Dump, target_bytes: int) -> list[Slice]:
    """Cuts a dump into slices of about `target_bytes` compressed bytes each; needs only its size.

    Slices shorter than a block (up to 900 kB of text, typically 250 kB compressed) are allowed; most of them own
    nothing.

    Raises:
        UserError: the file can't be opened, or is empty.
    """
    if target_bytes < 1:
        raise ValueError(f"target_bytes is {target_bytes}, must be at least 1")
    with open_dump(dump) as file:
        size = blocks.size_of(file)
    if not size:
        raise errors.UserError(f"{dump} is empty: expected a MediaWiki dump (.xml.bz2 or .xml). Download it again.")
    count = max(1, round(size / target_bytes))
    edges = [size * index // count for index in range(count + 1)]
    return [Slice(index, edges[index], edges[index + 1]) for index in range(count)]


def pages(
    dump: Dump,
    part: Slice,
    on_corrupt: OnCorrupt = "fail",
    damage: Damage | None = None,
) -> Iterator[str]:
    """The raw XML, `<page>…</page>`, of each page that a slice owns, in the order of the dump.

    Bytes that aren't UTF-8 are replaced by U+FFFD.

    Args:
        dump: bz2 (one stream or many) or plain XML.
        part: one of `slices(dump, …)`.
        on_corrupt: whether a damaged block is an error or is left out, together with the pages that touch it.
        damage: counts what was left out.

    Raises:
        UserError: a block is damaged, or the dump ends in mid-page; with `on_corrupt="fail"` only.
    """
    damage = Damage() if damage is None else damage
    with open_dump(dump, part.begin, part.end) as file:
        size = blocks.size_of(file)
        texts = (blocks.Blocks if blocks.is_bz2(file) else blocks.Chunks)(file, size, part.begin)
        yield from (_decoded(page) for page in _owned_pages(texts, str(dump), part, on_corrupt, damage))


def check(dump: Dump, on_corrupt: OnCorrupt = "fail") -> None:
    """Check both ends of a dump in a fraction of a second, before hours of work.

    Raises:
        UserError: the file is missing, empty, not bz2, not a MediaWiki dump, or cut off (the last is no error with
        "skip").
    """
    with open_dump(dump) as file:
        size = blocks.size_of(file)
        if not size:
            raise errors.UserError(f"{dump} is empty: expected a MediaWiki dump (.xml.bz2 or .xml). Download it again.")
        start = blocks.read(file, 0, 1024)
        if blocks.is_bz2(file):
            head, tail = _bz2_ends(file, size, dump, on_corrupt)
        elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
            chunk = blocks.CHUNK_BYTES
            head, tail = blocks.read(file, 0, chunk), blocks.read(file, max(0, size - chunk), chunk)
        else:
            raise errors.UserError(
                f"{dump} is neither bz2 nor XML: it starts with {start[:8]!r}. "
                "Expected a MediaWiki dump as from dumps.wikimedia.org: …-pages-articles.xml.bz2."
            )
    if b"<mediawiki" not in head:
        raise errors.UserError(
            f"{dump} isn't a MediaWiki dump: no <mediawiki> in its first {len(head):,} bytes of text, "
            f"which start with {head[:40]!r}."
        )
    if on_corrupt == "fail" and b"</mediawiki>" not in tail:
        raise errors.UserError(_truncated(str(dump), size))


def _bz2_ends(file: blocks.File, size: int, dump: Dump, on_corrupt: OnCorrupt) -> tuple[bytes, bytes]:
    """The text of the first block, and that of the last two (as the last may hold half of `</mediawiki>`)."""
    head, tail, first = b"", b"", blocks.Blocks(file, size, 0)
    while not head and first.position() is not None:
        text = first.read()
        if text is None:
            raise errors.UserError(_damaged(str(dump), 0, size))
        head = text
    for reach in (1 << 18, 1 << 20, 2 * blocks.MAX_BLOCK_BYTES):  # a dump elsewhere is read for that
        marks = [start for start, is_end in blocks.marks(file, size, max(0, size - reach)) if not is_end]
        if len(marks) >= 2:
            break
    if marks and on_corrupt == "fail":
        last = blocks.Blocks(file, size, marks[-2:][0] // 8)
        while (position := last.position()) is not None:
            text = last.read()
            if text is None and last.position() is not None:  # else it is cut off
                raise errors.UserError(_damaged(str(dump), position, size))
            tail += text or b""
    return head, tail


def _owned_pages(
    texts: blocks.Blocks | blocks.Chunks, name: str, part: Slice, on_corrupt: OnCorrupt, damage: Damage
) -> Iterator[bytes]:
    buffer = b""
    owned = 0  # how many bytes of the buffer are from blocks of this slice; pages whose tag starts in them are ours
    is_open, searched = (
        False,
        0,
    )  # whether the buffer starts with an unfinished page, and where to continue the search for the end of that page
    is_between = not part.begin  # whether it is certain that what was read before is no page's text
    while True:
        position = texts.position()
        is_ours = position is not None and position // 8 < part.end
        if not is_ours and not owned:
            return  # no page of ours is left
        if position is None:
            if is_open:
                if on_corrupt == "fail":
                    raise errors.UserError(_truncated(name, texts.size))
                damage.pages += 1
            return
        text = texts.read()
        if text is None:
            if is_ours:
                damage.blocks += 1
                damage.skipped_bytes += texts.skipped_bytes
            if on_corrupt == "fail":
                raise errors.UserError(_damaged(name, position, texts.size))
            damage.pages += is_open
            buffer, owned, is_open, is_between = b"", 0, False, False
            continue
        buffer += text
        owned += len(text) * is_ours
        start = 0
        while True:
            if not is_open:
                tag = _OPEN.search(buffer, start)
                if not tag or tag.start() >= owned:
                    tail = b"" if tag else _half_a_tag(buffer)
                    owned = max(0, owned - (len(buffer) - len(tail)))
                    buffer = tail
                    break
                start = searched = tag.start()
                is_open = True
            end = _end(buffer, start, searched)
            if end < 0:
                owned = max(0, owned - start)
                searched = max(0, ~end - start)
                buffer = buffer[start:]
                if len(buffer) > _MAX_PAGE_BYTES:
                    raise errors.UserError(
                        f"{name} has a page of more than {_MAX_PAGE_BYTES >> 20} MiB near byte {position // 8:,}. "
                        "Is it a dump with all revisions? Use …-pages-articles…, which has the current ones."
                    )
                break
            is_open = False
            until = -1 if is_between else _end_of_text(buffer, start, end)
            if until < 0:
                yield buffer[start:end]
            is_between = until != end
            start = end if until < 0 else until


def _end(buffer: bytes, start: int, searched: int) -> int:
    """Where the page that starts at `start` ends, which isn't in a CDATA section.

    If it doesn't end in the buffer, `~place` for the place from which to go on looking.
    """
    while True:
        close = buffer.find(_CLOSE, searched)
        if close < 0:
            return ~max(start, len(buffer) - len(_CLOSE) + 1)
        text = buffer.rfind(_TEXT, start, close)
        text_end = -1 if text < 0 else buffer.find(_TEXT_END, text)
        if text < 0 or 0 <= text_end < close:
            return close + len(_CLOSE)
        if text_end < 0:
            return ~close
        searched = text_end


def _end_of_text(buffer: bytes, start: int, end: int) -> int:
    """Where a CDATA section ends in which a slice began, so that what looks like its first page, [start, end), is text.

    -1 if it is a page. As far as the buffer tells, which has what else of the block follows.
    """
    close, begin = buffer.find(_TEXT_END, start), buffer.find(_TEXT, start)
    if close >= 0 and not 0 <= begin < close:
        return close
    after = buffer[end : end + 64].lstrip()
    return end if after and not after.startswith(b"<") else -1


def _half_a_tag(buffer: bytes) -> bytes:
    """What the buffer ends in and may be the first half of a page's tag. It is ours if its first byte is."""
    return next((prefix for prefix in _OPEN_PREFIXES if buffer.endswith(prefix)), b"")


def _decoded(page: bytes) -> str:
    return page.decode("utf-8", errors="replace")


def _damaged(name: str, position: int, size: int) -> str:
    return (
        f"{name} is damaged: the bz2 block at byte {max(0, position) // 8:,} of {size:,} doesn't decode. Compare its "
        'checksum with the published one and download it again, or leave its pages out with on_corrupt "skip".'
    )


def _truncated(name: str, size: int) -> str:
    return (
        f"{name} is truncated: it ends after {size:,} bytes without </mediawiki>. "
        "Compare its size with the published one and download it again, "
        'or leave the unfinished page out with on_corrupt "skip".'
    )


def open_dump(dump: Dump, begin: int = 0, end: int = 0) -> blocks.File:
    """A dump to read from; see `Elsewhere.open`.

    Raises:
        UserError: it can't be opened.
    """
    if not isinstance(dump, str | pathlib.Path):
        return dump.open(begin, end)
    try:
        return open(dump, "rb")
    except FileNotFoundError as error:
        raise errors.UserError(f"There is no dump at {dump}.") from error
    except IsADirectoryError as error:
        raise errors.UserError(f"{dump} is a folder, expected a MediaWiki dump (.xml.bz2 or .xml).") from error
    except OSError as error:
        raise errors.UserError(f"The dump {dump} can't be read: {error.strerror}.") from error
