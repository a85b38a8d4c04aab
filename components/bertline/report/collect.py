"""From the graph of an experiment to what its manifests say, with a gap where there is none yet."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from bertline.addresses import redacted
from bertline.errors import DamagedError
from bertline.experiments import Experiment
from bertline.report.manifests import (
    CorpusManifest,
    EvaluateManifest,
    PretrainManifest,
    VocabularyManifest,
)
from bertline.store import attempts, realizations
from bertline.store.derivations import Key, prefix
from bertline.store.objects import ObjectStore
from bertline.store.references import Reference

THREADS = 16  # a manifest is one GET of a few kilobytes: latency is all that counts

AnyManifest = VocabularyManifest | CorpusManifest | PretrainManifest | EvaluateManifest
M = TypeVar("M", bound=AnyManifest, covariant=True)

SHAPES: dict[str, type[AnyManifest]] = {
    "vocabulary": VocabularyManifest,
    "corpus": CorpusManifest,
    "pretrain": PretrainManifest,
    "evaluate": EvaluateManifest,
}


@dataclass(frozen=True)
class Item(Generic[M]):
    """One realization that the experiment leads to, done or not."""

    stage: str
    key: Key
    manifest: M | None
    reason: str
    """Why there is no manifest; empty if there is one."""


@dataclass(frozen=True)
class Evaluation:
    """One fine-tuning of a milestone."""

    task: str
    seed: int
    item: Item[EvaluateManifest]


@dataclass(frozen=True)
class Round:
    """A milestone and its evaluations."""

    epoch: int
    """The round's last epoch."""
    pretrain: Item[PretrainManifest]
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True)
class Run:
    """All rounds of one model with one seed."""

    name: str
    model: str
    seed: int
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class Collected:
    """All that the report says comes from here."""

    name: str
    digest: str
    experiment: Experiment
    vocabulary: Item[VocabularyManifest]
    corpus: Item[CorpusManifest]
    runs: tuple[Run, ...]

    def items(self) -> Iterator[Item[AnyManifest]]:
        """Every realization once, in the order in which they depend on each other; rounds of one run together."""
        seen = set()
        for item in self._items():
            if item.key not in seen:
                seen.add(item.key)
                yield item

    def _items(self) -> Iterator[Item[AnyManifest]]:
        yield self.vocabulary
        yield self.corpus
        for run in self.runs:
            for turn in run.rounds:
                yield turn.pretrain
                for evaluation in turn.evaluations:
                    yield evaluation.item

    def gaps(self) -> list[Item[AnyManifest]]:
        """What isn't done yet."""
        return [item for item in self.items() if item.manifest is None]


def collect(store: ObjectStore, reference: Reference) -> Collected:
    """Read all manifests that a version of an experiment leads to.

    Raises:
        DamagedError: a manifest can't be read or lacks a result, or the graph isn't one; names the object.
    """
    graph = reference.graph
    try:
        experiment = Experiment.model_validate(graph["resolved"])
        asked = list(_asked(graph))
        with ThreadPoolExecutor(THREADS) as pool:
            items = dict(zip(asked, pool.map(lambda pair: _item(store, *pair), asked), strict=True))
        return Collected(
            name=reference.name,
            digest=reference.digest,
            experiment=experiment,
            vocabulary=items["vocabulary", graph["vocabulary"]],
            corpus=items["corpus", graph["corpus"]],
            runs=tuple(_run(run, items) for run in graph["runs"]),
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise DamagedError(
            f"{store.uri}/experiments/{reference.name}/{reference.digest}.json isn't the graph of an experiment that "
            f"this version of bertline knows: {redacted(str(error))}"
        ) from error


def _asked(graph: dict[str, Any]) -> dict[tuple[str, Key], None]:
    """Stage and key of every realization, once."""
    pairs = [("vocabulary", graph["vocabulary"]), ("corpus", graph["corpus"])]
    for run in graph["runs"]:
        for turn in run["rounds"]:
            pairs.append(("pretrain", turn["pretrain"]))
            pairs += [("evaluate", evaluation["key"]) for evaluation in turn["evaluations"]]
    return dict.fromkeys(pairs)


def _item(store: ObjectStore, stage: str, key: Key) -> Item[Any]:
    found = realizations.find(store, stage, key)
    if found is None:
        return Item(stage, key, None, _reason(store, prefix(stage, key)))
    try:
        return Item(stage, key, SHAPES[stage].model_validate(found.manifest.model_dump()), "")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise DamagedError(
            f"{store.uri}/{found.prefix}{realizations.MANIFEST} is damaged: "
            f"{'.'.join(map(str, problem['loc'])) or 'its figures'}: {problem['msg']}"
        ) from error


def _reason(store: ObjectStore, place: str) -> str:
    """Why a realization isn't there, from the events of its last attempt."""
    events = [log[-1]["event"] for log in attempts.read(store, place) if log]
    match events[-1:]:
        case []:
            return "not run yet"
        case ["failed"]:
            return "failed"
        case ["preempted"]:
            return "interrupted"
        case _:
            return "not finished"


def _run(run: dict[str, Any], items: dict[tuple[str, Key], Item[Any]]) -> Run:
    rounds = tuple(
        Round(
            epoch=turn["epoch"],
            pretrain=items["pretrain", turn["pretrain"]],
            evaluations=tuple(
                Evaluation(evaluation["task"], evaluation["seed"], items["evaluate", evaluation["key"]])
                for evaluation in turn["evaluations"]
            ),
        )
        for turn in run["rounds"]
    )
    return Run(run["name"], run["model"], run["seed"], rounds)
