"""Rolling checkpoints: what an attempt at pre-training or fine-tuning saves on the way, and the next one goes on from.

    rolling/<step>.safetensors   arrays by name
    rolling/latest.json          written after it: the file's size and checksum, and a document; the commit marker.
                                 `earlier` has the same of the one before

A checkpoint counts only if `latest.json` names it. The last two are kept: if the newest is damaged, the one before it
costs less than to begin again.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertline.errors import BertlineError, DamagedError
from bertline.process import progress
from bertline.store import disks, staging
from bertline.store.objects import NotFoundError, ObjectStore
from bertline.store.realizations import ROLLING, Build
from bertline.store.staging import File

if TYPE_CHECKING:
    from bertline.models.encoders import Arrays

FORMAT = 1
LATEST = "latest.json"
KEPT = 2
"""Checkpoints that are in the store, the newest included."""


@dataclass(frozen=True)
class Checkpoint:
    """A restored one."""

    document: dict[str, Any]
    """What has been reached beside the arrays."""
    values: "Arrays"


def put(build: Build, step: int, values: "Arrays", document: dict[str, Any]) -> int:
    """Save one, and delete all but the last `KEPT`; its size in bytes.

    Raises:
        OutageError: the store can't be reached.
        TransientError: the disk is full.
    """
    from bertline.models import encoders

    name = f"{ROLLING}{step:09d}.safetensors"
    path = build.work / name
    try:
        with disks.explained("write", path):
            path.parent.mkdir(exist_ok=True)
            encoders.save(path, values)
        file = staging.put(build.impatient, build.prefix, path, name)
    finally:
        path.unlink(missing_ok=True)
    # What is at this step or after it was damaged, or the attempt wouldn't be here again.
    before = [each for each in _entries(_latest(build.impatient, build.prefix)) if each["progress"]["step"] < step]
    newest, *earlier = [{"file": file.model_dump(), "progress": document}, *before][:KEPT]
    build.roll(LATEST, {"format": FORMAT, **newest, "earlier": earlier})
    kept = {f"{build.prefix}{each['file']['path']}" for each in (newest, *earlier)}
    with contextlib.suppress(BertlineError):  # it is saved; those before it go with the next one
        for found in build.impatient.list(f"{build.prefix}{ROLLING}"):
            if found.name.endswith(".safetensors") and found.name not in kept:
                build.impatient.delete(found.name)
    return file.size


def restore(build: Build) -> Checkpoint | None:
    """The newest one of an earlier attempt that isn't damaged, None if there is none at all.

    Raises:
        DamagedError: the bytes of none are those that were written; it names the newest.
    """
    from bertline.models import encoders

    latest = _latest(build.store, build.prefix)
    if latest is None:
        return None
    if latest["format"] != FORMAT:
        raise DamagedError(
            f"{build.store.uri}/{build.prefix}{ROLLING}{LATEST} has format {latest['format']}, "
            f"this version reads {FORMAT}; delete it to begin again"
        )
    problem: DamagedError | None = None
    for entry in _entries(latest):
        try:
            (path,) = staging.fetch(build.store, build.prefix, [File.model_validate(entry["file"])], build.work)
            return Checkpoint(entry["progress"], encoders.load(path)[0])
        except DamagedError as error:
            progress.say(f"the checkpoint of step {entry['progress']['step']:,} can't be used: {error}")
            build.attempt.record("checkpoint-damaged", step=entry["progress"]["step"], message=str(error))
            problem = problem or error
    assert problem
    raise problem


def step(store: ObjectStore, prefix: str) -> int | None:
    """Of what attempts at a result left at its place in the store, without TensorFlow; None if they left nothing."""
    latest = _latest(store, prefix)
    return int(latest["progress"]["step"]) if latest else None


def _latest(store: ObjectStore, prefix: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(store.get(f"{prefix}{ROLLING}{LATEST}")[0]))
    except NotFoundError:
        return None


def _entries(latest: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """File and progress of each checkpoint that there is, the newest first."""
    if latest:
        yield {"file": latest["file"], "progress": latest["progress"]}
        yield from latest.get("earlier", [])
