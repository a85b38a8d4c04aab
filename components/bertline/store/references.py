"""Named experiments: `experiments/<name>/<digest>.json`, each a graph of keys. The roots of garbage collection.

An experiment that is edited and run again gets a second version beside the first one: nothing that a user has paid for
becomes garbage because a line in a file changed.

Which version is the newest is told by the store's clock, the time at which the object was written: it is one clock for
all machines. A machine whose own clock is an hour ahead would otherwise make its version the newest for that hour.
"""

import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from bertline.errors import DamagedError, UserError
from bertline.process import parallel
from bertline.store.derivations import canonical_json
from bertline.store.objects import ObjectStore, Stat

ROOT = "experiments/"
VERSION = re.compile(rf"{ROOT}(?P<name>[^/]+)/(?P<digest>[0-9a-f]{{16}})\.json")


@dataclass(frozen=True)
class Reference:
    """One version of one experiment."""

    name: str
    digest: str
    """First 16 hexadecimal digits of the graph's sha256."""
    graph: dict[str, Any]
    submitted: tuple[float, float] = field(compare=False)
    """When this version was last submitted, seconds since 1970: by the store's clock, which may count whole seconds
    only, and among versions of one such second by the clock of the machine that submitted it."""


def digest(graph: dict[str, Any]) -> str:
    """What tells two versions of an experiment apart: the graph without `resolved`, which follows from the rest."""
    told = {name: value for name, value in graph.items() if name != "resolved"}
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()[:16]


def write(store: ObjectStore, name: str, graph: dict[str, Any]) -> Reference:
    """Make `graph` the current version of experiment `name`.

    Raises:
        OutageError: the store can't be reached.
    """
    version, now = digest(graph), time.time()
    store.put(f"{ROOT}{name}/{version}.json", json.dumps({"submitted": now, "graph": graph}, indent=1).encode())
    found = store.stat(f"{ROOT}{name}/{version}.json")
    return Reference(name, version, graph, (found.modified if found else now, now))


def read(store: ObjectStore, name: str | None = None) -> list[Reference]:
    """All versions of one experiment, or of all.

    Raises:
        DamagedError: a version can't be read; names the object.
        OutageError: the store can't be reached.
    """
    found = store.list(f"{ROOT}{name}/" if name else ROOT)
    versions = [(each, match) for each in found if (match := VERSION.fullmatch(each.name))]
    return parallel.each(lambda version: _read(store, *version), versions)


def _read(store: ObjectStore, found: Stat, match: re.Match[str]) -> Reference:
    try:
        document = json.loads(store.get(found.name)[0])
        submitted, graph = float(document["submitted"]), dict(document["graph"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{store.uri}/{found.name} isn't a version of an experiment: {error!r}; "
            "nothing can be said to be garbage while it can't be read"
        ) from error
    return Reference(match["name"], match["digest"], graph, (found.modified, submitted))


def current(store: ObjectStore, name: str) -> Reference:
    """The version submitted last, by the store's clock.

    Raises:
        UserError: there is no such experiment; names those there are.
        DamagedError, OutageError: as `read`.
    """
    versions = read(store, name)
    if not versions:
        known = sorted({reference.name for reference in read(store)})
        raise UserError(
            f"store {store.uri} has no experiment {name!r}; "
            + (f"it has {', '.join(known)}" if known else "it has none yet: `bertline run EXPERIMENT.yaml` makes one")
        )
    return max(versions, key=lambda version: version.submitted)
