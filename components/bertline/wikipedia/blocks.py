"""The bz2 blocks of a file, from any byte on; each can be found and decoded without the preceding ones.

A mark of 48 bits starts a block, or a stream's end, *at any bit*. 48 bits match by chance once in 2**48 bits, that is
once in 1,400 dumps of 25 GB. The block after a chance mark can't be decoded.
"""

import bz2
import io
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self


class File(Protocol):
    """A file on disk, or parts of a file elsewhere (`bertline.sources.ranges`)."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Like `io.IOBase.seek`."""

    def read(self, size: int = -1, /) -> bytes:
        """Like `io.RawIOBase.read`."""

    def __enter__(self) -> Self:
        """The file itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close it."""


_BLOCK_MARK = 0x314159265359
_END_MARK = 0x177245385090
_MARK_BITS = 48
_STREAM_HEADER_BITS = 32  # "BZh" and the level
_END_BITS = 48 + 32  # the end mark and the stream's checksum

# A decoder of level 9 decodes blocks of any level: the level is only the size of its buffer. So the level in a stream's
# header needn't be known to a worker that starts in mid-stream, and streams of different levels may follow each other.
_HEADER = b"BZh9"

# A block holds at most 900,000 symbols, and a Huffman code at most 20 bits: 900,000 * 20 / 8 bytes, and some tables.
MAX_BLOCK_BYTES = 2_300_000
# How many marks may be chance ones in one block. Two have a probability of 2**-46 a block already.
_MAX_JOINS = 4

_WINDOW_BYTES = 1 << 16  # from a file elsewhere, no more is fetched after a slice's last page
CHUNK_BYTES = 1 << 18


class Blocks:
    """The marks at or after a byte, and the blocks they stand for, one by one."""

    def __init__(self, file: File, size: int, begin: int) -> None:
        self.size = size
        self.skipped_bytes = 0
        """Compressed bytes of the damage that the last `read` met."""
        self._file = file
        self._marks = marks(file, size, begin)
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
        return None if read(self._file, after // 8, 3) == _HEADER[:3] else b"", 1

    def _block(self, position: int) -> tuple[bytes | None, int]:
        for marks in range(1, _MAX_JOINS + 1):
            more = self._look(marks)
            stop = self._ahead[marks][0] if more else self.size * 8
            text = _decoded_block(self._file, position, stop)
            if text is not None:
                return text, marks
            if not more or stop - position >= MAX_BLOCK_BYTES * 8:
                break
        return None, 1

    def _look(self, index: int) -> bool:
        while len(self._ahead) <= index:
            mark = next(self._marks, None)
            if mark is None:
                return False
            self._ahead.append(mark)
        return True


class Chunks:
    """Plain XML with the same interface; a chunk takes the place of a block."""

    def __init__(self, file: File, size: int, begin: int) -> None:
        self.size = size
        self.skipped_bytes = 0
        self._file = file
        self._next = -(-begin // CHUNK_BYTES) * CHUNK_BYTES

    def position(self) -> int | None:
        """The bit at which the next chunk starts; None after the last."""
        return self._next * 8 if self._next < self.size else None

    def read(self) -> bytes | None:
        """The next chunk."""
        text = read(self._file, self._next, CHUNK_BYTES)
        self._next += CHUNK_BYTES
        return text


def marks(file: File, size: int, begin: int, end: int | None = None) -> Iterator[tuple[int, bool]]:
    """The bit positions, rising, of all marks that start in bytes [begin, end), and whether each is a stream's end.

    At a shift of s bits a mark covers five whole bytes, and parts of the two around them. The five are searched for
    with bytes.find, at about 1 GB/s for each of the 16 patterns; what it finds is compared bit by bit.
    """
    end = size if end is None else min(size, end)
    for window in range(begin, end, _WINDOW_BYTES):
        length = min(_WINDOW_BYTES, end - window)
        data = read(file, window, length + 7)
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


def _decoded_block(file: File, position: int, stop: int) -> bytes | None:
    """The text of a block from the bits [position, stop), or None if they aren't one whole sound block."""
    bits = stop - position
    if not _MARK_BITS + 32 < bits <= MAX_BLOCK_BYTES * 8:
        return None
    first = position // 8
    last = -(-stop // 8)
    data = int.from_bytes(read(file, first, last - first))
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


def _is_chance(file: File, size: int, position: int) -> bool:
    """Whether a mark lies inside of a sound block, i.e. is 48 bits that look like one by chance."""
    around = list(marks(file, size, max(0, position // 8 - MAX_BLOCK_BYTES), position // 8 + MAX_BLOCK_BYTES))
    before = [start for start, is_end in around if start < position and not is_end][-_MAX_JOINS:]
    after = [stop for stop, _ in around if stop > position][:_MAX_JOINS]
    return any(_decoded_block(file, start, stop) is not None for start in before for stop in after)


def read(file: File, offset: int, length: int) -> bytes:
    """Bytes from an offset on; fewer at the end."""
    file.seek(offset)
    return file.read(length)


def size_of(file: File) -> int:
    """Bytes of the whole file."""
    return file.seek(0, io.SEEK_END)


def is_bz2(file: File) -> bool:
    """True if the file begins like a bz2 file."""
    return read(file, 0, 3) == _HEADER[:3]
