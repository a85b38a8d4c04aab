"""The file between the passes: one slice's documents as token ids, sorted into buckets.

    size                     8 bytes, little-endian: of the index
    index, by safetensors:
        document_ids         [documents] uint64       sorted by (bucket, id)
        document_ends        [buckets] int64          where each bucket ends among them
        piece_ends           [buckets] int64          where each bucket's piece ends in the file
        digests              [buckets, 32] uint8      sha256 of each piece
    a piece for each bucket that isn't empty, by safetensors:
        sentence_counts      [documents] int32        sentences of each
        sentence_lengths     [sentences] int32        tokens of each
        tokens               [tokens] int32

To make a bucket's shard, a process reads the head (size and index) of each slice's file, and that bucket's pieces.
Every byte is checked: a piece by its digest, the head by its digest in the slice's receipt.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from bertline.corpus.segments import Document
from bertline.store import disks


class Partitioner:
    """Assigns documents to buckets by their ids, the same way in every worker.

    Buckets [0, shards) are for training. Later buckets hold only held-out documents, so that their random next
    sentences are held out too.
    """

    def __init__(self, shards: int, held_out: float) -> None:
        self.shards = shards
        self.held_out_shards = max(1, round(shards * held_out)) if held_out else 0
        self._threshold = round(held_out * 2**64)

    @property
    def count(self) -> int:
        """Number of all buckets."""
        return self.shards + self.held_out_shards

    def bucket(self, document: int) -> int:
        """The bucket of a document id."""
        digest = hashlib.blake2b(document.to_bytes(8, "little"), digest_size=16).digest()
        if int.from_bytes(digest[:8], "little") < self._threshold:
            return self.shards + int.from_bytes(digest[8:], "little") % self.held_out_shards
        return int.from_bytes(digest[8:], "little") % self.shards

    def name(self, bucket: int, compression: str) -> str:
        """Name of a bucket's shard."""
        suffix = ".tfrecord.gz" if compression == "gzip" else ".tfrecord"
        if bucket < self.shards:
            return f"train-{bucket:05d}-of-{self.shards:05d}{suffix}"
        return f"held-out-{bucket - self.shards:05d}-of-{self.held_out_shards:05d}{suffix}"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The buckets of each shard, known before any shard is made.

    A document that is alone in its bucket would get random next sentences from itself. So a bucket with fewer than two
    documents is joined with the following buckets until there are two. Large corpora have no such buckets.
    """

    sources: tuple[tuple[int, ...], ...]
    """For each bucket the buckets in its shard: usually only itself; empty if it was joined with another. [buckets]"""
    repeated: int
    """Number of documents that are replaced by a later page with the same id."""
    trained: int
    """Number of documents that aren't held out."""

    @classmethod
    def of(cls, heads: Iterable["Head"], partitioner: Partitioner) -> "Layout":
        """The layout for the ids in all slices."""
        found: list[list[npt.NDArray[np.uint64]]] = [[] for _ in range(partitioner.count)]
        for head in heads:
            for bucket, part in enumerate(np.split(head.document_ids, head.document_ends[:-1])):
                if len(part):
                    found[bucket].append(part)
        counts = [len(np.unique(np.concatenate(parts))) if parts else 0 for parts in found]
        pages = sum(len(part) for parts in found for part in parts)
        sources = (*_joined(counts[: partitioner.shards]), *_joined(counts[partitioner.shards :], partitioner.shards))
        return cls(sources, pages - sum(counts), sum(counts[: partitioner.shards]))


def _joined(counts: Sequence[int], first: int = 0) -> list[tuple[int, ...]]:
    """For each bucket the buckets in its shard, if bucket `first + i` has `counts[i]` documents."""
    sources: list[tuple[int, ...]] = [()] * len(counts)
    waiting: list[int] = []
    last: int | None = None
    for index, count in enumerate(counts):
        if count:
            waiting.append(index)
        if sum(counts[each] for each in waiting) >= 2:
            sources[index], waiting, last = tuple(first + each for each in waiting), [], index
    if waiting:  # a single document is left
        to = waiting[0] if last is None else last
        sources[to] += tuple(first + each for each in waiting)
    return sources


@dataclasses.dataclass(frozen=True)
class Piece:
    """The documents of one bucket in one slice: a part of a file."""

    slice: int
    path: Path
    begin: int
    end: int
    sha256: str
    document_ids: npt.NDArray[np.uint64]


class DamagedPiecesError(Exception):
    """Pieces differ from their slices' indexes."""

    def __init__(self, slices: frozenset[int]) -> None:
        super().__init__(slices)
        self.slices = slices


@dataclasses.dataclass(frozen=True)
class Head:
    """The content of a slice's file, read from its beginning."""

    document_ids: npt.NDArray[np.uint64]
    document_ends: npt.NDArray[np.int64]
    piece_ends: npt.NDArray[np.int64]
    digests: npt.NDArray[np.uint8]
    begin: int
    """Where the first piece begins in the file."""

    @classmethod
    def of(cls, content: bytes) -> "Head":
        """Read a head from the file's first bytes, which have been checked."""
        return cls(**safetensors.numpy.load(content[_PREFIX:]), begin=len(content))

    def range(self, bucket: int) -> tuple[int, int]:
        """The range of a bucket's piece in the file; empty if there is none."""
        return int(self.piece_ends[bucket - 1]) if bucket else self.begin, int(self.piece_ends[bucket])

    def piece(self, bucket: int, number: int, path: Path, begin: int) -> Piece:
        """The bucket's piece of slice `number`, at byte `begin` of `path`."""
        first, last = self.range(bucket)
        documents = slice(self.document_ends[bucket - 1] if bucket else 0, self.document_ends[bucket])
        digest = self.digests[bucket].tobytes().hex()
        return Piece(number, path, begin, begin + last - first, digest, self.document_ids[documents].copy())


@dataclasses.dataclass(frozen=True)
class Written:
    """A slice's file."""

    size: int
    """Bytes."""
    head: int
    """Bytes of its head."""
    head_sha256: str


_PREFIX = 8


def write(path: Path, documents: Sequence[Document], partitioner: Partitioner) -> Written:
    """Write one slice's documents. If two have the same id, both are written; `read` uses the later one."""
    placed = sorted(
        ((partitioner.bucket(document.id), document.id, document) for document in documents), key=lambda each: each[:2]
    )
    buckets = np.array([bucket for bucket, _, _ in placed], np.int64)
    ends = np.searchsorted(buckets, np.arange(partitioner.count), side="right").astype(np.int64)
    pieces = [
        _piece([document for _, _, document in placed[begin:end]])
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
    index: dict[str, npt.NDArray[Any]] = {
        "document_ids": np.array([identity for _, identity, _ in placed], np.uint64),
        "document_ends": ends,
        "piece_ends": np.cumsum([len(piece) for piece in pieces], dtype=np.int64),
        "digests": np.array([list(hashlib.sha256(piece).digest()) for piece in pieces], np.uint8),
    }
    size = len(safetensors.numpy.save(index))  # which doesn't depend on the values
    index["piece_ends"] += _PREFIX + size
    head = size.to_bytes(_PREFIX, "little") + safetensors.numpy.save(index)
    with disks.explained("write", path), path.open("wb") as file:
        file.write(head)
        file.writelines(pieces)
    return Written(len(head) + sum(map(len, pieces)), len(head), hashlib.sha256(head).hexdigest())


def _piece(documents: Sequence[Document]) -> bytes:
    if not documents:
        return b""
    return safetensors.numpy.save(
        {
            "sentence_counts": np.array([len(document.lengths) for document in documents], np.int32),
            "sentence_lengths": np.concatenate([document.lengths for document in documents]).astype(np.int32),
            "tokens": np.concatenate([document.pieces for document in documents]).astype(np.int32),
        }
    )


def read(pieces: Iterable[Piece]) -> list[Document]:
    """A bucket's documents, sorted by id, so that the slicing of the dump doesn't matter.

    The pieces must be in the dump's order: if two documents have the same id, the later one is used.

    Raises:
        DamagedPiecesError: bytes have changed.
    """
    documents: dict[int, Document] = {}
    damaged = set()
    for piece in pieces:
        content = _content(piece)
        if hashlib.sha256(content).hexdigest() != piece.sha256:
            damaged.add(piece.slice)
            continue
        arrays = safetensors.numpy.load(content)
        tokens, lengths = arrays["tokens"], arrays["sentence_lengths"]
        ends = np.cumsum(arrays["sentence_counts"])  # [documents]
        token_ends = np.cumsum(lengths)[ends - 1].tolist()
        last = last_token = 0
        for identity, end, token_end in zip(piece.document_ids.tolist(), ends.tolist(), token_ends, strict=True):
            documents[identity] = Document(identity, tokens[last_token:token_end], lengths[last:end])
            last, last_token = end, token_end
    if damaged:
        raise DamagedPiecesError(frozenset(damaged))
    return [documents[identity] for identity in sorted(documents)]


def _content(piece: Piece) -> bytes:
    with disks.explained("read", piece.path):
        try:
            with piece.path.open("rb") as file:
                file.seek(piece.begin)
                return file.read(piece.end - piece.begin)
        except FileNotFoundError:
            return b""
