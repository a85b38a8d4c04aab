"""From a graph and a store to what is left to do: the tasks, what each waits for, and which are done already.

The store is asked before anything is scheduled, so a finished round costs one GET here and no pod anywhere.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from bertline.corpus.config import CorpusPartConfig
from bertline.report.config import ReportConfig
from bertline.stages import StageConfig
from bertline.store import realizations, references
from bertline.store.objects import ObjectStore
from bertline_pipelines.graphs import Graph

ASKING_THREADS = 16  # manifests are small; a bucket's latency is what counts


@dataclass(frozen=True)
class Task:
    """One pod or process: realizes its configurations in turn."""

    name: str
    """`corpus`, `6L-pretrain-10`, `6L-evaluate-10-MNLI-m`: a valid KFP task name's beginning, unique in the plan."""
    stage: str
    configs: tuple[StageConfig, ...]
    after: tuple[str, ...]
    """Tasks whose results it needs."""
    run: str = ""
    """Model and seed, as `6L` or `6L-seed2`; empty for what all runs share."""
    epoch: int = 0
    """At which the round ends; 0 for what belongs to none."""
    steps: int = 0
    """Gradient steps of pre-training."""
    done: tuple[bool, ...] = ()
    """Which of the configurations are realized already."""

    @property
    def finished(self) -> bool:
        """True if nothing is left to do."""
        return all(self.done)

    @property
    def missing(self) -> str:
        """JSON list of the configurations that are left: the task's `config` argument."""
        left = [config for config, done in zip(self.configs, self.done, strict=True) if not done]
        return json.dumps(
            [config.model_dump(mode="json") for config in left], ensure_ascii=False, separators=(",", ":")
        )


@dataclass(frozen=True)
class Plan:
    """All tasks of an experiment in an order that respects what they need."""

    graph: Graph
    tasks: tuple[Task, ...]

    @property
    def missing(self) -> tuple[Task, ...]:
        """What has to run, without what is done; a task waits only for others that have to run."""
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
                    "keys": [config.derivation().key for config in task.configs],
                }
                for task in self.tasks
            ],
            "steps_missing": sum(task.steps for task in self.missing),
        }


def plan(graph: Graph, store: ObjectStore | None, corpus_pods: int = 1) -> Plan:
    """Compare a graph with a store. Reads manifests, writes nothing.

    Args:
        graph: Of the experiment.
        store: Where; None takes everything for missing.
        corpus_pods: Tasks that share each of the corpus' passes.
    """
    tasks = list(_tasks(graph, corpus_pods))
    configs = [config for task in tasks for config in task.configs]
    with ThreadPoolExecutor(ASKING_THREADS) as pool:
        found = iter(list(pool.map(lambda config: store is not None and _is_done(config, store), configs)))
    planned = {task.name: replace(task, done=tuple(next(found) for _ in task.configs)) for task in tasks}
    if planned["corpus"].finished and corpus_pods > 1:  # then nobody needs its parts any more
        return plan(graph, store)
    return Plan(graph, tuple(planned.values()))


def _tasks(graph: Graph, corpus_pods: int) -> Iterator[Task]:
    yield Task("vocabulary", "vocabulary", (graph.vocabulary,), ())
    before: tuple[str, ...] = ("vocabulary",)
    for work in ("map", "reduce") if corpus_pods > 1 else ():  # one pod does both passes by itself
        names = tuple(f"corpus-{work}-{index + 1}" for index in range(corpus_pods))
        for index, name in enumerate(names):
            part = CorpusPartConfig(corpus=graph.corpus, work=work, index=index, count=corpus_pods)
            yield Task(name, "corpus-part", (part,), before)
        before = names
    yield Task("corpus", "corpus", (graph.corpus,), before)
    wanted = ["corpus"]
    for run in graph.runs:
        milestone = "corpus"
        for turn in run.rounds:
            epoch = turn.pretrain.end_epoch
            name = f"{run.name}-pretrain-{epoch}"
            steps = turn.pretrain.end_step - turn.pretrain.begin_step
            yield Task(name, "pretrain", (turn.pretrain,), (milestone,), run.name, epoch, steps)
            milestone = name
            wanted.append(name)
            for task in graph.experiment.evaluate.tasks:
                seeds: Sequence[StageConfig] = [each for each in turn.evaluations if each.task == task]
                wanted.append(f"{run.name}-evaluate-{epoch}-{task}")
                yield Task(wanted[-1], "evaluate", tuple(seeds), (name,), run.name, epoch)
    report = ReportConfig(name=graph.experiment.name, graph=references.digest(graph.document()))
    yield Task("report", "report", (report,), tuple(wanted))


def _is_done(config: StageConfig, store: ObjectStore) -> bool:
    return realizations.find(store, config.STAGE, config.derivation().key) is not None
