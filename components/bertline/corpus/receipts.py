"""What says that a slice or a bucket is done: written after the data it speaks of, and checked when it is read."""

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
    """Says that a unit is done, and where its data is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    """Of one worker, whichever did it."""

    def is_backed(self, objects: Mapping[str, int]) -> bool:
        """True if its data is among the objects (path → size)."""
        raise NotImplementedError

    def document(self) -> bytes:
        """As it is stored. With a checksum: its counts become results, and a flipped bit would change them unseen."""
        fields = self.model_dump(mode="json")
        return json.dumps({"receipt": fields, "sha256": _digest(fields)}).encode()

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The reverse.

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
    """Of one slice. Its file has a digest for each bucket's piece, and here is that of its head, which has those."""

    index: int
    size: int
    """Of its file, in bytes."""
    head: int
    """Bytes of the file's beginning."""
    head_sha256: str
    slice: tuple[int, int]
    dump_bytes: int
    """Size of the whole dump: it tells, without the dump, whether a slice is missing."""
    dump_state: str | None = None
    """Which state of the dump, where there may be several: see `corpus.inputs`."""
    counts: Counts

    @property
    def path(self) -> str:
        """Of its file, in the corpus' place."""
        return f"{MAP}{self.index:05d}.buckets"

    def is_backed(self, objects: Mapping[str, int]) -> bool:
        """If its file is there."""
        return objects.get(self.path) == self.size


class ReduceReceipt(Receipt):
    """Of one bucket."""

    file: File
    examples: int
    documents: int
    dump_state: str | None = None
    """Like that of its slices."""

    def is_backed(self, objects: Mapping[str, int]) -> bool:
        """If its shard is there; empty ones aren't uploaded."""
        return not self.examples or objects.get(self.file.path) == self.file.size


AnyReceipt = TypeVar("AnyReceipt", bound=Receipt)
