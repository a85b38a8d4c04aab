"""A dump as a sequence of bz2 blocks, so that any worker can read any byte range of any dump.

Words
    stream   what one `bzip2` run writes: a 4-byte header, blocks, an end mark with a checksum, padding to a whole byte.
             A single-stream dump is one stream of gigabytes, a multistream dump is many, of a hundred pages each.
    block    up to 900,000 bytes of text, compressed on their own. It starts with a 48-bit mark *at any bit*, so a block
             can be found and decoded without what precedes it; streams don't matter to us at all.
    mark     the 48 bits at which a block or a stream's end starts. 48 bits match by chance once in 2**48 bits, that is
             once in 1,400 dumps of 25 GB. A chance mark is told from a real one by its block, which doesn't decode.
    slice    a range [begin, end) of compressed bytes. It owns the blocks whose mark starts in it, hence the pages whose
             `<page` tag starts in these blocks. It reads on into the blocks of its successors to finish its last page.

So every block, every page and every damaged byte belongs to exactly one slice, wherever the slices are cut. Plain XML
is read the same way, with chunks of 256 KiB in the place of blocks.
"""

import bz2
import dataclasses
import io
import pathlib
import re
from collections.abc import Iterator
from typing import BinaryIO, Literal

from bertline import errors

OnCorrupt = Literal["fail", "skip"]

_BLOCK_MARK = 0x314159265359
_END_MARK = 0x177245385090
_MARK_BITS = 48
_STREAM_HEADER_BITS = 32  # "BZh" and the level
_END_BITS = 48 + 32  # the end mark and the stream's checksum

# A decoder of level 9 decodes blocks of any level: the level is only the size of its buffer. So the level in a stream's
# header needn't be known to a worker that starts in mid-stream, and streams of different levels may follow each other.
_HEADER = b"BZh9"

# A block holds at most 900,000 symbols, and a Huffman code at most 20 bits: 900,000 * 20 / 8 bytes, and some tables.
_MAX_BLOCK_BYTES = 2_300_000
# How many marks may be chance ones in one block. Two have a probability of 2**-46 a block already.
_MAX_JOINS = 4

_WINDOW_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_MAX_PAGE_BYTES = 1 << 28
"""A page of `pages-articles` has one revision of at most 2 MiB; only dumps with all revisions have such pages."""

_OPEN = re.compile(rb"<page[\s>]")
_CLOSE = b"</page>"
_OPEN_PREFIXES = tuple(b"<page"[:length] for length in range(5, 0, -1))


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """A range of compressed bytes, [begin, end), that one worker reads on its own."""

    index: int
    begin: int
    end: int


@dataclasses.dataclass(slots=True)
class Damage:
    """What `on_corrupt="skip"` left out. The sum over a dump's slices doesn't depend on how it is sliced."""

    blocks: int = 0
    """Damaged blocks."""
    skipped_bytes: int = 0
    """Their compressed bytes."""
    pages: int = 0
    """Pages that began before a damaged block and didn't end. Pages that began inside of one can't be counted."""


def slices(path: str | pathlib.Path, target_bytes: int) -> list[Slice]:
    """Cuts a dump into slices of about `target_bytes` compressed bytes each; needs only its size.

    Slices shorter than a block (up to 900 kB of text, typically 250 kB compressed) are allowed; most of them own
    nothing.

    Raises:
        UserError: the file can't be opened, or is empty.
    """
    if target_bytes < 1:
        raise ValueError(f"target_bytes is {target_bytes}, must be at least 1")
    with _open(path) as file:
        size = _size(file)
    if not size:
        raise errors.UserError(f"{path} is empty: expected a MediaWiki dump (.xml.bz2 or .xml). Download it again.")
    count = max(1, round(size / target_bytes))
    edges = [size * index // count for index in range(count + 1)]
    return [Slice(index, edges[index], edges[index + 1]) for index in range(count)]


def pages(
    path: str | pathlib.Path,
    part: Slice,
    on_corrupt: OnCorrupt = "fail",
    damage: Damage | None = None,
) -> Iterator[str]:
    """The raw XML, `<page>…</page>`, of each page that a slice owns, in the order of the dump.

    Bytes that aren't UTF-8 are replaced by U+FFFD.

    Args:
        path: the dump, bz2 (one stream or many) or plain XML.
        part: one of `slices(path, …)`.
        on_corrupt: whether a damaged block is an error or is left out, together with the pages that touch it.
        damage: counts what was left out.

    Raises:
        UserError: a block is damaged, or the dump ends in mid-page; with `on_corrupt="fail"` only.
    """
    damage = Damage() if damage is None else damage
    with _open(path) as file:
        size = _size(file)
        blocks = (_Blocks if _is_bz2(file) else _Chunks)(file, size, part.begin)
        yield from (_decoded(page) for page in _owned_pages(blocks, str(path), part, on_corrupt, damage))


def check(path: str | pathlib.Path, on_corrupt: OnCorrupt = "fail") -> None:
    """Looks at both ends of a dump, to find in a fraction of a second what would otherwise be found after hours.

    Raises:
        UserError: the file is missing, empty, not bz2, not a MediaWiki dump, or cut off (the last is no error with
        "skip").
    """
    with _open(path) as file:
        size = _size(file)
        if not size:
            raise errors.UserError(f"{path} is empty: expected a MediaWiki dump (.xml.bz2 or .xml). Download it again.")
        start = _read(file, 0, 1024)
        if _is_bz2(file):
            head, tail = _bz2_ends(file, size, path, on_corrupt)
        elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
            head, tail = _read(file, 0, _CHUNK_BYTES), _read(file, max(0, size - _CHUNK_BYTES), _CHUNK_BYTES)
        else:
            raise errors.UserError(
                f"{path} is neither bz2 nor XML: it starts with {start[:8]!r}. "
                "Expected a MediaWiki dump as from dumps.wikimedia.org: …-pages-articles.xml.bz2."
            )
    if b"<mediawiki" not in head:
        raise errors.UserError(
            f"{path} isn't a MediaWiki dump: no <mediawiki> in its first {len(head):,} bytes of text, "
            f"which start with {head[:40]!r}."
        )
    if on_corrupt == "fail" and b"</mediawiki>" not in tail:
        raise errors.UserError(_truncated(str(path), size))


def _bz2_ends(file: BinaryIO, size: int, path: str | pathlib.Path, on_corrupt: OnCorrupt) -> tuple[bytes, bytes]:
    """The text of the first block, and that of the last two (as the last may hold half of `</mediawiki>`)."""
    head, tail, first = b"", b"", _Blocks(file, size, 0)
    while not head and first.position() is not None:
        text = first.read()
        if text is None:
            raise errors.UserError(_damaged(str(path), 0, size))
        head = text
    marks = [start for start, is_end in _marks(file, size, max(0, size - 2 * _MAX_BLOCK_BYTES)) if not is_end]
    if marks and on_corrupt == "fail":
        last = _Blocks(file, size, marks[-2:][0] // 8)
        while (position := last.position()) is not None:
            text = last.read()
            if text is None and last.position() is not None:  # else it is cut off
                raise errors.UserError(_damaged(str(path), position, size))
            tail += text or b""
    return head, tail


def _owned_pages(
    blocks: "_Blocks | _Chunks", name: str, part: Slice, on_corrupt: OnCorrupt, damage: Damage
) -> Iterator[bytes]:
    buffer = b""
    owned = 0  # how many bytes of the buffer are from blocks of this slice; pages whose tag starts in them are ours
    is_open = False  # whether the buffer starts with an unfinished page
    searched = 0  # where to go on looking for the end of that page
    while True:
        position = blocks.position()
        is_ours = position is not None and position // 8 < part.end
        if not is_ours and not owned:
            return  # nothing of ours is left over
        if position is None:
            if is_open:
                if on_corrupt == "fail":
                    raise errors.UserError(_truncated(name, blocks.size))
                damage.pages += 1
            return
        text = blocks.read()
        if text is None:
            if is_ours:
                damage.blocks += 1
                damage.skipped_bytes += blocks.skipped_bytes
            if on_corrupt == "fail":
                raise errors.UserError(_damaged(name, position, blocks.size))
            damage.pages += is_open
            buffer, owned, is_open = b"", 0, False
            continue
        buffer += text
        owned += len(text) * is_ours
        start = 0
        while True:
            if not is_open:
                tag = _OPEN.search(buffer, start)
                if not tag or tag.start() >= owned:
                    # What may be the first half of a tag stays. Ours if its first byte is.
                    prefixes = () if tag else _OPEN_PREFIXES
                    tail = next((prefix for prefix in prefixes if buffer.endswith(prefix)), b"")
                    owned = max(0, owned - (len(buffer) - len(tail)))
                    buffer = tail
                    break
                start = searched = tag.start()
                is_open = True
            end = buffer.find(_CLOSE, searched)
            if end < 0:
                owned = max(0, owned - start)
                buffer = buffer[start:]
                searched = max(0, len(buffer) - len(_CLOSE) + 1)
                if len(buffer) > _MAX_PAGE_BYTES:
                    raise errors.UserError(
                        f"{name} has a page of more than {_MAX_PAGE_BYTES >> 20} MiB near byte {position // 8:,}. "
                        "Is it a dump with all revisions? Use …-pages-articles…, which has the current ones."
                    )
                break
            yield buffer[start : end + len(_CLOSE)]
            start = end + len(_CLOSE)
            is_open = False


class _Blocks:
    """The marks at or after a byte, and the blocks they stand for, one by one."""

    def __init__(self, file: BinaryIO, size: int, begin: int) -> None:
        self.size = size
        self.skipped_bytes = 0
        """Compressed bytes of the damage that the last `read` met."""
        self._file = file
        self._marks = _marks(file, size, begin)
        # A file starts as if a stream had just ended before it: a first block elsewhere than at its place is damage.
        self._ahead = [] if begin else [(-_END_BITS, True)]

    def position(self) -> int | None:
        """The bit at which the next mark starts; None after the last."""
        return self._ahead[0][0] if self._look(0) else None

    def read(self) -> bytes | None:
        """The next mark's text: b"" if it has none (a stream's end, a chance mark), None if it is damaged."""
        position, is_end = self._ahead[0]
        text, marks = self._end(position) if is_end else self._block(position)
        if text is None:
            if _is_chance(self._file, self.size, position):
                text = b""
            else:
                stop = self._ahead[1][0] if self._look(1) else self.size * 8
                self.skipped_bytes = stop // 8 - max(0, position) // 8
        del self._ahead[:marks]
        return text

    def _end(self, position: int) -> tuple[bytes | None, int]:
        # The next stream's first mark has its fixed place, or the file ends. Anything else: a mark was destroyed.
        after = -(-(position + _END_BITS) // 8) * 8
        if self._look(1):
            return b"" if self._ahead[1][0] == after + _STREAM_HEADER_BITS else None, 1
        # Bytes behind the last stream are ignored, as by bzip2, unless they begin another stream.
        return None if _read(self._file, after // 8, 3) == _HEADER[:3] else b"", 1

    def _block(self, position: int) -> tuple[bytes | None, int]:
        for marks in range(1, _MAX_JOINS + 1):
            more = self._look(marks)
            stop = self._ahead[marks][0] if more else self.size * 8
            text = _decoded_block(self._file, position, stop)
            if text is not None:
                return text, marks
            if not more or stop - position >= _MAX_BLOCK_BYTES * 8:
                break
        return None, 1

    def _look(self, index: int) -> bool:
        while len(self._ahead) <= index:
            mark = next(self._marks, None)
            if mark is None:
                return False
            self._ahead.append(mark)
        return True


class _Chunks:
    """Plain XML by the same interface: a chunk stands for a block."""

    def __init__(self, file: BinaryIO, size: int, begin: int) -> None:
        self.size = size
        self.skipped_bytes = 0
        self._file = file
        self._next = -(-begin // _CHUNK_BYTES) * _CHUNK_BYTES

    def position(self) -> int | None:
        """The bit at which the next chunk starts; None after the last."""
        return self._next * 8 if self._next < self.size else None

    def read(self) -> bytes | None:
        """The next chunk."""
        text = _read(self._file, self._next, _CHUNK_BYTES)
        self._next += _CHUNK_BYTES
        return text


def _marks(file: BinaryIO, size: int, begin: int, end: int | None = None) -> Iterator[tuple[int, bool]]:
    """The bit positions, rising, of all marks that start in bytes [begin, end), and whether each is a stream's end.

    At a shift of s bits a mark covers five whole bytes, and parts of the two around them. The five are searched for
    with bytes.find, at about 1 GB/s for each of the 16 patterns; what it finds is compared bit by bit.
    """
    end = size if end is None else min(size, end)
    for window in range(begin, end, _WINDOW_BYTES):
        length = min(_WINDOW_BYTES, end - window)
        data = _read(file, window, length + 7)
        found = []
        for mark, is_end in ((_BLOCK_MARK, False), (_END_MARK, True)):
            for shift in range(8):
                # Shift 0 is searched for by its last five bytes, so that all shifts are alike.
                five = (mark >> shift & (1 << 40) - 1).to_bytes(5)
                at = data.find(five, 1)
                while at >= 0:
                    seven = int.from_bytes(data[at - 1 : at + 6].ljust(7, b"\0"))
                    if at - 1 < length and seven >> 8 - shift & (1 << _MARK_BITS) - 1 == mark:
                        found.append(((window + at - 1) * 8 + shift, is_end))
                    at = data.find(five, at + 1)
        yield from sorted(found)


def _decoded_block(file: BinaryIO, position: int, stop: int) -> bytes | None:
    """The text of a block from the bits [position, stop), or None if they aren't one whole sound block."""
    bits = stop - position
    if not _MARK_BITS + 32 < bits <= _MAX_BLOCK_BYTES * 8:
        return None
    first = position // 8
    last = -(-stop // 8)
    data = int.from_bytes(_read(file, first, last - first))
    data = data >> last * 8 - stop & (1 << bits) - 1
    # A stream of one block: its checksum is the block's, which follows the block's mark.
    checksum = data >> bits - _MARK_BITS - 32 & (1 << 32) - 1
    padding = -(bits + _END_BITS) % 8
    data = ((data << _MARK_BITS | _END_MARK) << 32 | checksum) << padding
    decoder = bz2.BZ2Decompressor()
    try:
        text = decoder.decompress(_HEADER + data.to_bytes((bits + _END_BITS + padding) // 8))
    except OSError:
        return None
    return text if decoder.eof and not decoder.unused_data else None


def _is_chance(file: BinaryIO, size: int, position: int) -> bool:
    """Whether a mark lies inside of a sound block, i.e. is 48 bits that look like one by chance."""
    around = _marks(file, size, max(0, position // 8 - _MAX_BLOCK_BYTES), position // 8 + _MAX_BLOCK_BYTES)
    marks = list(around)
    before = [start for start, is_end in marks if start < position and not is_end][-_MAX_JOINS:]
    after = [stop for stop, _ in marks if stop > position][:_MAX_JOINS]
    return any(_decoded_block(file, start, stop) is not None for start in before for stop in after)


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _is_bz2(file: BinaryIO) -> bool:
    return _read(file, 0, 3) == _HEADER[:3]


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


def _open(path: str | pathlib.Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise errors.UserError(f"There is no dump at {path}.") from error
    except IsADirectoryError as error:
        raise errors.UserError(f"{path} is a folder, expected a MediaWiki dump (.xml.bz2 or .xml).") from error
    except OSError as error:
        raise errors.UserError(f"The dump {path} can't be read: {error.strerror}.") from error
