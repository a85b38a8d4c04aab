"""What nothing refers to.

The roots are the versions of all experiments (`references`): each is a graph that lists every key it needs, so whatever
looks like a key in it is kept, and nothing is followed further. That goes for the checksums of sources as well: a graph
holds the experiment, and the experiment its sources. What is made of a version as a whole, its report, can't have its
key in the graph, because its key follows from the graph. Its derivation holds the version's digest instead, and what
names a version in this way is kept as long as the version. Outside of `objects/<stage>/<key>/` and `sources/<sha256>`
nothing is touched.

Age is measured by the store's own clock: an object's time of modification against the newest one that the store
reports. Our clock may be wrong by hours, and then new work would look old and be deleted. The newest time lies at or
before the store's "now", so things look at most too young, never too old: what is deleted by mistake costs days of
computing, what is kept by mistake costs cents. While anybody works, leases are renewed every few seconds, and the
newest time is as good as "now". Where nobody does, the last things written stay young; `grace_s=0` takes them as well.
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
LEASE_S = 180.0  # a lease this young may be alive, whatever the grace: its holder may have been cut off for a while
NOTHING: frozenset[str] = frozenset()

PLACE = re.compile(r"objects/(?P<stage>[^/]+)/(?P<key>[0-9a-f]{64})/")
KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")


@dataclass(frozen=True)
class Garbage:
    """Objects that may be deleted together."""

    place: str
    """The prefix of the realization, or a single object's name (a source, or what a killed writer left)."""
    reason: str
    objects: tuple[Stat, ...]
    names: frozenset[str]
    """By which an experiment may need it: key of the realization and digests in its derivation, or checksum of the
    source; nothing where what goes is no part of a result."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(found.size for found in self.objects)


def collect(store: ObjectStore, *, superseded: bool = False, grace_s: float = GRACE_S) -> list[Garbage]:
    """List what nothing refers to; deletes nothing.

    Args:
        store: Where.
        superseded: Also what only older versions of an experiment refer to.
        grace_s: Spare sources, and realizations with an object, that are younger than this, by the store's clock.

    Raises:
        DamagedError: an experiment can't be read, so nothing can be said of what it refers to.
    """
    # Objects first, references after: what is referred to while we look is found to be referred to.
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
    """Delete; returns what is gone. What became needed since `collect` is spared.

    Args:
        store: Where.
        garbage: What `collect` found.
        advance: Called with the number of objects just deleted.
    """

    def remove(found: Stat) -> None:
        store.delete(found.name)
        advance(1)

    gone = []
    seen: tuple[Stat, ...] | None = None
    needed: set[str] = set()
    for item in garbage:
        # An experiment submitted a moment ago may count on a finished realization that nobody needed until then.
        if (versions := tuple(store.list(references.ROOT))) != seen:
            seen, needed = versions, keys(_newest(references.read(store)))
        if item.names & needed:
            continue
        # The manifest goes first: a realization that is half deleted must not be taken for a complete one.
        for first in (True, False):
            parallel.each(remove, [found for found in item.objects if found.name.endswith(f"/{MANIFEST}") == first])
        gone.append(item)
    return gone


def keys(versions: Iterable[references.Reference]) -> set[str]:
    """All that looks like a key anywhere in the graphs, and the versions' own digests."""
    return {
        name
        for version in versions
        for name in (version.digest, *KEY.findall(derivations.canonical_json(version.graph)))
    }


def versions_named(store: ObjectStore, place: str) -> set[str]:
    """Digests of versions of experiments that a realization was asked for with, from its derivation."""
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
