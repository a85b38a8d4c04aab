"""A corpus' units of work, slices and buckets: finds the finished ones and does the others.

    rolling/map/<slice>.buckets + .json          a slice's buckets, then its receipt
    <shard>, rolling/reduce/<bucket>.json        a bucket's shard, then its receipt

All files are under the corpus' prefix. The slices depend only on the dump's size, the shards don't depend on the
slices, and data is written before its receipt. So two processes may do the same unit, and any number of workers, pods
and attempts makes the same bytes. A receipt without its data doesn't count.
"""

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from bertline.corpus import inputs, passes, workers
from bertline.corpus.buckets import DamagedPiecesError, Head, Layout, Partitioner, Piece
from bertline.corpus.config import CorpusConfig
from bertline.corpus.passes import Counts, MapUnit, ReduceUnit
from bertline.corpus.receipts import MAP, REDUCE, AnyReceipt, MapReceipt, Receipt, ReduceReceipt
from bertline.errors import DamagedError, UserError
from bertline.experiment.corpora import Corpus
from bertline.process import parallel, progress
from bertline.store import disks
from bertline.store.objects import NotFoundError, ObjectStore
from bertline.store.realizations import require
from bertline.text import wordpiece
from bertline.wikipedia import dumps

# A slice is what a kill loses: at most 16 MiB of bz2, about 64 MB of XML, under a minute. Small dumps get small slices,
# so that all cores have work, but not too small: a slice reads on into the blocks of the next one to finish its last
# page, and those are decoded twice. A block is up to 900 kB of text, 256 KiB of bz2.
LARGEST_SLICE = 16 << 20
SMALLEST_SLICE = 2 << 20
SLICES = 64

# During the pass the share of [UNK] is only a rough estimate, so only a far too high one is an error.
SURELY = 10
LEAST_TOKENS = {1: 1, SURELY: 10_000}


class DamagedSlicesError(DamagedError):
    """Slices' files differ from their receipts. The receipts are deleted, so that the slices are made again."""


@dataclass(frozen=True)
class Job:
    """The work of one process: the corpus, a scratch folder, and a share of the units."""

    config: CorpusConfig
    store: ObjectStore
    work: Path
    check: Callable[[], None]
    """Raises an error if another attempt has taken over."""
    index: int = 0
    count: int = 1
    """The share is every unit whose number modulo `count` is `index`."""
    seconds: list[float] = field(default_factory=list)
    """Worker's seconds of each unit done here."""

    @property
    def prefix(self) -> str:
        """The corpus' prefix in the store."""
        return self.config.derivation().prefix

    def has(self, unit: int) -> bool:
        """True if a unit belongs to the share."""
        return unit % self.count == self.index

    def vocabulary(self) -> Path:
        """vocab.txt on local disk."""
        (path,) = require(self.store, "vocabulary", self.config.vocabulary).stage(["vocab.txt"], self.work)
        return path

    def sign(self, name: str, receipt: Receipt) -> None:
        """Write a receipt; its data must already be written."""
        self.check()
        self.store.put(f"{self.prefix}{name}", receipt.document())
        self.seconds.append(receipt.seconds)


def mapped(job: Job) -> list[MapReceipt] | None:
    """The receipts of all slices; None if one is missing. Doesn't need the dump."""
    return _covering(_receipts(job, MAP, MapReceipt))


def map_slices(job: Job, pool: Executor) -> list[MapReceipt]:
    """Do the missing slices of the share; return the receipts of all finished slices.

    Raises:
        UserError: the dump is damaged or not a dump; the vocabulary doesn't fit.
    """
    receipts = _receipts(job, MAP, MapReceipt)
    if whole := _covering(receipts):
        return whole
    corpus = job.config.corpus
    checked = receipts[0].dump_state if 0 in receipts else None
    dump = inputs.dump(corpus.dump, job.store, job.prefix, job.work, checks=job.has(0), checked=checked)
    if job.has(0) or dump.is_here:
        dumps.check(dump.file, corpus.on_corrupt)
    templates = corpus.templates.fetch(job.work, job.store) if corpus.templates else None
    vocabulary = job.vocabulary()
    wordpiece.Tokenizer(wordpiece.read(vocabulary), job.config.lower_case)  # refuses a vocabulary that doesn't fit

    parts = dumps.slices(dump.file, max(SMALLEST_SLICE, min(LARGEST_SLICE, dump.size // SLICES)))
    edges = {part.index: (part.begin, part.end) for part in parts}
    # A receipt of another program version doesn't count, because it may slice differently; nor does one of another
    # state of the dump.
    receipts = {
        index: receipt
        for index, receipt in receipts.items()
        if edges.get(index) == receipt.slice and (dump.size, dump.state) == (receipt.dump_bytes, receipt.dump_state)
    }
    share = [part for part in parts if job.has(part.index)]
    units = [
        MapUnit(
            dump.file,
            part,
            corpus,
            vocabulary,
            job.config.lower_case,
            job.work / f"{MAP}{part.index:05d}.buckets",
            templates,
        )
        for part in share
        if part.index not in receipts
    ]
    (job.work / MAP).mkdir(parents=True, exist_ok=True)
    total = sum(part.end - part.begin for part in share)
    done = total - sum(unit.part.end - unit.part.begin for unit in units)
    so_far = sum((receipt.counts for receipt in receipts.values()), Counts())
    with progress.bar("reading the dump", total, "B", done) as advance:
        for unit, (counts, written), seconds in workers.finished(pool, passes.map_slice, units):
            index, edge = unit.part.index, (unit.part.begin, unit.part.end)
            receipts[index] = receipt = MapReceipt(
                seconds=seconds,
                index=index,
                size=written.size,
                head=written.head,
                head_sha256=written.head_sha256,
                slice=edge,
                dump_bytes=dump.size,
                dump_state=dump.state,
                counts=counts,
            )
            job.store.upload(unit.output, f"{job.prefix}{receipt.path}")
            job.sign(f"{MAP}{index:05d}.json", receipt)
            so_far += counts  # not all receipts' sum: a dump has more than a thousand slices
            check_spelling(corpus, so_far, SURELY)
            if job.store.local_path(f"{job.prefix}{receipt.path}") is not None:
                unit.output.unlink()  # the store has a copy
            advance(edge[1] - edge[0])
    return [receipt for _, receipt in sorted(receipts.items())]


def check_spelling(corpus: Corpus, counts: Counts, times: int = 1) -> None:
    """Compare the share of [UNK] with `times` the accepted one.

    Raises:
        UserError: the share is larger: the vocabulary can't spell the text.
    """
    if counts.tokens >= LEAST_TOKENS[times] and counts.unknown_share > times * corpus.max_unknown:
        raise UserError(
            f"the vocabulary can't spell {corpus.dump.url}: {counts.unknown_share:.1%} of its pieces are [UNK], "
            f"{counts.unknown:,} of {counts.tokens:,}, at most {corpus.max_unknown:.1%} are accepted. Use a "
            "vocabulary of that language, or raise corpus.max_unknown if this is intended"
        )


def reduce_buckets(job: Job, pool: Executor, slices: list[MapReceipt]) -> list[ReduceReceipt]:
    """Do the missing buckets of the share; return the receipts of all finished buckets, by bucket.

    Raises:
        DamagedSlicesError: slices have to be made again.
        UserError: random next sentences need a second document, but there is none.
    """
    corpus = job.config.corpus
    partitioner = Partitioner(corpus.shards, corpus.held_out)
    dump_state = slices[0].dump_state
    receipts = {
        bucket: receipt
        for bucket, receipt in _receipts(job, REDUCE, ReduceReceipt).items()
        if receipt.dump_state == dump_state
    }
    share = list(filter(job.has, range(partitioner.count)))
    if missing := [bucket for bucket in share if bucket not in receipts]:
        heads, vocabulary = _heads(job, slices), job.vocabulary()
        layout = Layout.of(heads, partitioner)
        if layout.trained == 1 and corpus.next_sentence:
            raise UserError(
                f"{corpus.dump.url} has one document to train on, and random next sentences need a second one; take a "
                "larger dump"
            )
        if layout.repeated:
            progress.say(f"{layout.repeated:,} articles are left out, because later ones have the same page ids")
        damaged: set[int] = set()

        def units() -> Iterator[ReduceUnit]:  # one at a time, because a unit's input may need space on this disk
            for bucket in missing:
                output = job.work / f"bucket-{bucket:05d}"
                sources = tuple(
                    _pieces(job, source, slices, heads, Path(f"{output}-{source:05d}"))
                    for source in layout.sources[bucket]
                )
                yield ReduceUnit(bucket, sources, corpus, vocabulary, output)

        with progress.bar("making examples", len(share), "shards", len(share) - len(missing)) as advance:
            for unit, shard, seconds in workers.finished(pool, passes.reduce_bucket, units()):
                for copy in job.work.glob(f"{unit.output.name}-*"):
                    copy.unlink()
                if isinstance(shard, DamagedPiecesError):
                    damaged |= shard.slices
                    continue
                if shard.examples:
                    job.store.upload(unit.output, f"{job.prefix}{shard.file.path}")
                unit.output.unlink()
                receipt = ReduceReceipt(
                    file=shard.file,
                    seconds=seconds,
                    examples=shard.examples,
                    documents=shard.documents,
                    dump_state=dump_state,
                )
                job.sign(f"{REDUCE}{unit.bucket:05d}.json", receipt)
                receipts[unit.bucket] = receipt
                advance(1)
        if damaged:
            raise _damaged(job, damaged)
    return [receipt for _, receipt in sorted(receipts.items())]


def _heads(job: Job, slices: Sequence[MapReceipt]) -> list[Head]:
    """The heads of all slices' files, in the dump's order.

    Raises:
        DamagedSlicesError: some differ from their receipts.
    """

    def read(receipt: MapReceipt) -> Head | None:
        content = _part(job, receipt, 0, receipt.head)
        return Head.of(content) if hashlib.sha256(content).hexdigest() == receipt.head_sha256 else None

    found = parallel.each(read, slices)
    if damaged := {receipt.index for receipt, head in zip(slices, found, strict=True) if head is None}:
        raise _damaged(job, damaged)
    return [head for head in found if head is not None]


def _pieces(
    job: Job, bucket: int, slices: Sequence[MapReceipt], heads: Sequence[Head], copy: Path
) -> tuple[Piece, ...]:
    """A bucket's pieces in the dump's order: in place if they are on this machine, else in a copy."""
    pieces: list[Piece] = []
    wanted: list[tuple[MapReceipt, Head]] = []
    for receipt, head in zip(slices, heads, strict=True):
        begin, end = head.range(bucket)
        if begin == end:
            continue
        if path := _here(job, receipt):
            pieces.append(head.piece(bucket, receipt.index, path, begin))
        else:
            wanted.append((receipt, head))
    if not wanted:
        return tuple(pieces)
    sizes = [end - begin for begin, end in (head.range(bucket) for _, head in wanted)]
    offsets = list(itertools.accumulate(sizes, initial=0))
    writing = threading.Lock()
    with disks.explained("write", copy), copy.open("wb") as file:

        def fetch(receipt: MapReceipt, head: Head, offset: int) -> Piece:
            begin, end = head.range(bucket)
            content = _part(job, receipt, begin, end)
            with writing:
                file.seek(offset)
                file.write(content.ljust(end - begin, b"\0"))  # the checksum finds missing bytes
            return head.piece(bucket, receipt.index, copy, offset)

        asked = [(*each, offset) for each, offset in zip(wanted, offsets, strict=False)]
        pieces += parallel.each(lambda each: fetch(*each), asked)
    return tuple(sorted(pieces, key=lambda piece: piece.slice))


def _here(job: Job, receipt: MapReceipt) -> Path | None:
    """A slice's file on this machine, if this process made it or the store is a disk; else None."""
    own = job.work / receipt.path
    return own if own.exists() else job.store.local_path(f"{job.prefix}{receipt.path}")


def _part(job: Job, receipt: MapReceipt, begin: int, end: int) -> bytes:
    """Bytes of a slice's file; empty if the file doesn't exist."""
    try:
        return job.store.read(f"{job.prefix}{receipt.path}", begin, end)
    except NotFoundError:
        return b""


def _damaged(job: Job, slices: set[int]) -> DamagedSlicesError:
    """Delete these slices' receipts, so that they are made again."""
    for number in sorted(slices):
        path = f"{MAP}{number:05d}.buckets"
        progress.say(f"{job.store.uri}/{job.prefix}{path} is damaged; its slice of the dump is made again")
        (job.work / path).unlink(missing_ok=True)
        job.store.delete(f"{job.prefix}{MAP}{number:05d}.json")
    return DamagedSlicesError(
        f"{len(slices)} intermediate files of {job.store.uri}/{job.prefix} are still damaged after they were made "
        "again: check its disk"
    )


def _covering(receipts: Mapping[int, MapReceipt]) -> list[MapReceipt] | None:
    """Slices that cover the dump from beginning to end; None if one is missing.

    Slices of another program version, cut differently, may cover the dump too. All must be of the same state of the
    dump.
    """
    covering: list[MapReceipt] = []
    position = 0
    while (receipt := receipts.get(len(covering))) and receipt.slice[0] == position:
        covering.append(receipt)
        position = receipt.slice[1]
        if position == receipt.dump_bytes:
            states = {(each.dump_bytes, each.dump_state) for each in covering}
            return covering if len(states) == 1 else None
    return None


def _receipts(job: Job, folder: str, kind: type[AnyReceipt]) -> dict[int, AnyReceipt]:
    """All receipts, by unit. A fresh build sends one request, not one per unit."""
    objects = {found.name.removeprefix(job.prefix): found.size for found in job.store.list(job.prefix)}
    names = [name for name in objects if name.startswith(folder) and name.endswith(".json")]

    def read(name: str) -> AnyReceipt | None:
        try:
            receipt = kind.of(job.store.get(f"{job.prefix}{name}")[0])
        except (NotFoundError, ValueError):
            return None  # just deleted, damaged, or of another program
        return receipt if receipt.is_backed(objects) else None

    found = zip(names, parallel.each(read, names), strict=True)
    return {int(Path(name).stem): receipt for name, receipt in found if receipt is not None}
