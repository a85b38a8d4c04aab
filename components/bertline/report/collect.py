"""Reads the manifests of an experiment's graph; a missing manifest is a gap."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from bertline.errors import DamagedError
from bertline.experiment import graphs
from bertline.experiment.graphs import Graph, Node
from bertline.experiment.specs import Experiment
from bertline.process import parallel
from bertline.report import manifests
from bertline.report.manifests import CorpusManifest, Manifest, VocabularyManifest
from bertline.store import histories, realizations
from bertline.store.histories import History
from bertline.store.objects import ObjectStore
from bertline.store.references import Reference

M = TypeVar("M", bound=Manifest, covariant=True)
Shape = TypeVar("Shape", bound=Manifest)


@dataclass(frozen=True)
class Item(Generic[M]):
    """A node of the graph, done or not."""

    node: Node
    manifest: M | None
    history: History

    @property
    def reason(self) -> str:
        """Why there is no manifest, in a few words; empty if there is one."""
        return "" if self.manifest else str(self.history.state)


@dataclass(frozen=True)
class Collected:
    """All data of the report."""

    graph: Graph
    items: tuple[Item[Any], ...]
    """One for each node, in the graph's order."""

    @property
    def experiment(self) -> Experiment:
        """The experiment with all defaults."""
        return self.graph.experiment

    def of(self, shape: type[Shape], **place: Any) -> list[Item[Shape]]:
        """Items of a stage, by the class of its manifest; `place` as in `Graph.select`."""
        return [item for item in self.items if item.node.has(stage=shape.STAGE, **place)]

    @property
    def vocabulary(self) -> Item[VocabularyManifest]:
        """The vocabulary of all runs."""
        return self.of(VocabularyManifest)[0]

    @property
    def corpus(self) -> Item[CorpusManifest]:
        """The corpus of all runs."""
        return self.of(CorpusManifest)[0]

    def realizations(self) -> list[Item[Manifest]]:
        """Every realization once; two runs may share one."""
        return list({(item.node.stage, item.node.key): item for item in reversed(self.items)}.values())[::-1]

    def gaps(self) -> list[Item[Manifest]]:
        """Items that aren't done yet."""
        return [item for item in self.realizations() if item.manifest is None]


def collect(store: ObjectStore, reference: Reference) -> Collected:
    """Read all manifests of a version of an experiment.

    Raises:
        DamagedError: a manifest can't be read or lacks a result, or the graph isn't one; names the object.
        UserError: an older bertline wrote the graph.
        OutageError: the store can't be reached.
    """
    graph = graphs.read(store, reference)
    asked = {(node.stage, node.key): node for node in graph.nodes}
    found = dict(zip(asked, parallel.each(lambda node: _find(store, node), asked.values()), strict=True))
    return Collected(graph, tuple(Item(node, *found[node.stage, node.key]) for node in graph.nodes))


def _find(store: ObjectStore, node: Node) -> tuple[Manifest | None, History]:
    history = histories.read(store, node.stage, node.key)
    found = history.realization
    if found is None:
        return None, history
    try:
        return manifests.shape(node.stage).model_validate(found.manifest.model_dump()), history
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise DamagedError(
            f"{store.uri}/{found.prefix}{realizations.MANIFEST} is damaged: "
            f"{'.'.join(map(str, problem['loc'])) or 'its figures'}: {problem['msg']}"
        ) from error
