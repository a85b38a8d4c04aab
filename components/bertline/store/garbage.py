"""Finds and deletes objects that nothing refers to.

The roots are the versions of all experiments (`references`). Each version is a graph with every key that it needs, and
with the checksums of its sources; everything in it that looks like a key is kept. The report of a version can't have
its key in the graph, because its key depends on the graph. Its derivation has the version's digest instead, and is kept
as long as the version. Only `objects/<stage>/<key>/` and `sources/<sha256>` are ever deleted.

Ages are measured by the store's clock: an object's modification time compared with the newest one in the store. Our own
clock may be wrong by hours, and new work would then be deleted as old. The newest time is never after the store's
current time, so objects can seem too young but never too old. During any work leases are renewed every few seconds, so
the newest time is nearly the current time. Without any work the last objects stay young; `grace_s=0` includes them too.
"""

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bertline.process import parallel
from bertline.store import derivations, leases, mirrors, references
from bertline.store.objects import NotFoundError, ObjectStore, Stat
from bertline.store.realizations import DERIVATION, MANIFEST, ROLLING

GRACE_S = 24 * 3600.0
LEASE_S = 180.0  # a lease this young may be alive, whatever `grace_s` is: its holder may be cut off for a while
NOTHING: frozenset[str] = frozenset()

PLACE = re.compile(r"objects/(?P<stage>[^/]+)/(?P<key>[0-9a-f]{64})/")
KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")


@dataclass(frozen=True)
class Garbage:
    """Objects that may be deleted together."""

    place: str
    """The prefix of a realization, or an object's name (a source, or a leftover of a killed writer)."""
    reason: str
    objects: tuple[Stat, ...]
    names: frozenset[str]
    """Names by which an experiment may need it: the realization's key and the digests in its derivation, or the
    source's checksum; empty for leftovers."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(found.size for found in self.objects)


def collect(store: ObjectStore, *, superseded: bool = False, grace_s: float = GRACE_S) -> list[Garbage]:
    """List objects that nothing refers to, without deleting them.

    Args:
        store: The store.
        superseded: Also list what only older versions of an experiment refer to.
        grace_s: Keep sources and realizations with an object younger than so many seconds, by the store's clock.

    Raises:
        DamagedError: an experiment can't be read, so its references aren't known.
    """
    # Objects first, then references, so that new references are seen.
    places = [(place, tuple(found)) for place, found in itertools.groupby(store.list("objects/"), _place) if place]
    sources = list(store.list(mirrors.ROOT))
    leftovers = list(store.leftovers())
    versions = references.read(store)
    current = keys(_newest(versions))
    older = keys(versions) - current
    everything = itertools.chain(*(objects for _, objects in places), sources, leftovers, store.list(references.ROOT))
    newest = max((found.modified for found in everything), default=0.0)

    def of_place(place: str, objects: tuple[Stat, ...]) -> Garbage | None:
        key = place.split("/")[2]
        names = {found.name.removeprefix(place): found for found in objects}
        if key in current or (key in older and not superseded):
            if MANIFEST in names and (rolling := [f for n, f in names.items() if n.startswith(ROLLING)]):
                return Garbage(f"{place}{ROLLING}", "left over; the work is complete", tuple(rolling), NOTHING)
            return None
        is_young = newest - max(found.modified for found in objects) < grace_s
        if is_young or _may_be_held(store, names.get(leases.NAME), newest):
            return None
        needed_by = frozenset({key} | versions_named(store, place))
        if needed_by & current or (needed_by & older and not superseded):
            return None
        reason = _reason(needed_by, older)
        return Garbage(place, reason if MANIFEST in names else f"never finished, and {reason}", objects, needed_by)

    garbage = [found for found in parallel.each(lambda each: of_place(*each), places) if found]
    for found in sources:
        if not (match := mirrors.NAME.fullmatch(found.name)) or newest - found.modified < grace_s:
            continue
        sha256 = match["sha256"]
        if sha256 not in current and (superseded or sha256 not in older):
            names_of_source = frozenset({sha256})
            garbage.append(Garbage(found.name, _reason(names_of_source, older), (found,), names_of_source))
    for found in leftovers:
        if newest - found.modified >= grace_s:
            garbage.append(Garbage(found.name, "left by a killed writer", (found,), NOTHING))
    return garbage


def delete(
    store: ObjectStore, garbage: Iterable[Garbage], advance: Callable[[int], None] = lambda _: None
) -> list[Garbage]:
    """Delete garbage, except what became needed since `collect`; return what was deleted.

    Args:
        store: Where.
        garbage: The result of `collect`.
        advance: Called with the number of objects that were just deleted.
    """

    def remove(found: Stat) -> None:
        store.delete(found.name)
        advance(1)

    gone = []
    seen: tuple[Stat, ...] | None = None
    needed: set[str] = set()
    for item in garbage:
        # A new experiment may need a finished realization that no experiment needed before.
        if (versions := tuple(store.list(references.ROOT))) != seen:
            seen, needed = versions, keys(_newest(references.read(store)))
        if item.names & needed:
            continue
        # The manifest is deleted first, so that a half-deleted realization doesn't look complete.
        for first in (True, False):
            parallel.each(remove, [found for found in item.objects if found.name.endswith(f"/{MANIFEST}") == first])
        gone.append(item)
    return gone


def keys(versions: Iterable[references.Reference]) -> set[str]:
    """Everything in the graphs that looks like a key, and the versions' digests."""
    return {
        name
        for version in versions
        for name in (version.digest, *KEY.findall(derivations.canonical_json(version.graph)))
    }


def versions_named(store: ObjectStore, place: str) -> set[str]:
    """Digests of experiments' versions in a realization's derivation."""
    try:
        return set(DIGEST.findall(store.get(f"{place}{DERIVATION}")[0].decode("utf-8", "replace")))
    except NotFoundError:
        return set()


def _newest(versions: Iterable[references.Reference]) -> list[references.Reference]:
    """The current version of each experiment."""
    newest: dict[str, references.Reference] = {}
    for version in versions:
        if version.name not in newest or newest[version.name].submitted < version.submitted:
            newest[version.name] = version
    return list(newest.values())


def _reason(names: frozenset[str], older: set[str]) -> str:
    return "only older versions of an experiment need it" if names & older else "no experiment needs it"


def _place(found: Stat) -> str:
    match = PLACE.match(found.name)
    return match[0] if match else ""


def _may_be_held(store: ObjectStore, lease: Stat | None, newest: float) -> bool:
    if lease is None or newest - lease.modified > LEASE_S:
        return False
    return leases.find(store, lease.name.removesuffix(leases.NAME)) is not None
