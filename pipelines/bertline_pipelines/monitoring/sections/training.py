"""Panels of speed, losses and accuracy."""

from bertline_pipelines.monitoring import expressions
from bertline_pipelines.monitoring.panels import EACH_ROUND, Panel, Query

THROUGHPUT = (
    Panel(
        title="Sequences a second",
        description="Speed of pre-training, with pauses.",
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
        description="Speed of pre-training, with pauses, without padding.",
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
        description="Share of the training time. Above 20 % the input limits the speed.",
        kind="lines",
        unit="share",
        width=8,
        minimum=0,
        thresholds=((0.2, "bad"),),
        queries=(Query(expr=expressions.WAIT_SHARE, by=("run", "stage"), needs="two"),),
    ),
    Panel(
        title="Model FLOP/s",
        description="Floating-point operations a second that the model's formulas need.",
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
        description="Share of the device's peak. Small models don't fill a large GPU.",
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
        description="Next-sentence prediction; absent if the experiment trains MLM only.",
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
        description="The loss that training minimizes.",
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
        description="Accuracy for masked tokens and next sentences, on held-out documents.",
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
        description="Learning rate of pre-training.",
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
        description="Accuracy on the dev set, mean over fine-tuning seeds, also of pods that have ended.",
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
        description="Best accuracy over time. A round is evaluated while the next round trains.",
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
