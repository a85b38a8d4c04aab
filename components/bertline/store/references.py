"""Named experiments: `experiments/<name>/<digest>.json`, each a graph of keys. The roots of garbage collection.

An experiment that is edited and run again gets a second version beside the first one, so a changed line in the file
doesn't turn paid results into garbage.

The store's clock, that is an object's modification time, decides which version is the newest, because it is the same
for all machines. Otherwise a machine whose clock is an hour ahead would have the newest version for an hour.
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
    """When this version was last submitted, in seconds since 1970: by the store's clock, which may have whole seconds
    only, then by the clock of the submitting machine."""


def digest(graph: dict[str, Any]) -> str:
    """Identifies a version of an experiment: digest of the graph without `resolved`, which follows from the rest."""
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
            "without it nothing can be judged as garbage"
        ) from error
    return Reference(match["name"], match["digest"], graph, (found.modified, submitted))


def current(store: ObjectStore, name: str) -> Reference:
    """The version submitted last, by the store's clock.

    Raises:
        UserError: there is no such experiment; names the existing ones.
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
