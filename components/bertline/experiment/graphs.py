"""Everything that an experiment leads to, as one graph: plan, report, logs, status and pull walk its nodes.

A graph is unrolled from an experiment (`unrolling`), or read from the store as the reverse of writing it there. Nodes
have their configurations only in the first case; all else is the same.
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
    """One result: what it is for, which key it has, which task makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    key: Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
    task: str
    """Name of the task that makes it; nodes that differ only in their seed of fine-tuning share one."""
    needs: tuple[str, ...] = ()
    """Tasks whose results it needs."""
    run: str = ""
    """Model and seed, as `6L` or `6L-seed2`; empty for what all runs share."""
    model: str = ""
    """Empty for what all models share."""
    seed: int | None = None
    """Of pre-training; None for what all runs share."""
    epoch: int = 0
    """At which the round ends; 0 for what belongs to none."""
    glue_task: str = ""
    """What was fine-tuned on, as `MNLI-m`; empty for all else."""
    fine_tuning_seed: int | None = None
    steps: int = 0
    """Gradient steps of pre-training."""
    config: StageConfig | None = Field(None, exclude=True, repr=False)
    """None if the node was read from a store."""

    @classmethod
    def of(cls, config: StageConfig, needs: Iterable[str] = (), *, task: str = "", **place: Any) -> Self:
        """The node of a configuration, with its key.

        Args:
            config: Of the stage.
            needs: Names of tasks.
            task: Name of its own; `task_name` by default.
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
        """Its place in the experiment, whatever its key: the same in two versions of it."""
        return self.stage, self.model, self.seed, self.epoch, self.glue_task, self.fine_tuning_seed


@dataclass(frozen=True)
class Task:
    """What one pod or process does: nodes of one stage, one after the other."""

    nodes: tuple[Node, ...]
    """One at least."""

    @property
    def name(self) -> str:
        """`corpus`, `6L-pretrain-10`, `6L-evaluate-10-MNLI-m`: a valid KFP task name's beginning, unique."""
        return self.nodes[0].task

    @property
    def stage(self) -> str:
        """Of all its nodes."""
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
        """Of what it makes."""
        return tuple(node.key for node in self.nodes)


@dataclass(frozen=True)
class Graph:
    """An experiment and all it leads to but the report, whose key follows from the rest."""

    experiment: Experiment
    nodes: tuple[Node, ...]
    """In an order that respects what they need; rounds of one run together."""
    document: dict[str, Any]
    """As the store's reference keeps it. `resolved` isn't in the digest (see `references.digest`), and `experiment`
    lacks what has its default: so an option that is added later makes no new version of an old experiment."""

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
        """The reverse: from `document`, without configurations.

        Raises:
            KeyError, TypeError, ValidationError: it isn't one.
        """
        nodes = tuple(Node.model_validate(node) for node in document["nodes"])
        return cls(Experiment.model_validate(document["resolved"]), nodes, document)

    @cached_property
    def by_place(self) -> dict[tuple[str | int | None, ...], Node]:
        """Nodes by their place in the experiment."""
        return {node.place: node for node in self.nodes}

    @cached_property
    def digest(self) -> str:
        """Tells this version of the experiment from others."""
        return references.digest(self.document)

    @property
    def report(self) -> Node:
        """The report, which needs all else."""
        config = ReportConfig(name=self.experiment.name, graph=self.digest)
        return Node.of(config, dict.fromkeys(node.task for node in self.nodes))

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of all runs."""
        return tuple(dict.fromkeys(node.run for node in self.nodes if node.run))

    def tasks(self) -> tuple[Task, ...]:
        """All tasks in an order that respects what they need, the report last."""
        tasks: dict[str, list[Node]] = {}
        for node in (*self.nodes, self.report):
            tasks.setdefault(node.task, []).append(node)
        return tuple(Task(tuple(nodes)) for nodes in tasks.values())

    def select(self, stage: str, **place: Any) -> tuple[Node, ...]:
        """Nodes of a stage in which these fields have these values: `select("evaluate", run="6L", epoch=10)`."""
        return tuple(node for node in self.nodes if node.has(stage=stage, **place))

    def configs(self, kind: type[Config], **place: Any) -> tuple[Config, ...]:
        """The same for configurations, by their class."""
        found = (node.config for node in self.select(kind.STAGE, **place))
        return tuple(config for config in found if isinstance(config, kind))


def task_name(stage: str, run: str = "", epoch: int = 0, glue_task: str = "") -> str:
    """By which all commands, logs and pods know a task."""
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
            f"{place} was written by an older version of bertline, and this one can't read it. Nothing of it is "
            "deleted. `bertline run` or `bertline submit` with the experiment's file writes it anew"
        )
    try:
        return Graph.read(reference.graph)
    except (KeyError, TypeError, ValidationError) as error:
        raise DamagedError(
            f"{place} isn't the graph of an experiment that this version of bertline knows: {redacted(str(error))}"
        ) from error
