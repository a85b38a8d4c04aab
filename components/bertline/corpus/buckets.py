"""Between the passes: token-id documents of one slice of the dump, sorted into buckets, in one file.

    document_ids      [documents] uint64   sorted by (bucket, id)
    sentence_counts   [documents] int32    sentences of each
    sentence_lengths  [sentences] int32    tokens of each
    tokens            [tokens]    int32
    ends              [buckets, 3] int64   where each bucket ends in documents, sentences and tokens

safetensors maps the file into memory, so a reduce worker reads its bucket's part of every file and nothing else.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from bertline.corpus.segments import Document
from bertline.store import disks


class Partitioner:
    """Which bucket a document belongs to: a function of its id, the same in every worker.

    Buckets [0, shards) are for training. Those after it hold the held-out documents, among themselves, so that their
    random next sentences are held out too.
    """

    def __init__(self, shards: int, held_out: float) -> None:
        self.shards = shards
        self.held_out_shards = max(1, round(shards * held_out)) if held_out else 0
        self._threshold = round(held_out * 2**64)

    @property
    def count(self) -> int:
        """All buckets."""
        return self.shards + self.held_out_shards

    def bucket(self, document: int) -> int:
        """The bucket of a document id."""
        digest = hashlib.blake2b(document.to_bytes(8, "little"), digest_size=16).digest()
        if int.from_bytes(digest[:8], "little") < self._threshold:
            return self.shards + int.from_bytes(digest[8:], "little") % self.held_out_shards
        return int.from_bytes(digest[8:], "little") % self.shards

    def name(self, bucket: int, compression: str) -> str:
        """The shard that a bucket becomes."""
        suffix = ".tfrecord.gz" if compression == "gzip" else ".tfrecord"
        if bucket < self.shards:
            return f"train-{bucket:05d}-of-{self.shards:05d}{suffix}"
        return f"held-out-{bucket - self.shards:05d}-of-{self.held_out_shards:05d}{suffix}"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which buckets become one shard, known before any shard is made.

    A document that is alone in its bucket would have random next sentences out of itself. So a bucket with fewer than
    two documents is made into a shard together with those after it, until there are two. Corpora that are large enough
    for their buckets never have such ones.
    """

    sources: tuple[tuple[int, ...], ...]
    """The buckets that each bucket's shard is made of: often itself alone, none if it went to another's. [buckets]"""
    repeated: int
    """Documents that a later page of the same id replaces."""
    trained: int
    """Documents that aren't held out."""

    @classmethod
    def of(cls, paths: Iterable[Path], partitioner: Partitioner) -> "Layout":
        """Reads the ids in all slices' files."""
        found: list[list[npt.NDArray[np.uint64]]] = [[] for _ in range(partitioner.count)]
        for path in paths:
            with safetensors.safe_open(path, framework="numpy") as file:
                ends, identities = file.get_tensor("ends")[:, 0], file.get_tensor("document_ids")
            for bucket, part in enumerate(np.split(identities, ends[:-1])):
                if len(part):
                    found[bucket].append(part)
        counts = [len(np.unique(np.concatenate(parts))) if parts else 0 for parts in found]
        pages = sum(len(part) for parts in found for part in parts)
        sources = (*_joined(counts[: partitioner.shards]), *_joined(counts[partitioner.shards :], partitioner.shards))
        return cls(sources, pages - sum(counts), sum(counts[: partitioner.shards]))


def _joined(counts: Sequence[int], first: int = 0) -> list[tuple[int, ...]]:
    """The buckets that each one's shard is made of, if bucket `first + i` has `counts[i]` documents."""
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


def write(path: Path, documents: Sequence[Document], partitioner: Partitioner) -> None:
    """Write one slice's documents. Of two with one id the later one counts, but both are kept, to be counted."""
    placed = sorted(
        ((partitioner.bucket(document.id), document.id, document) for document in documents), key=lambda each: each[:2]
    )
    buckets = np.array([bucket for bucket, _, _ in placed], np.int64)
    counts = np.array([len(document.lengths) for _, _, document in placed], np.int32)
    lengths = np.concatenate([np.zeros(0, np.int32), *(document.lengths for _, _, document in placed)])
    pieces = np.concatenate([np.zeros(0, np.int32), *(document.pieces for _, _, document in placed)])
    document_ends = np.searchsorted(buckets, np.arange(partitioner.count), side="right")
    sentence_ends = np.concatenate([[0], np.cumsum(counts)])[document_ends]
    token_ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[sentence_ends]
    content = safetensors.numpy.save(
        {
            "document_ids": np.array([identity for _, identity, _ in placed], np.uint64),
            "sentence_counts": counts,
            "sentence_lengths": lengths.astype(np.int32),
            "tokens": pieces.astype(np.int32),
            "ends": np.stack([document_ends, sentence_ends, token_ends], axis=1).astype(np.int64),
        }
    )
    # Not save_file: a full disk is an OSError here, and there an exception of safetensors' own.
    with disks.explained("write", path):
        path.write_bytes(content)


def read(paths: Iterable[Path], bucket: int) -> list[Document]:
    """One bucket's documents from all slices, by id: so it doesn't matter how the dump was sliced.

    The paths come in the dump's order: of two documents with one id the later one counts.
    """
    documents: dict[int, Document] = {}
    for path in paths:
        with safetensors.safe_open(path, framework="numpy") as file:
            ends = file.get_tensor("ends")
            begin, end = (ends[bucket - 1] if bucket else np.zeros(3, np.int64)), ends[bucket]
            if begin[0] == end[0]:
                continue
            identities, counts, lengths, tokens = (
                file.get_slice(name)[int(begin[axis]) : int(end[axis])]
                for name, axis in (("document_ids", 0), ("sentence_counts", 0), ("sentence_lengths", 1), ("tokens", 2))
            )
            ends = np.cumsum(counts)  # [documents]
            token_ends = np.cumsum(lengths)[ends - 1].tolist()
            last = last_token = 0
            for identity, end, token_end in zip(identities.tolist(), ends.tolist(), token_ends, strict=True):
                documents[identity] = Document(identity, tokens[last_token:token_end], lengths[last:end])
                last, last_token = end, token_end
    return [documents[identity] for identity in sorted(documents)]
