"""Shards: training examples in a TFRecord file. The corpus stage writes them, pre-training reads them.

The features are those of the Model Garden's ``pretrain_dataloader``; how they become bytes is in `tfrecords`.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import typing
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bertline import errors
from bertline.examples import tfrecords

Compression = typing.Literal["none", "gzip"]
FeatureNames = typing.Literal["v1", "v2"]
"""What the Model Garden's data loader calls two of the features: input_ids and segment_ids (v1, its default), or
input_word_ids and input_type_ids (v2, `use_v2_feature_names`)."""

_V2_NAMES = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}
_GZIP_LEVEL = 6
_GZIP_MAGIC = b"\x1f\x8b"

_ROWS = 2048
"""Records encoded at a time. 2,048 rows * about 1.2 KiB = 2.4 MiB: it stays in the cache."""

Int32s = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True, slots=True)
class Instances:
    """Training examples, a row each. The fields are the features that the Model Garden's data loader reads."""

    input_ids: Int32s
    """Pieces, some masked, then zeros. Shape [instances, max_seq_length]."""
    input_mask: Int32s
    """1 where there is a piece, 0 where there is padding. Shape [instances, max_seq_length]."""
    segment_ids: Int32s
    """1 for B and its [SEP], else 0. Shape [instances, max_seq_length]."""
    masked_lm_positions: Int32s
    """Columns to predict, ascending, then zeros. Shape [instances, max_predictions_per_seq]."""
    masked_lm_ids: Int32s
    """The pieces that were there, then zeros. Shape [instances, max_predictions_per_seq]."""
    masked_lm_weights: npt.NDArray[np.float32]
    """1.0 for each position to predict, then zeros. Shape [instances, max_predictions_per_seq]."""
    next_sentence_labels: Int32s
    """1 where B is random. Shape [instances, 1]."""

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    @classmethod
    def zeros(cls, count: int, max_seq_length: int, max_predictions_per_seq: int) -> typing.Self:
        """Rows of zeros."""
        return cls(
            input_ids=np.zeros((count, max_seq_length), np.int32),
            input_mask=np.zeros((count, max_seq_length), np.int32),
            segment_ids=np.zeros((count, max_seq_length), np.int32),
            masked_lm_positions=np.zeros((count, max_predictions_per_seq), np.int32),
            masked_lm_ids=np.zeros((count, max_predictions_per_seq), np.int32),
            masked_lm_weights=np.zeros((count, max_predictions_per_seq), np.float32),
            next_sentence_labels=np.zeros((count, 1), np.int32),
        )

    def rows(self, start: int, stop: int) -> typing.Self:
        """Some of the rows, as views."""
        return type(self)(*(getattr(self, field.name)[start:stop] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True, slots=True)
class ShardStats:
    """A written shard."""

    examples: int
    bytes: int
    """Bytes of the file, after compression."""
    sha256: str
    """sha256 of the file."""


def write(
    path: Path,
    instances: Iterable[Instances],
    compression: Compression = "none",
    *,
    feature_names: FeatureNames = "v1",
) -> ShardStats:
    """Write a shard; replaces an existing file. The same instances give the same bytes, for any division."""
    examples = 0
    with path.open("wb") as file:
        digest = _Digest(file)
        with contextlib.ExitStack() as stack:
            sink: typing.Any = digest
            if compression == "gzip":
                # Neither time nor name in the header: the bytes are a function of the instances.
                sink = stack.enter_context(
                    gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=digest, mtime=0)
                )
            for some in instances:
                for start in range(0, len(some), _ROWS):
                    sink.write(tfrecords.encode(_features(some.rows(start, start + _ROWS), feature_names)))
                examples += len(some)
    return ShardStats(examples, digest.size, digest.sha256.hexdigest())


class _Digest:
    """A file that knows the size and sha256 of what was written to it."""

    def __init__(self, file: typing.BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def read(path: Path) -> Instances:
    """Reads a shard that :func:`write` wrote, plain or gzip, checking every byte.

    Raises:
        UserError: there is no such file, or its records are another program's.
        DamagedError: bytes are missing or changed; names the file and the record.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise errors.UserError(f"there is no shard at {path}") from error
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise errors.DamagedError(f"{path}: its gzip stream is damaged ({error}); trust no record of it") from error
    begins, ends = tfrecords.find(data, path)  # [records], [records]
    if not len(begins):
        return Instances.zeros(0, 0, 0)
    # The first feature's name decides which names are used. It is in: 0A <example> 0A <entry> 0A <name>.
    fields = _fields("v2" if b"\x0ainput_mask" in data[begins[0] : begins[0] + 24] else "v1")
    names = {name: field == "masked_lm_weights" for name, field in fields.items()}
    flat = np.frombuffer(data, np.uint8)
    made: Instances | None = None
    for start in range(0, len(begins), _ROWS):
        rows = slice(start, min(start + _ROWS, len(begins)))
        where = f"{path}, records {rows.start}-{rows.stop - 1}"
        features = tfrecords.decode(flat, begins[rows], ends[rows], names, where)
        features = {field: features[name] for name, field in fields.items()}
        if made is None:
            made = Instances.zeros(len(begins), features["input_ids"].shape[1], features["masked_lm_ids"].shape[1])
        for field, values in features.items():
            target = getattr(made, field)
            if values.shape[1] != target.shape[1]:
                raise errors.UserError(
                    f"{path}: {field} has {target.shape[1]} numbers in record 0, {values.shape[1]} in record {start}"
                )
            target[rows] = values
    assert made is not None
    return made


def _features(rows: Instances, feature_names: FeatureNames) -> dict[str, npt.NDArray[typing.Any]]:
    return {name: getattr(rows, field) for name, field in _fields(feature_names).items()}


def _fields(feature_names: FeatureNames) -> dict[str, str]:
    """Name in the file → field of Instances."""
    fields = [field.name for field in dataclasses.fields(Instances)]
    return {_V2_NAMES.get(name, name) if feature_names == "v2" else name: name for name in fields}
