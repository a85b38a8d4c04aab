"""Why a result is missing: what has changed since it was there last, and how far attempts at it have come.

The first comes from the version of the experiment before this one: the same result's derivation, as the store keeps it,
is compared field by field. Where only the key of an input differs, the change is upstream, and that task is named. The
second comes from what lies at the result's own key: a lease, and the events of its attempts.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bertline.errors import UserError
from bertline.experiment import graphs
from bertline.experiment.graphs import Graph, Node
from bertline.pretrain.config import PretrainConfig
from bertline.stage.configs import StageConfig
from bertline.store import attempts, derivations, leases, realizations, references
from bertline.store.derivations import Key
from bertline.store.objects import NotFoundError, ObjectStore
from bertline_pipelines.planning.plans import Plan
from bertline_pipelines.records import task_logs

ASKING_THREADS = 16  # a bucket's latency is what counts
SILENT_S = 300.0
"""A lease that was renewed longer ago, by this machine's clock, may be that of an attempt that was killed."""


@dataclass(frozen=True)
class Change:
    """A field that has another value than in the version before."""

    field: str
    """`learning_rate.peak`."""
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.field} {_shown(self.before)} → {_shown(self.now)}"


@dataclass(frozen=True)
class Reason:
    """Of one result that is missing."""

    key: Key
    state: str
    """`never begun`, `at work`, `stopped` (killed, preempted, interrupted) or `failed`."""
    changes: tuple[Change, ...] = ()
    """Since the version before."""
    follows: str = ""
    """The result that this one is made of and that has changed; empty if there is none, or it has changes itself."""
    is_new: bool = False
    """True if the version before has no such result."""
    holder: str = ""
    """Who is at work."""
    message: str = ""
    """Of the failure."""
    saved_steps: int = 0
    """Of pre-training: what the next attempt needn't do again."""
    steps: int = 0
    """Of pre-training: the whole round."""

    def __str__(self) -> str:
        why = [str(change) for change in self.changes]
        if self.follows:
            why.append(f"{self.follows} has changed")
        if self.state == "at work":
            why.append(f"at work: {self.holder}")
        elif self.state == "failed":
            why.append(f"failed: {self.message}")
        elif self.state == "stopped":
            why.append("stopped")
        elif not why:
            why.append("new in this version" if self.is_new else "never begun")
        if self.saved_steps:
            why.append(f"{self.saved_steps:,} of {self.steps:,} steps saved")
        return ", ".join(why)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "key": self.key,
            "state": self.state,
            "why": str(self),
            "changes": [{"field": each.field, "before": each.before, "now": each.now} for each in self.changes],
            "follows": self.follows or None,
            "new": self.is_new,
            "holder": self.holder or None,
            "message": self.message or None,
            "saved_steps": self.saved_steps,
            "steps": self.steps,
        }


def explain(plan: Plan, store: ObjectStore) -> dict[str, tuple[Reason, ...]]:
    """Why each task that isn't done isn't, a reason a result. Reads, and writes nothing."""
    before = _before(plan.graph, store)
    left = [(task.name, node) for task in plan.tasks for node in task.left]
    with ThreadPoolExecutor(ASKING_THREADS) as pool:
        found = list(pool.map(lambda each: _reason(each[1], plan.graph, before, store), left))
    names = dict.fromkeys(name for name, _ in left)
    pairs = list(zip(left, found, strict=True))
    return {name: tuple(reason for (task, _), reason in pairs if task == name) for name in names}


def _before(graph: Graph, store: ObjectStore) -> Graph | None:
    """The version before this one, which needn't be in the store; None if there is none that can be read."""
    others = [each for each in references.read(store, graph.experiment.name) if each.digest != graph.digest]
    newest = max(others, key=lambda version: version.submitted, default=None)
    try:
        return graphs.read(store, newest) if newest else None
    except UserError:
        return None  # an older bertline's: all keys have changed since


def _reason(node: Node, graph: Graph, before: Graph | None, store: ObjectStore) -> Reason:
    config = node.config
    assert config is not None  # the graph was unrolled here
    standing = _standing(config, store)
    if before is None or node.place not in graph.by_place:  # the report and parts have no place in a version
        return standing
    earlier = before.by_place.get(node.place)
    if earlier is None:
        return _with(standing, is_new=True)
    prefix = derivations.prefix(node.stage, earlier.key)
    if earlier.key == node.key or store.stat(f"{prefix}{realizations.MANIFEST}") is None:
        return standing  # nothing has changed, or that one was never there either
    try:
        asked = json.loads(store.get(f"{prefix}{realizations.DERIVATION}")[0])
    except (NotFoundError, ValueError):
        return standing  # `bertline store verify` complains
    if changes := tuple(_changes(config, asked, before.document, graph.document)):
        return _with(standing, changes=changes)
    now = config.derivation().inputs
    differing = {key for name, key in now.items() if asked["inputs"].get(name) != key}
    return _with(standing, follows=next((each.task for each in graph.nodes if each.key in differing), ""))


def _with(reason: Reason, **fields: Any) -> Reason:
    return Reason(**(vars(reason) | fields))


def _changes(
    config: StageConfig, asked: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Change]:
    """Fields of the stage's own configuration; the learning rate's as the experiment has them, not in pieces."""
    derivation = config.derivation()
    if asked["version"] != derivation.version:
        yield Change("algorithm version", asked["version"], derivation.version)
    differing = list(_differences(asked.get("resolved", {}), derivation.resolved))
    yield from (each for each in differing if not _is_schedule(config, each))
    if any(_is_schedule(config, each) for each in differing):
        were, are = (graph.get("resolved", {}).get("pretrain", {}) for graph in (before, now))
        rates = [{"learning_rate": section.get("learning_rate")} for section in (were, are)]
        own = list(_differences(rates[0], rates[1]))
        yield from own or (Change(name, were.get(name), are[name]) for name in LENGTHS if were.get(name) != are[name])


LENGTHS = ("epochs", "epochs_per_round")
"""By which a schedule that itself is the same has other learning rates."""


def _is_schedule(config: StageConfig, change: Change) -> bool:
    return isinstance(config, PretrainConfig) and change.field == "learning_rate"


def _differences(before: Any, now: Any, field: str = "") -> Iterator[Change]:
    """Leaf by leaf; a field that one side hasn't got is None there."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*now, *before]):
            yield from _differences(before.get(name), now.get(name), f"{field}.{name}" if field else name)
    elif json.loads(json.dumps(before)) != json.loads(json.dumps(now)):  # tuples are lists in the store
        yield Change(field, before, now)


def _standing(config: StageConfig, store: ObjectStore) -> Reason:
    """How far attempts at a result have come."""
    key = config.derivation().key
    prefix = derivations.prefix(config.STAGE, key)
    numbers = attempts.numbers(store, prefix)
    if not numbers:
        return Reason(key, "never begun")
    last = attempts.events(store, prefix, numbers[-1])
    saved = {}
    if isinstance(config, PretrainConfig):
        steps = [last, *(attempts.events(store, prefix, number) for number in reversed(numbers[:-1]))]
        reached = [each["step"] for log in steps for each in log if each["event"] in ("checkpoint", "resume")]
        done = max(reached, default=config.begin_step) - config.begin_step
        saved = {"saved_steps": done, "steps": config.end_step - config.begin_step}
    if last[-1]["event"] == "failed":
        return _with(Reason(key, "failed", message=_sentence(last[-1])), **saved)
    holder = _holder(store, prefix)
    return _with(Reason(key, "at work" if holder else "stopped", holder=holder), **saved)


def _holder(store: ObjectStore, prefix: str) -> str:
    """Who is at work, and whether that is certain; empty if nobody is."""
    try:
        content, _ = store.get(f"{prefix}{leases.NAME}")
        found = store.stat(f"{prefix}{leases.NAME}")
    except NotFoundError:
        return ""
    if found is None or leases.is_left(content):
        return ""
    silent = time.time() - found.modified
    doubt = f" (or killed: no sign of life for {silent / 60:,.0f} min)" if silent > SILENT_S else ""
    return f"{leases.whose(content)}{doubt}"


def _sentence(event: Mapping[str, Any]) -> str:
    """A failure's message in a line: without what retrying is told, without a traceback's lines."""
    ended = task_logs.ending(dict(event))
    return re.sub(r"^failed( \(exit code \d+\))?:? ?", "", ended) or ended


def _shown(value: Any) -> str:
    """A value for people: a checksum by its beginning."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", text)
