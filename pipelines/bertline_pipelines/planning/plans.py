"""From a graph and a store to a plan: all tasks, their dependencies, and which ones are done.

The store is read before anything is scheduled, so a finished round costs one GET and no pod.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bertline.corpus.config import CorpusConfig, CorpusPartConfig
from bertline.experiment import graphs
from bertline.experiment.graphs import Graph, Node
from bertline.process import parallel
from bertline.stage.configs import StageConfig
from bertline.store import realizations
from bertline.store.objects import ObjectStore


@dataclass(frozen=True)
class Task(graphs.Task):
    """A task of the graph, or a share of one, and its missing results."""

    after: tuple[str, ...]
    """Tasks that must end before it begins."""
    done: tuple[bool, ...] = ()
    """For each node whether it is done."""

    @property
    def configs(self) -> tuple[StageConfig, ...]:
        """Configurations of its nodes."""
        return tuple(node.config for node in self.nodes if node.config)

    @property
    def left(self) -> tuple[Node, ...]:
        """Nodes that aren't done yet."""
        return tuple(node for node, done in zip(self.nodes, self.done, strict=True) if not done)

    @property
    def finished(self) -> bool:
        """True if nothing is left to do."""
        return all(self.done)

    @property
    def missing(self) -> str:
        """JSON list of the missing nodes' configurations, for the task's argument `config`."""
        left = [node.config.model_dump(mode="json") for node in self.left if node.config]
        return json.dumps(left, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Plan:
    """All tasks of an experiment, each after those that it needs."""

    graph: Graph
    tasks: tuple[Task, ...]

    @property
    def missing(self) -> tuple[Task, ...]:
        """Unfinished tasks; `after` contains only unfinished tasks too."""
        names = {task.name for task in self.tasks if not task.finished}
        return tuple(
            replace(task, after=tuple(filter(names.__contains__, task.after)))
            for task in self.tasks
            if task.name in names
        )

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "experiment": self.graph.experiment.name,
            "tasks": [
                {
                    "name": task.name,
                    "stage": task.stage,
                    "state": "done" if task.finished else "missing",
                    "after": list(task.after),
                    "steps": task.steps,
                    "keys": list(task.keys),
                }
                for task in self.tasks
            ],
            "steps_missing": sum(task.steps for task in self.missing),
        }


def plan(graph: Graph, store: ObjectStore | None, corpus_pods: int = 1) -> Plan:
    """Compare a graph with a store. Reads manifests, writes nothing.

    Args:
        graph: The experiment's graph.
        store: The store; None means that every task is missing.
        corpus_pods: Number of tasks that share each of the corpus' passes.
    """
    tasks = list(_tasks(graph, corpus_pods))
    nodes = [node for task in tasks for node in task.nodes]
    found = iter(parallel.each(lambda node: store is not None and _is_done(node, store), nodes))
    planned = {task.name: replace(task, done=tuple(next(found) for _ in task.nodes)) for task in tasks}
    if planned["corpus"].finished and corpus_pods > 1:  # then its parts aren't needed
        return plan(graph, store)
    return Plan(graph, tuple(planned.values()))


def _tasks(graph: Graph, corpus_pods: int) -> Iterator[Task]:
    for task in graph.tasks():
        if task.stage == CorpusConfig.STAGE and corpus_pods > 1:  # a single pod does both passes itself
            yield from _shared(task, graph.configs(CorpusConfig)[0], corpus_pods)
        else:
            yield Task(task.nodes, task.needs)


def _shared(corpus: graphs.Task, config: CorpusConfig, pods: int) -> Iterator[Task]:
    """The tasks for parts of the corpus, and the corpus task after them."""
    before = corpus.needs
    for work in ("map", "reduce"):
        names = tuple(f"{corpus.name}-{work}-{index + 1}" for index in range(pods))
        for index, name in enumerate(names):
            part = CorpusPartConfig(corpus=config, work=work, index=index, count=pods)
            yield Task((Node.of(part, before, task=name),), before)
        before = names
    yield Task(corpus.nodes, before)


def _is_done(node: Node, store: ObjectStore) -> bool:
    return realizations.find(store, node.stage, node.key) is not None
