"""Rolling checkpoints: what an attempt at pre-training or fine-tuning saves on the way, and the next one goes on from.

    rolling/<step>.safetensors   arrays by name
    rolling/latest.json          written after it: the file's size and checksum, and a document; the commit marker

A checkpoint counts only if `latest.json` names it.
"""

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertline.errors import BertlineError, DamagedError
from bertline.store import disks, staging
from bertline.store.objects import NotFoundError, ObjectStore
from bertline.store.realizations import ROLLING, Build
from bertline.store.staging import File

if TYPE_CHECKING:
    from bertline.models.encoders import Arrays

FORMAT = 1
LATEST = "latest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A restored one."""

    document: dict[str, Any]
    """What has been reached beside the arrays."""
    values: "Arrays"


def put(build: Build, step: int, values: "Arrays", document: dict[str, Any]) -> int:
    """Save one in the place of those before it; its size in bytes.

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
    build.roll(LATEST, {"format": FORMAT, "file": file.model_dump(), "progress": document})
    with contextlib.suppress(BertlineError):  # it is saved; those before it go with the next one
        for found in build.impatient.list(f"{build.prefix}{ROLLING}"):
            if found.name.endswith(".safetensors") and not found.name.endswith(name):
                build.impatient.delete(found.name)
    return file.size


def restore(build: Build) -> Checkpoint | None:
    """What an earlier attempt left, None if nothing.

    Raises:
        DamagedError: its bytes aren't those that were written.
    """
    from bertline.models import encoders

    latest = build.rolling(LATEST)
    if latest is None:
        return None
    if latest["format"] != FORMAT:
        raise DamagedError(
            f"{build.store.uri}/{build.prefix}{ROLLING}{LATEST} has format {latest['format']}, "
            f"this version reads {FORMAT}; delete it to begin again"
        )
    (path,) = staging.fetch(build.store, build.prefix, [File.model_validate(latest["file"])], build.work)
    return Checkpoint(latest["progress"], encoders.load(path)[0])


def step(store: ObjectStore, prefix: str) -> int | None:
    """Of what attempts at a result left at its place in the store, without TensorFlow; None if they left nothing."""
    try:
        latest = json.loads(store.get(f"{prefix}{ROLLING}{LATEST}")[0])
    except NotFoundError:
        return None
    return int(latest["progress"]["step"])
