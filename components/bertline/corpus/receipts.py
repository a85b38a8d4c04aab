"""Receipts of finished slices and buckets: written after their data, and checked when they are read."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from bertline.corpus.passes import Counts
from bertline.store.derivations import canonical_json
from bertline.store.realizations import ROLLING
from bertline.store.staging import File

MAP, REDUCE = f"{ROLLING}map/", f"{ROLLING}reduce/"


class Receipt(BaseModel):
    """Records that a unit is done, and where its data is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    """Seconds that its worker needed."""

    def is_backed(self, objects: Mapping[str, int]) -> bool:
        """True if its data exists among the objects (path → size)."""
        raise NotImplementedError

    def document(self) -> bytes:
        """The stored bytes, with a checksum, because its counts become results."""
        fields = self.model_dump(mode="json")
        return json.dumps({"receipt": fields, "sha256": _digest(fields)}).encode()

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Read a receipt from `document`.

        Raises:
            ValueError: it is damaged, or another program's.
        """
        document = json.loads(content)
        if not isinstance(document, dict) or document.get("sha256") != _digest(document.get("receipt")):
            raise ValueError("the receipt is damaged")
        return cls.model_validate_json(json.dumps(document["receipt"]))


def _digest(fields: Any) -> str:
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


class MapReceipt(Receipt):
    """The receipt of a slice. It has the digest of the file's head; the head has the digests of all pieces."""

    index: int
    size: int
    """Bytes of its file."""
    head: int
    """Bytes of the file's head."""
    head_sha256: str
    slice: tuple[int, int]
    dump_bytes: int
    """Size of the whole dump, to find missing slices without the dump."""
    dump_state: str | None = None
    """State of the dump, if it may change: see `corpus.inputs`."""
    counts: Counts

    @property
    def path(self) -> str:
        """Path of its file under the corpus' prefix."""
        return f"{MAP}{self.index:05d}.buckets"

    def is_backed(self, objects: Mapping[str, int]) -> bool:
        """True if its file exists."""
        return objects.get(self.path) == self.size


class ReduceReceipt(Receipt):
    """The receipt of a bucket."""

    file: File
    examples: int
    documents: int
    dump_state: str | None = None
    """State of the dump in the receipts of its slices."""

    def is_backed(self, objects: Mapping[str, int]) -> bool:
        """True if its shard exists or is empty; empty shards aren't uploaded."""
        return not self.examples or objects.get(self.file.path) == self.file.size


AnyReceipt = TypeVar("AnyReceipt", bound=Receipt)
