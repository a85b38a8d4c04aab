"""Rolling checkpoints of pre-training and fine-tuning, from which the next attempt continues.

    rolling/<step>.safetensors   arrays by name
    rolling/latest.json          written after it, the commit marker: the file's size and checksum, and a document.
                                 `earlier` has the same for the previous checkpoint

A checkpoint is valid only if `latest.json` names it. The last two are kept, in case the newest one is damaged.
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
"""Number of checkpoints in the store."""


@dataclass(frozen=True)
class Checkpoint:
    """A restored checkpoint."""

    document: dict[str, Any]
    """The progress besides the arrays."""
    values: "Arrays"


def put(build: Build, step: int, values: "Arrays", document: dict[str, Any]) -> int:
    """Save a checkpoint, and delete all but the last `KEPT`; return its size in bytes.

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
    # A checkpoint at this step or later must be damaged; otherwise the attempt wouldn't have come here again.
    before = [each for each in _entries(_latest(build.impatient, build.prefix)) if each["progress"]["step"] < step]
    newest, *earlier = [{"file": file.model_dump(), "progress": document}, *before][:KEPT]
    build.roll(LATEST, {"format": FORMAT, **newest, "earlier": earlier})
    kept = {f"{build.prefix}{each['file']['path']}" for each in (newest, *earlier)}
    with contextlib.suppress(BertlineError):  # it is saved; the next one deletes older ones
        for found in build.impatient.list(f"{build.prefix}{ROLLING}"):
            if found.name.endswith(".safetensors") and found.name not in kept:
                build.impatient.delete(found.name)
    return file.size


def restore(build: Build) -> Checkpoint | None:
    """The newest undamaged checkpoint of an earlier attempt; None if there is no checkpoint.

    Raises:
        DamagedError: all checkpoints are damaged; names the newest.
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
    """Step of the newest checkpoint of a result, without TensorFlow; None if there is none."""
    latest = _latest(store, prefix)
    return int(latest["progress"]["step"]) if latest else None


def _latest(store: ObjectStore, prefix: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(store.get(f"{prefix}{ROLLING}{LATEST}")[0]))
    except NotFoundError:
        return None


def _entries(latest: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """File and progress of each checkpoint, the newest first."""
    if latest:
        yield {"file": latest["file"], "progress": latest["progress"]}
        yield from latest.get("earlier", [])
