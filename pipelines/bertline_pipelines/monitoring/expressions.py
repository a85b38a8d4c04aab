"""PromQL for the panels.

A query has up to four variables, the same as in Grafana: `$experiment`, `$run` (a regular expression),
`$__rate_interval` (the shortest window with a few scrapes) and `$__range` (the whole time that is shown). Without
Grafana `bind` replaces them by values.

A *round* is one pod's work: epochs 10 to 20 of a run, or the fine-tunings of their result. A new attempt of a round is
another pod with the same labels, so queries aggregate over pods. A pod that has ended has no current value; only
`…_over_time` finds its values. Durations are quotients of two rates over the same window: a quotient is right after two
samples, while a rate alone is too low until its window is full.
"""

import re

PHASES = ("staging", "starting", "training", "evaluating", "saving", "finishing")
"""Numbered from 1."""

ALL = 'experiment="$experiment",run=~"$run"'
ROUND = "run, stage, round, task"


def of(metric: str, *matchers: str) -> str:
    """A metric of the chosen experiment and runs."""
    return f"{metric}{{{','.join((ALL, *matchers))}}}"


def now(metric: str, *matchers: str, by: str = ROUND) -> str:
    """The metric's current value, from the running pod of each round."""
    return f"max by ({by}) ({of(metric, *matchers)})"


def highest(metric: str, *matchers: str, by: str = ROUND) -> str:
    """The metric's highest value in the time that is shown, from ended pods too."""
    return f"max by ({by}) (max_over_time({of(metric, *matchers)}[$__range]))"


def rate(metric: str, *matchers: str, by: str = ROUND, window: str = "$__rate_interval") -> str:
    """A counter's growth per second."""
    return f"sum by ({by}) (rate({of(metric, *matchers)}[{window}]))"


def phases() -> str:
    """The phase of each round as its number in `PHASES`."""
    numbered = (f"({of('bertline_phase', f'phase={_quoted(phase)}')} == 1) * {i}" for i, phase in enumerate(PHASES, 1))
    return f"max by ({ROUND}) ({' or '.join(numbered)})"


def bind(expr: str, *, experiment: str, runs: str = ".*", window: str, span: str) -> str:
    """A query with values in place of its variables.

    Args:
        expr: The query with variables.
        experiment: Name of the experiment.
        runs: Regular expression of runs.
        window: Window of rates, for example `1m`; at least four scrape intervals.
        span: The whole time that is shown, for example `6h`.
    """
    values = {"experiment": _escaped(experiment), "run": _escaped(runs), "__rate_interval": window, "__range": span}
    return re.sub(r"\$(\w+)", lambda match: values.get(match[1], match[0]), expr)


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


PRETRAIN = 'stage="pretrain"'
MLM, NSP, TOTAL = (f'kind="{kind}"' for kind in ("mlm", "nsp", "total"))

STEPS = now("bertline_training_step")
FIRST = now("bertline_training_first_step")
LAST = now("bertline_training_last_step")
SECONDS_A_STEP = (
    f"{rate('bertline_training_seconds_total', window='15m')}"
    f" / ({rate('bertline_training_steps_total', window='15m')} > 0)"
)
TO_FINISH = f"({LAST} - {STEPS}) * {SECONDS_A_STEP}"
WAIT_SHARE = (
    f"{rate('bertline_training_data_wait_seconds_total', by='run, stage')}"
    f" / ({rate('bertline_training_seconds_total', by='run, stage')} > 0)"
)
PAUSES = rate("bertline_checkpoint_pause_seconds_total", PRETRAIN, by="run")
PAUSE_SHARE = f"{PAUSES} / ({PAUSES} + {rate('bertline_training_seconds_total', PRETRAIN, by='run')} > 0)"
TOTAL_BY_MODEL = (
    # `gpu` is a number in the memory metrics and the model's name in bertline_info; this makes a line for each model.
    f"max by (gpu) (max by ({ROUND}, gpu) ({of('bertline_info')})"
    f" * on ({ROUND}) group_left () {now('bertline_gpu_memory_total_bytes')})"
)
GPU_SHARE = (
    f"{highest('bertline_gpu_allocator_peak_bytes', by='run')} / {highest('bertline_gpu_memory_total_bytes', by='run')}"
)

LAST_LOSS = f"max by (run) (last_over_time({of('bertline_training_loss', PRETRAIN, TOTAL)}[$__range]))"
ACCURACY = f"avg by (run, round, task) (last_over_time({of('bertline_evaluation_accuracy')}[$__range]))"
_FACTS = "key, version, revision, image, processor, gpu"
PODS = (
    f"max by ({ROUND}, {_FACTS}) (max by ({ROUND}) (max_over_time({of('bertline_attempt')}[$__range]))"
    f" * on ({ROUND}) group_right () max by ({ROUND}, {_FACTS}) (last_over_time({of('bertline_info')}[$__range])))"
)
"""Attempts of each round, with the labels of bertline_info."""


def dcgm(metric: str, factor: str) -> str:
    """A metric of DCGM's exporter with the labels of the round whose pod has the GPU.

    Its pod label is `pod` or `exported_pod`, depending on the scrape configuration.
    """
    named = metric
    for label in ("pod", "namespace"):
        named = f'label_replace({named}, "{label}", "$1", "exported_{label}", "(.+)")'
    pods = f"max by (namespace, pod, {ROUND}) ({of('bertline_info')})"
    values = f"max by (namespace, pod) ({named} * {factor})"
    return f"max by ({ROUND}) ({pods} * on (namespace, pod) group_left () {values})"
