"""The graph of all results of an experiment, which plan, report, logs, status and pull use.

A graph is made from an experiment (`unrolling`) or read from the store. Only in the first case nodes have their
configurations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bertline.addresses import redacted
from bertline.errors import DamagedError, UserError
from bertline.experiment.specs import Experiment
from bertline.report.config import ReportConfig
from bertline.sources.files import Source
from bertline.stage.configs import StageConfig
from bertline.store import references
from bertline.store.derivations import KEY_PATTERN
from bertline.store.objects import ObjectStore
from bertline.store.references import Reference

Config = TypeVar("Config", bound=StageConfig)


class Node(BaseModel):
    """One result: its place in the experiment, its key, its task."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    key: Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
    task: str
    """Name of its task; nodes that differ only in the seed of fine-tuning share a task."""
    needs: tuple[str, ...] = ()
    """Tasks whose results it needs."""
    run: str = ""
    """Model and seed, such as `6L` or `6L-seed2`; empty for a result that all runs share."""
    model: str = ""
    """Name of the model; empty for a result that all models share."""
    seed: int | None = None
    """Seed of pre-training; None for a result that all runs share."""
    epoch: int = 0
    """Last epoch of the round; 0 for a result without a round."""
    glue_task: str = ""
    """Task of the fine-tuning, such as `MNLI-m`; empty for other results."""
    fine_tuning_seed: int | None = None
    steps: int = 0
    """Gradient steps of pre-training."""
    config: StageConfig | None = Field(None, exclude=True, repr=False)
    """None if the node was read from a store."""

    @classmethod
    def of(cls, config: StageConfig, needs: Iterable[str] = (), *, task: str = "", **place: Any) -> Self:
        """The node of a configuration, with its key.

        Args:
            config: The stage's configuration.
            needs: Names of tasks.
            task: Name of its task; `task_name` by default.
            place: The other fields.
        """
        where = {name: place[name] for name in ("run", "epoch", "glue_task") if name in place}
        return cls(
            stage=config.STAGE,
            key=config.derivation().key,
            task=task or task_name(config.STAGE, **where),
            needs=tuple(needs),
            config=config,
            **place,
        )

    def has(self, **fields: Any) -> bool:
        """True if these fields have these values."""
        return all(getattr(self, name) == value for name, value in fields.items())

    @property
    def place(self) -> tuple[str | int | None, ...]:
        """Its place in the experiment, independent of its key; the same in two versions of the experiment."""
        return self.stage, self.model, self.seed, self.epoch, self.glue_task, self.fine_tuning_seed


@dataclass(frozen=True)
class Task:
    """The work of one pod or process: nodes of one stage, one after the other."""

    nodes: tuple[Node, ...]
    """At least one node."""

    @property
    def name(self) -> str:
        """`corpus`, `6L-pretrain-10`, `6L-evaluate-10-MNLI-m`: unique, and a valid beginning of a KFP task name."""
        return self.nodes[0].task

    @property
    def stage(self) -> str:
        """The stage of its nodes."""
        return self.nodes[0].stage

    @property
    def run(self) -> str:
        """See `Node.run`."""
        return self.nodes[0].run

    @property
    def epoch(self) -> int:
        """See `Node.epoch`."""
        return self.nodes[0].epoch

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks whose results it needs."""
        return self.nodes[0].needs

    @property
    def steps(self) -> int:
        """Gradient steps of pre-training."""
        return sum(node.steps for node in self.nodes)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of its results."""
        return tuple(node.key for node in self.nodes)


@dataclass(frozen=True)
class Graph:
    """An experiment and all its results except the report, whose key follows from the others."""

    experiment: Experiment
    nodes: tuple[Node, ...]
    """Each node after those that it needs; rounds of a run are adjacent."""
    document: dict[str, Any]
    """The document in the store's reference. `resolved` isn't in the digest (see `references.digest`), and `experiment`
    has no fields with default values, so a new option doesn't make a new version of an old experiment."""

    @classmethod
    def of(cls, experiment: Experiment, nodes: Iterable[Node]) -> Self:
        """The graph of these nodes; its document names files without their folder."""
        named = experiment.with_sources(Source.by_name)
        nodes = tuple(nodes)
        document = {
            "experiment": named.model_dump(mode="json", exclude_defaults=True),
            "resolved": named.model_dump(mode="json"),
            "nodes": [node.model_dump(mode="json", exclude_defaults=True) for node in nodes],
        }
        return cls(experiment, nodes, document)

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        """Read a graph from its `document`, without configurations.

        Raises:
            KeyError, TypeError, ValidationError: it isn't a graph.
        """
        nodes = tuple(Node.model_validate(node) for node in document["nodes"])
        return cls(Experiment.model_validate(document["resolved"]), nodes, document)

    @cached_property
    def by_place(self) -> dict[tuple[str | int | None, ...], Node]:
        """Nodes by their place in the experiment."""
        return {node.place: node for node in self.nodes}

    @cached_property
    def digest(self) -> str:
        """Identifies this version of the experiment."""
        return references.digest(self.document)

    @property
    def report(self) -> Node:
        """The report, which needs all other results."""
        config = ReportConfig(name=self.experiment.name, graph=self.digest)
        return Node.of(config, dict.fromkeys(node.task for node in self.nodes))

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of all runs."""
        return tuple(dict.fromkeys(node.run for node in self.nodes if node.run))

    def tasks(self) -> tuple[Task, ...]:
        """All tasks, each after those that it needs; the report is last."""
        tasks: dict[str, list[Node]] = {}
        for node in (*self.nodes, self.report):
            tasks.setdefault(node.task, []).append(node)
        return tuple(Task(tuple(nodes)) for nodes in tasks.values())

    def select(self, stage: str, **place: Any) -> tuple[Node, ...]:
        """Nodes of a stage with these values: `select("evaluate", run="6L", epoch=10)`."""
        return tuple(node for node in self.nodes if node.has(stage=stage, **place))

    def configs(self, kind: type[Config], **place: Any) -> tuple[Config, ...]:
        """Configurations of a class, from nodes with these values."""
        found = (node.config for node in self.select(kind.STAGE, **place))
        return tuple(config for config in found if isinstance(config, kind))


def task_name(stage: str, run: str = "", epoch: int = 0, glue_task: str = "") -> str:
    """A task's name in commands, logs and pods."""
    return "-".join(filter(None, (run, stage, str(epoch or ""), glue_task)))


def read(store: ObjectStore, reference: Reference) -> Graph:
    """The graph of a version of an experiment.

    Raises:
        UserError: an older bertline wrote it.
        DamagedError: it isn't a graph; names the object.
    """
    place = f"{store.uri}/{references.ROOT}{reference.name}/{reference.digest}.json"
    if "nodes" not in reference.graph and "runs" in reference.graph:
        raise UserError(
            f"{place} was written by an older version of bertline, and this version can't read it. Nothing was "
            "deleted. `bertline run` or `bertline submit` with the experiment file writes it again"
        )
    try:
        return Graph.read(reference.graph)
    except (KeyError, TypeError, ValidationError) as error:
        raise DamagedError(
            f"{place} isn't a graph that this version of bertline can read: {redacted(str(error))}"
        ) from error
