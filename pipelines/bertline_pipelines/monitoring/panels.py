"""The panels: what is asked of Prometheus, in which unit the answer is, and why there may be none."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bertline_pipelines.monitoring import expressions

Kind = Literal["stat", "lines", "table", "rounds", "states"]
"""`stat`: current values, large. `lines`: over time. `table`: a row for every round, a column for every query.
`rounds`: one value for every round. `states`: phases over time."""

Style = Literal["line", "dashed", "points", "limit"]
Level = Literal["good", "warning", "bad"]
Unit = Literal["", "bytes", "seconds", "share", "flops", "count", "per second", "loss", "rate", "phase"]
"""`share` is of 1; `rate` is a learning rate: a small number, best written with an exponent; `phase` a number in
`expressions.PHASES`."""

Need = Literal["", "gpu", "gpu peak", "dcgm", "memory limit", "checkpoint", "epoch", "evaluation", "work", "two"]

NEEDS: dict[Need, str] = {
    "gpu": "no GPU",
    "gpu peak": "no GPU whose peak FLOP/s are known",
    "dcgm": "no DCGM exporter, or no GPU",
    "memory limit": "no memory limit",
    "checkpoint": "no checkpoint yet",
    "epoch": "no epoch has ended yet",
    "evaluation": "no evaluation is done yet",
    "work": "nothing at work",
    "two": "not enough samples yet",
}
"""What a query needs to have an answer, and what is shown if that is missing. A query that needs nothing has data
whenever a pod has been scraped. Metrics of a GPU are absent without one, and never zero."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One question to Prometheus."""

    expr: str
    name: str = ""
    """What it is, where a panel has several; a table's column."""
    by: tuple[str, ...] = ("run",)
    """Labels that tell one series from another, in the order people read them."""
    style: Style = "line"
    needs: Need = ""
    """Key of `NEEDS`: why there may be no answer."""
    instant: bool = False
    """Only the value at the end counts."""
    unit: Unit | None = None
    """The panel's, if None."""

    @property
    def legend(self) -> str:
        """A series' name, in Grafana's notation."""
        first, *others = (f"{{{{{label}}}}}" for label in self.by) if self.by else ("",)
        labels = f"{first} · {' '.join(others)}" if others else first
        return f"{labels}, {self.name}" if labels and self.name else labels or self.name


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What belongs into one frame."""

    title: str
    description: str
    kind: Kind
    queries: tuple[Query, ...]
    unit: Unit = ""
    width: int
    """Of 24 columns."""
    minimum: float | None = None
    maximum: float | None = None
    thresholds: tuple[tuple[float, Level], ...] = ()
    """From this value on; below the first all is good."""
    height: int = 8
    columns: dict[str, str] = field(default_factory=dict)
    """Of a table: labels that are shown before the queries, and what they are called."""

    @property
    def missing(self) -> str:
        """What is shown where there is nothing to show."""
        needs = {query.needs for query in self.queries}
        return NEEDS[needs.pop()] if len(needs) == 1 and "" not in needs else "no data"


@dataclass(frozen=True)
class Section:
    """Panels under one heading; the first has none."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


def everything() -> Iterator[tuple[Section, Panel, Query]]:
    """Every query with where it stands."""
    for section in SECTIONS:
        for panel in section.panels:
            for query in panel.queries:
                yield section, panel, query


EACH_ROUND = ("run", "round", "task")

GLANCE = (
    Panel(
        title="State",
        description="What the pod of each round is doing. A round that is done or waits for its turn has none.",
        kind="stat",
        unit="phase",
        width=5,
        height=5,
        queries=(Query(expr=expressions.phases(), by=EACH_ROUND, needs="work", instant=True),),
    ),
    Panel(
        title="Progress of the round",
        description="Steps done of those of this round, or of this fine-tuning.",
        kind="stat",
        unit="share",
        width=5,
        height=5,
        minimum=0,
        maximum=1,
        queries=(
            Query(
                expr=f"({expressions.STEPS} - {expressions.FIRST}) / ({expressions.LAST} - {expressions.FIRST} > 0)",
                by=EACH_ROUND,
                needs="work",
                instant=True,
            ),
        ),
    ),
    Panel(
        title="Time to finish the round",
        description="The steps that are left, at the speed of the last 15 minutes. Checkpoints and what follows the "
        "last step come on top.",
        kind="stat",
        unit="seconds",
        width=5,
        height=5,
        queries=(Query(expr=expressions.TO_FINISH, by=EACH_ROUND, needs="work", instant=True),),
    ),
    Panel(
        title="Training loss",
        description="Total loss (MLM and NSP) of the last steps that were scraped.",
        kind="stat",
        unit="loss",
        width=4,
        height=5,
        queries=(
            Query(
                expr=expressions.LAST_LOSS,
                instant=True,
                needs="work",
            ),
        ),
    ),
    Panel(
        title="Peak GPU memory",
        description="The most that TensorFlow's allocator has held, as a share of what the device has. It may take "
        "about 95 %: from 90 % on a slightly larger batch won't fit.",
        kind="stat",
        unit="share",
        width=5,
        height=5,
        minimum=0,
        maximum=1,
        thresholds=((0.8, "warning"), (0.9, "bad")),
        queries=(Query(expr=expressions.GPU_SHARE, needs="gpu", instant=True),),
    ),
)

MEMORY = (
    Panel(
        title="GPU memory",
        description="Allocator: what TensorFlow's tensors take, now and at most. Device: all that is in use on it "
        "(NVML), with the pool that the allocator keeps, CUDA's own and other processes.",
        kind="lines",
        unit="bytes",
        width=16,
        height=10,
        minimum=0,
        queries=(
            Query(expr=expressions.now("bertline_gpu_allocator_bytes"), name="allocator", by=EACH_ROUND, needs="gpu"),
            Query(
                expr=expressions.now("bertline_gpu_allocator_peak_bytes"),
                name="allocator's peak",
                by=EACH_ROUND,
                needs="gpu",
                style="dashed",
            ),
            Query(
                expr=expressions.now("bertline_gpu_memory_used_bytes"),
                name="device",
                by=EACH_ROUND,
                needs="gpu",
                style="points",
            ),
            Query(expr=expressions.TOTAL_BY_MODEL, name="total", by=("gpu",), needs="gpu", style="limit"),
        ),
    ),
    Panel(
        title="GPU utilisation",
        description="Share of time in which some kernel ran on the device (NVML). High doesn't mean efficient: see "
        "the model FLOP/s.",
        kind="lines",
        unit="share",
        width=8,
        height=10,
        minimum=0,
        maximum=1,
        queries=(Query(expr=expressions.now("bertline_gpu_utilization_ratio"), by=EACH_ROUND, needs="gpu"),),
    ),
    Panel(
        title="Memory of each model and round",
        description="The most in the time that is shown, of rounds that are done as well. The same figures as the "
        "report's, as far as a scrape has seen them.",
        kind="table",
        width=24,
        height=8,
        columns={"run": "run", "stage": "stage", "round": "to epoch", "task": "task"},
        queries=(
            Query(expr=expressions.highest("bertline_batch_size"), name="batch", instant=True, unit="count"),
            Query(expr=expressions.highest("bertline_model_parameters"), name="parameters", instant=True, unit="count"),
            Query(
                expr=expressions.highest("bertline_gpu_allocator_peak_bytes"),
                name="allocator's peak",
                instant=True,
                needs="gpu",
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_gpu_memory_used_bytes"),
                name="device, most",
                instant=True,
                needs="gpu",
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_gpu_memory_total_bytes"),
                name="device, total",
                instant=True,
                needs="gpu",
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_host_memory_peak_bytes"),
                name="host's peak",
                instant=True,
                unit="bytes",
            ),
            Query(
                expr=expressions.highest("bertline_host_memory_limit_bytes"),
                name="host's limit",
                instant=True,
                needs="memory limit",
                unit="bytes",
            ),
        ),
    ),
    Panel(
        title="Host memory",
        description="Resident memory of the process, and the limit of its container.",
        kind="lines",
        unit="bytes",
        width=12,
        minimum=0,
        queries=(
            Query(expr=expressions.now("bertline_host_memory_resident_bytes"), name="resident", by=EACH_ROUND),
            Query(expr=expressions.now("bertline_host_memory_peak_bytes"), name="peak", by=EACH_ROUND, style="dashed"),
            Query(
                expr=expressions.now("bertline_host_memory_limit_bytes", by="stage"),
                name="limit",
                by=("stage",),
                needs="memory limit",
                style="limit",
            ),
        ),
    ),
    Panel(
        title="GPU memory, as DCGM's exporter sees it",
        description="Used memory of the device that the round's pod has, where DCGM's exporter runs with labels of "
        "pods. It sees a pod whose own metrics hang, too.",
        kind="lines",
        unit="bytes",
        width=12,
        minimum=0,
        queries=(Query(expr=expressions.dcgm("DCGM_FI_DEV_FB_USED", "1048576"), by=EACH_ROUND, needs="dcgm"),),
    ),
)

THROUGHPUT = (
    Panel(
        title="Sequences a second",
        description="Of pre-training, pauses included.",
        kind="lines",
        unit="per second",
        width=8,
        minimum=0,
        queries=(
            Query(
                expr=expressions.rate("bertline_training_sequences_total", expressions.PRETRAIN, by="run"), needs="two"
            ),
        ),
    ),
    Panel(
        title="Tokens a second",
        description="Of pre-training, without padding, pauses included.",
        kind="lines",
        unit="per second",
        width=8,
        minimum=0,
        queries=(
            Query(expr=expressions.rate("bertline_training_tokens_total", expressions.PRETRAIN, by="run"), needs="two"),
        ),
    ),
    Panel(
        title="Time spent waiting for data",
        description="Share of the training time. Above 20 % the input is what limits the speed.",
        kind="lines",
        unit="share",
        width=8,
        minimum=0,
        thresholds=((0.2, "bad"),),
        queries=(Query(expr=expressions.WAIT_SHARE, by=("run", "stage"), needs="two"),),
    ),
    Panel(
        title="Model FLOP/s",
        description="Floating-point operations that the model's mathematics needs, a second.",
        kind="lines",
        unit="flops",
        width=12,
        minimum=0,
        queries=(
            Query(expr=expressions.now("bertline_model_flops_per_second", expressions.PRETRAIN, by="run"), needs="two"),
        ),
    ),
    Panel(
        title="Model FLOP utilisation",
        description="Of the device's peak. Small models don't fill a large GPU.",
        kind="lines",
        unit="share",
        width=12,
        minimum=0,
        queries=(
            Query(
                expr=expressions.now("bertline_model_flop_utilization_ratio", expressions.PRETRAIN, by="run"),
                needs="gpu peak",
            ),
        ),
    ),
)

LEARNING = (
    Panel(
        title="MLM loss",
        description="Masked tokens: the mean over the last steps, and on held-out documents at each epoch's end.",
        kind="lines",
        unit="loss",
        width=12,
        height=9,
        queries=(
            Query(
                expr=expressions.now("bertline_training_loss", expressions.PRETRAIN, expressions.MLM, by="run"),
                name="training",
                needs="two",
            ),
            Query(
                expr=expressions.now("bertline_held_out_loss", expressions.PRETRAIN, expressions.MLM, by="run"),
                name="held out",
                needs="epoch",
                style="dashed",
            ),
        ),
    ),
    Panel(
        title="NSP loss",
        description="Next sentence or not; absent if the experiment trains MLM alone.",
        kind="lines",
        unit="loss",
        width=6,
        height=9,
        queries=(
            Query(
                expr=expressions.now("bertline_training_loss", expressions.PRETRAIN, expressions.NSP, by="run"),
                name="training",
                needs="two",
            ),
            Query(
                expr=expressions.now("bertline_held_out_loss", expressions.PRETRAIN, expressions.NSP, by="run"),
                name="held out",
                needs="epoch",
                style="dashed",
            ),
        ),
    ),
    Panel(
        title="Total loss",
        description="What the gradient is of.",
        kind="lines",
        unit="loss",
        width=6,
        height=9,
        queries=(
            Query(
                expr=expressions.now("bertline_training_loss", expressions.PRETRAIN, expressions.TOTAL, by="run"),
                needs="two",
            ),
        ),
    ),
    Panel(
        title="Accuracy in pre-training",
        description="Of masked tokens and of next sentences, on held-out documents.",
        kind="lines",
        unit="share",
        width=12,
        minimum=0,
        maximum=1,
        queries=(
            Query(
                expr=expressions.now("bertline_held_out_accuracy", expressions.PRETRAIN, expressions.MLM, by="run"),
                name="masked tokens",
                needs="epoch",
            ),
            Query(
                expr=expressions.now("bertline_held_out_accuracy", expressions.PRETRAIN, expressions.NSP, by="run"),
                name="next sentence",
                needs="epoch",
                style="dashed",
            ),
        ),
    ),
    Panel(
        title="Learning rate",
        description="Of pre-training.",
        kind="lines",
        unit="rate",
        width=12,
        minimum=0,
        queries=(Query(expr=expressions.now("bertline_learning_rate", expressions.PRETRAIN, by="run"), needs="two"),),
    ),
)

EVALUATION = (
    Panel(
        title="Accuracy of each round",
        description="Of the dev set, mean over fine-tuning seeds, whether the evaluation's pod is still there or not.",
        kind="rounds",
        unit="share",
        width=12,
        minimum=0,
        maximum=1,
        columns={"run": "run", "round": "to epoch", "task": "task"},
        queries=(
            Query(
                expr=expressions.ACCURACY,
                name="accuracy",
                by=EACH_ROUND,
                instant=True,
                needs="evaluation",
            ),
        ),
    ),
    Panel(
        title="Best accuracy so far",
        description="When it was reached. Evaluations of a round run beside the next round's pre-training.",
        kind="lines",
        unit="share",
        width=12,
        queries=(
            Query(
                expr=f"max by (run, task) ({expressions.ACCURACY})",
                by=("run", "task"),
                needs="evaluation",
            ),
        ),
    ),
)

PROGRESS = (
    Panel(
        title="Phases",
        description="What each round's pod was doing.",
        kind="states",
        unit="phase",
        width=24,
        height=7,
        queries=(Query(expr=expressions.phases(), by=EACH_ROUND),),
    ),
    Panel(
        title="Epochs",
        description="Done, over all rounds of pre-training.",
        kind="lines",
        unit="count",
        width=8,
        minimum=0,
        queries=(Query(expr=expressions.now("bertline_training_epoch", expressions.PRETRAIN, by="run")),),
    ),
    Panel(
        title="Steps",
        description="Gradient steps done, and where the round at work ends.",
        kind="lines",
        unit="count",
        width=8,
        minimum=0,
        queries=(
            Query(expr=expressions.now("bertline_training_step", expressions.PRETRAIN, by="run"), name="done"),
            Query(
                expr=expressions.now("bertline_training_last_step", expressions.PRETRAIN, by="run"),
                name="end of round",
                style="dashed",
            ),
        ),
    ),
    Panel(
        title="Time to finish the round, over time",
        description="A straight line down is a training that keeps its speed.",
        kind="lines",
        unit="seconds",
        width=8,
        minimum=0,
        queries=(Query(expr=expressions.TO_FINISH, by=EACH_ROUND, needs="two"),),
    ),
)

CHECKPOINTS = (
    Panel(
        title="Age of the last checkpoint",
        description="What would have to be done again if the pod ended now.",
        kind="lines",
        unit="seconds",
        width=12,
        minimum=0,
        queries=(
            Query(
                expr=f"time() - {expressions.now('bertline_checkpoint_last_success_timestamp_seconds', by='run')}",
                needs="checkpoint",
            ),
            Query(
                expr=f"max ({expressions.of('bertline_checkpoint_interval_seconds')})",
                name="interval asked for",
                by=(),
                style="limit",
            ),
        ),
    ),
    Panel(
        title="Time lost to checkpoints",
        description="Share of the time in which training stood still for one.",
        kind="lines",
        unit="share",
        width=12,
        minimum=0,
        thresholds=((0.05, "warning"),),
        queries=(Query(expr=expressions.PAUSE_SHARE, needs="two"),),
    ),
    Panel(
        title="Duration of a checkpoint",
        description="From the copy of the weights to the store's answer.",
        kind="lines",
        unit="seconds",
        width=6,
        minimum=0,
        queries=(
            Query(expr=expressions.now("bertline_checkpoint_last_duration_seconds", by="run"), needs="checkpoint"),
        ),
    ),
    Panel(
        title="Size of a checkpoint",
        description="Weights and optimizer.",
        kind="lines",
        unit="bytes",
        width=6,
        minimum=0,
        queries=(Query(expr=expressions.now("bertline_checkpoint_last_bytes", by="run"), needs="checkpoint"),),
    ),
    Panel(
        title="Checkpoints that failed",
        description="Of the pod at work. Training goes on without; the next one may succeed.",
        kind="lines",
        unit="count",
        width=6,
        minimum=0,
        queries=(Query(expr=expressions.now("bertline_checkpoint_failures_total", expressions.PRETRAIN, by="run")),),
    ),
    Panel(
        title="Restarts, and steps done again",
        description="Of the round at work: attempts before this one, and steps that these had done after their last "
        "checkpoint.",
        kind="lines",
        unit="count",
        width=6,
        minimum=0,
        queries=(
            Query(expr=f"{expressions.now('bertline_attempt', by='run')} - 1", name="restarts"),
            Query(
                expr=expressions.now("bertline_repeated_steps", expressions.PRETRAIN, by="run"),
                name="steps done again",
                style="dashed",
            ),
        ),
    ),
)

PODS = (
    Panel(
        title="Pods",
        description="Which code, on which hardware. The key is that of the realization: `bertline store show KEY`.",
        kind="table",
        width=24,
        columns={
            "run": "run",
            "stage": "stage",
            "round": "to epoch",
            "task": "task",
            "key": "key",
            "version": "version",
            "revision": "revision",
            "image": "image",
            "processor": "processor",
            "gpu": "GPU",
        },
        queries=(
            Query(
                expr=expressions.PODS,
                name="attempts",
                instant=True,
                unit="count",
            ),
        ),
    ),
)

SECTIONS = (
    Section("", GLANCE),
    Section("Memory", MEMORY),
    Section("Throughput", THROUGHPUT),
    Section("Learning", LEARNING),
    Section("Evaluation", EVALUATION),
    Section("Progress", PROGRESS),
    Section("Checkpoints and restarts", CHECKPOINTS),
    Section("What ran", PODS, collapsed=True),
)
