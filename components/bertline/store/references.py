"""Named experiments: `experiments/<name>/<digest>.json`, each a graph of keys. The roots of garbage collection.

An experiment that is edited and run again gets a second version beside the first one: nothing that a user has paid for
becomes garbage because a line in a file changed.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bertline.errors import DamagedError, UserError
from bertline.store.derivations import canonical_json
from bertline.store.objects import ObjectStore

ROOT = "experiments/"
VERSION = re.compile(rf"{ROOT}(?P<name>[^/]+)/(?P<digest>[0-9a-f]{{16}})\.json")


@dataclass(frozen=True)
class Reference:
    """One version of one experiment."""

    name: str
    digest: str
    """First 16 hexadecimal digits of the graph's sha256."""
    submitted: float
    """When this version was last submitted, seconds since 1970."""
    graph: dict[str, Any]


def digest(graph: dict[str, Any]) -> str:
    """What tells two versions of an experiment apart: the graph without `resolved`, which follows from the rest."""
    told = {name: value for name, value in graph.items() if name != "resolved"}
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()[:16]


def write(store: ObjectStore, name: str, graph: dict[str, Any]) -> Reference:
    """Make `graph` the current version of experiment `name`."""
    reference = Reference(name, digest(graph), time.time(), graph)
    document = {"submitted": reference.submitted, "graph": graph}
    store.put(f"{ROOT}{name}/{reference.digest}.json", json.dumps(document, indent=1).encode())
    return reference


def read(store: ObjectStore, name: str | None = None) -> Iterator[Reference]:
    """All versions of one experiment, or of all."""
    for found in store.list(f"{ROOT}{name}/" if name else ROOT):
        if not (match := VERSION.fullmatch(found.name)):
            continue  # something else that belongs to the experiment
        try:
            document = json.loads(store.get(found.name)[0])
            submitted, graph = float(document["submitted"]), dict(document["graph"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{store.uri}/{found.name} isn't a version of an experiment: {error!r}; "
                "nothing can be said to be garbage while it can't be read"
            ) from error
        yield Reference(match["name"], match["digest"], submitted, graph)


def current(store: ObjectStore, name: str) -> Reference:
    """The version submitted last.

    Raises:
        UserError: there is no such experiment; names those there are.
    """
    versions = list(read(store, name))
    if not versions:
        known = sorted({reference.name for reference in read(store)})
        raise UserError(
            f"store {store.uri} has no experiment {name!r}; "
            + (f"it has {', '.join(known)}" if known else "it has none yet: `bertline run EXPERIMENT.yaml` makes one")
        )
    return max(versions, key=lambda version: version.submitted)
