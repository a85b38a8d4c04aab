"""Why a result is missing: changes since the last version of the experiment, and the progress of attempts.

Changes are found by comparing the derivation of the same result in the last version, field by field. If only the key of
an input differs, the input has changed, and its task is named. Progress comes from `bertline.store.histories`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bertline.errors import UserError
from bertline.experiment import graphs
from bertline.experiment.graphs import Graph, Node
from bertline.pretrain.config import PretrainConfig
from bertline.process import parallel
from bertline.stage.configs import StageConfig
from bertline.store import derivations, histories, realizations, references
from bertline.store.histories import History, State
from bertline.store.objects import NotFoundError, ObjectStore
from bertline_pipelines.planning.plans import Plan


@dataclass(frozen=True)
class Change:
    """A field whose value differs from the last version."""

    field: str
    """`learning_rate.peak`."""
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.field} {_shown(self.before)} → {_shown(self.now)}"


@dataclass(frozen=True)
class Reason:
    """Why one result is missing."""

    node: Node
    history: History
    """Its history in the store."""
    changes: tuple[Change, ...] = ()
    """Changes since the last version."""
    follows: str = ""
    """The input that has changed; empty if there is none, or this result has changes itself."""
    is_new: bool = False
    """True if the last version has no such result."""

    @property
    def saved_steps(self) -> int:
        """Steps of pre-training that the next attempt needn't repeat."""
        if not isinstance(self.node.config, PretrainConfig) or self.history.saved_step is None:
            return 0
        return self.history.saved_step - self.node.config.begin_step

    def __str__(self) -> str:
        why = [str(change) for change in self.changes]
        if self.follows:
            why.append(f"{self.follows} has changed")
        match self.history.state:
            case State.NOT_BEGUN:
                why += [] if why else ["new in this version" if self.is_new else str(State.NOT_BEGUN)]
            case State.AT_WORK:
                why.append(str(self.history))
            case State.FAILED if self.history.failure:
                why.append(f"failed: {self.history.failure.sentence}")
            case state:
                why.append(str(state))
        if self.saved_steps:
            why.append(f"{self.saved_steps:,} of {self.node.steps:,} steps saved")
        return ", ".join(why)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        failure, holder = self.history.failure, self.history.holder
        return {
            "key": self.node.key,
            "state": str(self.history.state),
            "why": str(self),
            "changes": [{"field": each.field, "before": each.before, "now": each.now} for each in self.changes],
            "follows": self.follows or None,
            "new": self.is_new,
            "holder": str(holder) if holder else None,
            "message": failure.sentence if failure else None,
            "exit_code": failure.exit_code if failure else None,
            "saved_steps": self.saved_steps,
            "steps": self.node.steps,
        }


def explain(plan: Plan, store: ObjectStore) -> dict[str, tuple[Reason, ...]]:
    """Name of an unfinished task → a reason for each of its results. Only reads."""
    before = _before(plan.graph, store)
    left = [(task.name, node) for task in plan.tasks for node in task.left]
    found = parallel.each(lambda each: _reason(each[1], plan.graph, before, store), left)
    names = dict.fromkeys(name for name, _ in left)
    pairs = list(zip(left, found, strict=True))
    return {name: tuple(reason for (task, _), reason in pairs if task == name) for name in names}


def _before(graph: Graph, store: ObjectStore) -> Graph | None:
    """The last version before this one; None if there is none that can be read."""
    others = [each for each in references.read(store, graph.experiment.name) if each.digest != graph.digest]
    newest = max(others, key=lambda version: version.submitted, default=None)
    try:
        return graphs.read(store, newest) if newest else None
    except UserError:
        return None  # written by an older bertline, whose keys were different


def _reason(node: Node, graph: Graph, before: Graph | None, store: ObjectStore) -> Reason:
    config = node.config
    assert config is not None  # the graph was unrolled here
    reason = Reason(node, histories.unfinished(store, node.stage, node.key))
    if before is None or node.place not in graph.by_place:  # the report and parts have no place in a version
        return reason
    earlier = before.by_place.get(node.place)
    if earlier is None:
        return replace(reason, is_new=True)
    prefix = derivations.prefix(node.stage, earlier.key)
    if earlier.key == node.key or store.stat(f"{prefix}{realizations.MANIFEST}") is None:
        return reason  # no change, or the old result never existed
    try:
        asked = json.loads(store.get(f"{prefix}{realizations.DERIVATION}")[0])
    except (NotFoundError, ValueError):
        return reason  # `bertline store verify` reports this
    if changes := tuple(_changes(config, asked, before.document, graph.document)):
        return replace(reason, changes=changes)
    now = config.derivation().inputs
    differing = {key for name, key in now.items() if asked["inputs"].get(name) != key}
    return replace(reason, follows=next((each.task for each in graph.nodes if each.key in differing), ""))


def _changes(
    config: StageConfig, asked: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Change]:
    """Changed fields of the stage's configuration; for the learning rate, the experiment's fields."""
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
"""Fields that change the learning rates of an unchanged schedule."""


def _is_schedule(config: StageConfig, change: Change) -> bool:
    return isinstance(config, PretrainConfig) and change.field == "learning_rate"


def _differences(before: Any, now: Any, field: str = "") -> Iterator[Change]:
    """Compare all leaves; a missing field counts as None."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*now, *before]):
            yield from _differences(before.get(name), now.get(name), f"{field}.{name}" if field else name)
    elif json.loads(json.dumps(before)) != json.loads(json.dumps(now)):  # tuples are lists in the store
        yield Change(field, before, now)


def _shown(value: Any) -> str:
    """A value in short form: only the beginning of a checksum."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", text)
