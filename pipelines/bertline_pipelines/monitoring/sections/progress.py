"""Panels of progress, checkpoints and restarts."""

from bertline_pipelines.monitoring import expressions
from bertline_pipelines.monitoring.panels import EACH_ROUND, Panel, Query

PROGRESS = (
    Panel(
        title="Phases",
        description="The phases of each round's pod over time.",
        kind="states",
        unit="phase",
        width=24,
        height=7,
        queries=(Query(expr=expressions.phases(), by=EACH_ROUND),),
    ),
    Panel(
        title="Epochs",
        description="Finished epochs of pre-training, over all rounds.",
        kind="lines",
        unit="count",
        width=8,
        minimum=0,
        queries=(Query(expr=expressions.now("bertline_training_epoch", expressions.PRETRAIN, by="run")),),
    ),
    Panel(
        title="Steps",
        description="Gradient steps done, and the last step of the current round.",
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
        description="A straight falling line means constant speed.",
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
        description="The work that would be repeated if the pod ended now.",
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
                name="configured interval",
                by=(),
                style="limit",
            ),
        ),
    ),
    Panel(
        title="Time lost to checkpoints",
        description="Share of the time in which training waited for a checkpoint.",
        kind="lines",
        unit="share",
        width=12,
        minimum=0,
        thresholds=((0.05, "warning"),),
        queries=(Query(expr=expressions.PAUSE_SHARE, needs="two"),),
    ),
    Panel(
        title="Duration of a checkpoint",
        description="Time from copying the weights to the store's answer.",
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
        description="Failed checkpoints of the running pod. Training continues; the next checkpoint may succeed.",
        kind="lines",
        unit="count",
        width=6,
        minimum=0,
        queries=(Query(expr=expressions.now("bertline_checkpoint_failures_total", expressions.PRETRAIN, by="run")),),
    ),
    Panel(
        title="Restarts, and repeated steps",
        description="Earlier attempts of the current round, and their steps after the last checkpoint.",
        kind="lines",
        unit="count",
        width=6,
        minimum=0,
        queries=(
            Query(expr=f"{expressions.now('bertline_attempt', by='run')} - 1", name="restarts"),
            Query(
                expr=expressions.now("bertline_repeated_steps", expressions.PRETRAIN, by="run"),
                name="repeated steps",
                style="dashed",
            ),
        ),
    ),
)
