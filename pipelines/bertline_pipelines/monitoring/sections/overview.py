"""Panels of the current state, and of what ran where."""

from bertline_pipelines.monitoring import expressions
from bertline_pipelines.monitoring.panels import EACH_ROUND, Panel, Query

OVERVIEW = (
    Panel(
        title="State",
        description="The current phase of each round's pod. A finished or waiting round has no pod.",
        kind="stat",
        unit="phase",
        width=5,
        height=5,
        queries=(Query(expr=expressions.phases(), by=EACH_ROUND, needs="work", instant=True),),
    ),
    Panel(
        title="Progress of the round",
        description="Share of this round's, or this fine-tuning's, steps that are done.",
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
        description="Time for the remaining steps at the speed of the last 15 minutes, without checkpoints and without "
        "the work after the last step.",
        kind="stat",
        unit="seconds",
        width=5,
        height=5,
        queries=(Query(expr=expressions.TO_FINISH, by=EACH_ROUND, needs="work", instant=True),),
    ),
    Panel(
        title="Training loss",
        description="Total loss (MLM and NSP) of the last scraped steps.",
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
        description="Peak of TensorFlow's allocator as a share of the device's memory. It may take about 95 %: from "
        "90 % on a slightly larger batch won't fit.",
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

PODS = (
    Panel(
        title="Pods",
        description="Code version and hardware of each pod. `bertline store show KEY` shows its result.",
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
