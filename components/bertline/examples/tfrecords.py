"""The bytes of a TFRecord file of tf.train.Examples, written and read without TensorFlow, many records at once.

A TFRecord file is records end to end, each in a frame of little-endian numbers::

    length      8 bytes
    crc         4 bytes, of the 8 above
    data        ``length`` bytes
    crc         4 bytes, of the data

A crc is CRC-32C turned by 15 bits plus a constant ("masked"), so that the crc of bytes that hold crcs is still useful.
The data is a ``tf.train.Example``, a protobuf: a map from a feature's name to its numbers. Every feature is written as

    0A <entry>              features.feature, an entry of the map
      0A <name>             its key
      12 <feature>          its value
        1A <list>           int64_list   (12: float_list)
          0A <payload>      the numbers: packed varints (4 bytes each for floats)

where ``<…>`` stands for a length, as a varint, and so many bytes. Names go in alphabetical order: these are the very
bytes that protobuf's deterministic serialization makes, so equal numbers are equal bytes.

A varint is a number in groups of 7 bits, the lowest first, with the eighth bit set in all bytes but the last. All
numbers here are below 2**21, so at most 3 bytes. To write many records at once, every varint gets up to 3 columns of a
byte matrix with a row a record, and the columns that a number doesn't need are dropped when the matrix is made flat. To
read, one pass over the whole file finds the records; then every step of the layout above is taken for all records
together.
"""

import dataclasses
import struct
import typing
from collections.abc import Mapping
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from bertline import errors

_CRC_DELTA = 0xA282EAD8
"""What TFRecord adds to a turned crc."""

_MAX_VARINT = 3
"""Bytes. 2**21 = 2,097,152 is above any piece id, position and length here."""

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]


def encode(features: Mapping[str, npt.NDArray[typing.Any]]) -> bytes:
    """Framed records, one a row, of named tables: float32 or integers. Shape of each [records, numbers]."""
    count = len(next(iter(features.values())))
    columns = [part for name in sorted(features) for part in _entry(name, features[name])]
    example = _prefixed(b"\x0a", columns)
    data_size = sum((columns.size for columns in example), np.zeros(count, np.int64))  # [rows]
    head = _constants(bytes(12), count)
    head.bytes[:, :8] = data_size.astype("<u8")[:, None].view(np.uint8)
    head.bytes[:, 8:] = _masked_crcs([row.tobytes() for row in head.bytes[:, :8]])
    record = [head, *example, _constants(bytes(4), count)]
    flat = np.concatenate([columns.bytes for columns in record], axis=1)[
        np.concatenate([columns.used for columns in record], axis=1)
    ]  # [bytes]
    data_ends = np.cumsum(data_size + 16) - 4  # [rows], 16 = 12 before the data and 4 after it
    data: bytes = flat.tobytes()
    flat[data_ends[:, None] + np.arange(4)] = _masked_crcs(
        [data[end - size : end] for size, end in zip(data_size.tolist(), data_ends.tolist(), strict=True)]
    )
    framed: bytes = flat.tobytes()
    return framed


def find(data: bytes, path: Path) -> tuple[Int64s, Int64s]:
    """Where the data of each record begins and ends, after checking its crcs. ``path`` is for messages.

    Raises:
        DamagedError: bytes are missing or changed; names the file and the record.
    """
    begins: list[int] = []
    ends: list[int] = []
    checksum, header, footer = google_crc32c.value, struct.Struct("<QI"), struct.Struct("<I")
    at = 0
    while at < len(data):
        where = f"{path}: record {len(begins)}, at byte {at:,},"
        if at + 12 > len(data):
            raise errors.DamagedError(f"{where} is cut off: {len(data) - at} of the 12 bytes of its header are there")
        length, crc = header.unpack_from(data, at)
        if _masked(checksum(data[at : at + 8])) != crc:
            raise errors.DamagedError(f"{where} has a header whose checksum is wrong")
        begin, end = at + 12, at + 12 + length
        if end + 4 > len(data):
            raise errors.DamagedError(f"{where} is cut off: {len(data) - begin:,} of {length + 4:,} bytes are there")
        if _masked(checksum(data[begin:end])) != footer.unpack_from(data, end)[0]:
            raise errors.DamagedError(f"{where} has {length:,} bytes of data whose checksum is wrong")
        begins.append(begin)
        ends.append(end)
        at = end + 4
    return np.array(begins, np.int64), np.array(ends, np.int64)


def decode(
    data: Bytes, begins: Int64s, ends: Int64s, names: Mapping[str, bool], where: str
) -> dict[str, npt.NDArray[typing.Any]]:
    """The tables of records that `find` found: the reverse of `encode`.

    Args:
        data: the file.
        begins: where some records' data begins.
        ends: where it ends.
        names: of all features → whether it holds floats.
        where: names the records in messages.

    Raises:
        UserError: the records are another program's.
    """
    return _Reader(data, begins, ends, where).example(names)


@dataclasses.dataclass(frozen=True, slots=True)
class _Columns:
    """Some columns of the byte matrix."""

    bytes: Bytes
    """Shape [rows, width]."""
    used: npt.NDArray[np.bool_]
    """Which of them go to the file. Shape [rows, width]."""
    size: Int64s
    """How many of them, shape [rows]."""


def _entry(name: str, values: npt.NDArray[typing.Any]) -> list[_Columns]:
    """An entry of the map of features."""
    if values.dtype == np.float32:
        kind, payload = b"\x12", _floats(values)
    else:
        kind, payload = b"\x1a", _varints(values)
    value = _prefixed(b"\x12", _prefixed(kind, _prefixed(b"\x0a", [payload])))
    key = b"\x0a" + bytes([len(name)]) + name.encode()
    return _prefixed(b"\x0a", [_constants(key, len(values)), *value])


def _prefixed(tag: bytes, content: list[_Columns]) -> list[_Columns]:
    """A field: its tag, the size of its content, its content."""
    size = sum((columns.size for columns in content), np.zeros_like(content[0].size))  # [rows]
    return [_constants(tag, len(size)), _varints(size[:, None]), *content]


def _constants(value: bytes, count: int) -> _Columns:
    columns = np.tile(np.frombuffer(value, np.uint8), (count, 1))  # [rows, width]
    return _Columns(columns, np.ones(columns.shape, np.bool_), np.full(count, len(value)))


def _floats(values: npt.NDArray[np.float32]) -> _Columns:
    columns = np.ascontiguousarray(values, dtype="<f4").view(np.uint8)  # [rows, 4 * numbers]
    return _Columns(columns, np.ones(columns.shape, np.bool_), np.full(len(values), columns.shape[1]))


def _varints(values: npt.NDArray[typing.Any]) -> _Columns:
    """Each of a row's numbers as a varint."""
    count, numbers = values.shape
    largest = int(values.max(initial=0))
    width = max(1, -(-largest.bit_length() // 7))
    if width > _MAX_VARINT or values.min(initial=0) < 0:
        raise ValueError(f"numbers in a shard must be in [0, 2**21), found {values.min()} and {largest}")
    if width == 1:
        columns = values.astype(np.uint8)  # [rows, numbers]
        return _Columns(columns, np.ones(columns.shape, np.bool_), np.full(count, numbers))
    groups = np.empty((count, numbers, width), np.uint8)
    used = np.empty((count, numbers, width), np.bool_)
    for group in range(width):
        rest = values >> (7 * group)  # [rows, numbers]
        groups[:, :, group] = (rest & 0x7F) | ((rest > 0x7F) * 0x80)
        used[:, :, group] = rest > 0
    used[:, :, 0] = True  # 0 is a byte, too
    flat = (count, numbers * width)
    return _Columns(groups.reshape(flat), used.reshape(flat), used.sum(axis=(1, 2)))


def _masked_crcs(pieces: list[bytes]) -> Bytes:
    """The crc of each piece as TFRecord writes it. Shape [pieces, 4]."""
    crc = np.fromiter(map(google_crc32c.value, pieces), np.uint32, len(pieces))
    # Turned right by 15 bits; the sum wraps around at 2**32.
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(_CRC_DELTA)
    return masked.astype("<u4")[:, None].view(np.uint8)


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _CRC_DELTA) & 0xFFFF_FFFF


class _Reader:
    """Goes through the same layout in many records at once."""

    def __init__(self, flat: Bytes, begins: Int64s, ends: Int64s, where: str) -> None:
        self._flat = flat
        self._at = begins.copy()  # [records]
        self._ends = ends  # [records]
        self._where = where

    def example(self, names: Mapping[str, bool]) -> dict[str, npt.NDArray[typing.Any]]:
        self._expect(b"\x0a")
        self._length()
        numbers: dict[str, npt.NDArray[typing.Any]] = {}
        for name, is_float in sorted(names.items()):
            self._expect(b"\x0a")
            self._length()
            self._expect(b"\x0a" + bytes([len(name)]) + name.encode() + b"\x12")
            self._length()
            self._expect(b"\x12" if is_float else b"\x1a")
            self._length()
            self._expect(b"\x0a")
            length = self._length()
            numbers[name] = self._floats(length) if is_float else self._ints(length)
        if not np.array_equal(self._at, self._ends):
            self._refuse("has more features than expected")
        return numbers

    def _refuse(self, what: str) -> typing.NoReturn:
        raise errors.UserError(
            f"{self._where}: intact, but not a shard of this program: a record {what}; make the shard again"
        )

    def _take(self, index: npt.NDArray[np.int64]) -> Bytes:
        # Clipped: a foreign record may be shorter than the layout, which the comparisons find out.
        return self._flat.take(index, mode="clip")

    def _expect(self, value: bytes) -> None:
        found = self._take(self._at[:, None] + np.arange(len(value)))  # [records, bytes]
        if not np.all(found == np.frombuffer(value, np.uint8)):
            self._refuse(f"has no {value!r} where it should be")
        self._at += len(value)

    def _length(self) -> Int64s:
        """A length, as a varint; what it measures is in the record. Shape [records]."""
        value = np.zeros_like(self._at)
        more = np.ones(len(value), np.bool_)
        for group in range(_MAX_VARINT):
            byte = self._take(self._at).astype(np.int64)
            value |= np.where(more, (byte & 0x7F) << (7 * group), 0)
            self._at += more
            more &= byte > 0x7F
        if more.any() or np.any(self._at + value > self._ends):
            self._refuse("is shorter than it says")
        return value

    def _floats(self, length: Int64s) -> npt.NDArray[np.float32]:
        if np.any(length != length[0]) or length[0] % 4:
            self._refuse("has another number of weights than the next")
        found = self._take(self._at[:, None] + np.arange(length[0]))  # [records, 4 * numbers]
        self._at += length
        weights: npt.NDArray[np.float32] = found.view("<f4")
        return weights

    def _ints(self, length: Int64s) -> npt.NDArray[np.int32]:
        # Bytes of all records' payloads end to end: the i-th of record r is at[r] + i - (sum of the lengths before r).
        before = np.cumsum(length) - length  # [records]
        payload = self._take(np.repeat(self._at - before, length) + np.arange(int(length.sum())))  # [bytes]
        self._at += length
        is_last = payload < 0x80  # [bytes]
        last = np.flatnonzero(is_last)  # [records * numbers]
        numbers, odd = divmod(len(last), len(length))
        # Every record has as many varints, and none goes over the end of its payload.
        if odd or not np.array_equal(last[numbers - 1 :: numbers] if numbers else last, before + length - 1):
            self._refuse("has another number of values than the next")
        first = np.concatenate([[0], last[:-1] + 1])  # [records * numbers]
        size = last - first  # bytes after the first
        values = (payload[first] & 0x7F).astype(np.int32)
        if size.max(initial=0) >= _MAX_VARINT:
            self._refuse("has a number above 2**21")
        for group in range(1, _MAX_VARINT):
            has = np.flatnonzero(size >= group)
            values[has] |= (payload[first[has] + group] & 0x7F).astype(np.int32) << (7 * group)
        table: npt.NDArray[np.int32] = values.reshape(len(length), numbers)
        return table
