"""An experiment's progress in lines for a terminal, from its tasks' metrics or from the store.

Unknown values are left out or named as missing, never shown as a number.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bertline.plurals import counted
from bertline.process import parallel
from bertline.process.progress import duration
from bertline_cli.sparklines import bar, sparkline
from bertline_pipelines.monitoring import formats

if TYPE_CHECKING:
    from bertline.report.collect import Collected
    from bertline.report.manifests import PretrainManifest
    from bertline.store.histories import History
    from bertline.store.objects import ObjectStore

TIMEOUT_S = 5.0
Values = Mapping[tuple[str, str], float]
"""(metric without `bertline_`, value of its own label (kind, phase, gpu) if it has one) → value."""
Task = tuple[str, str, str, str]
"""Labels that tell tasks from each other: see `TASK`."""
TASK = ("run", "stage", "round", "task")
MEMORIES = (
    ("GPU memory, allocator's", "gpu_allocator_bytes", "gpu_memory_total_bytes"),
    ("GPU memory", "gpu_memory_used_bytes", "gpu_memory_total_bytes"),
    ("host memory", "host_memory_resident_bytes", "host_memory_limit_bytes"),
)
"""(name, metric, metric of its limit); the first existing metric is shown."""


@dataclass
class Observed:
    """What was seen of one task."""

    losses: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    counted: tuple[float, float] | None = None
    """Steps and seconds of training at the last read."""
    rate: float | None = None
    """Steps a second."""


class Live:
    """Shows the tasks at some addresses of metrics."""

    def __init__(self, experiment: str, urls: Sequence[str]) -> None:
        """Prepare; `urls` are addresses of `/metrics`."""
        self._experiment, self._urls = experiment, urls
        self._courses: dict[Task, Observed] = {}
        self.answered = 0
        """Number of addresses that answered at the last read."""

    def look(self) -> list[str]:
        """Read all addresses; return lines for the terminal.

        Raises:
            UserError: an address doesn't serve metrics.
        """
        found = parallel.each(_read, self._urls)
        self.answered = sum(isinstance(text, str) for text in found)
        lines = [f"{self._experiment}, {time.strftime('%H:%M:%S')}"]
        tasks: dict[Task, Values] = {}
        others: set[str] = set()
        for url, text in zip(self._urls, found, strict=True):
            if isinstance(text, OSError):
                lines.append(f"{url} doesn't answer: {getattr(text, 'reason', text)}")
            else:
                for experiment, task, values in _tasks(url, text):
                    if experiment == self._experiment:
                        tasks[task] = values
                    else:
                        others.add(experiment)
        for task, values in sorted(tasks.items()):
            lines += self._task(task, values)
        if self.answered and not tasks:
            lines.append(f"the metrics are of {', '.join(sorted(others))}" if others else "no task is running there")
        return lines

    def _task(self, task: Task, values: Values) -> Iterator[str]:
        observed = self._courses.setdefault(task, Observed())
        phase = next((own for (name, own), value in values.items() if name == "phase" and value == 1), "phase unknown")
        yield "  ".join([_name(task), phase, *_steps(values, observed)])
        yield "    " + "   ".join([*_loss(values, observed), *_memory(values, observed), *_checkpoint(values)])


def _read(url: str) -> str | OSError:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode("utf-8", "replace")
            return text
    except OSError as error:
        return error
    except ValueError as error:
        from bertline.errors import UserError

        raise UserError(f"{url!r} isn't an address of metrics ({error}); expected http://HOST:PORT/metrics") from error


def _tasks(url: str, text: str) -> Iterator[tuple[str, Task, Values]]:
    """Experiment, labels and values of each task on a page."""
    from prometheus_client import parser

    from bertline.errors import UserError

    found: dict[tuple[str, Task], dict[tuple[str, str], float]] = {}
    try:
        samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    except ValueError as error:
        raise UserError(f"{url} doesn't serve metrics: {error}; expected http://HOST:PORT/metrics") from error
    for sample in samples:
        labels = sample.labels
        if sample.name.startswith("bertline_") and "experiment" in labels:
            run, stage, turn, task = (labels.get(name, "") for name in TASK)
            values = found.setdefault((labels["experiment"], (run, stage, turn, task)), {})
            own = labels.get("kind") or labels.get("phase") or ""
            values[sample.name.removeprefix("bertline_"), own] = sample.value
    for (experiment, labels_of_task), values in found.items():
        yield experiment, labels_of_task, values


def _name(task: Task) -> str:
    run, stage, turn, name = task
    return f"{run}  {stage} {'to' if stage == 'pretrain' else 'of'} epoch {turn}{f' {name}' if name else ''}"


def _steps(values: Values, observed: Observed) -> Iterator[str]:
    step, last = values.get(("training_step", "")), values.get(("training_last_step", ""))
    first = values.get(("training_first_step", ""), 0.0)
    if step is None or last is None:
        yield "no step yet"
        return
    yield f"{bar((step - first) / (last - first) if last > first else 1.0)} step {step:,.0f} of {last:,.0f}"
    now = values.get(("training_steps_total", ""), 0.0), values.get(("training_seconds_total", ""), 0.0)
    before = observed.counted or (0.0, 0.0)
    if now[1] < before[1]:  # another attempt, which counts from zero
        before = 0.0, 0.0
    if now[1] > before[1]:
        observed.rate = (now[0] - before[0]) / (now[1] - before[1])
    observed.counted = now
    if observed.rate:
        yield f"{observed.rate:,.1f} steps/s"
        if step < last:
            yield f"{duration((last - step) / observed.rate)} left"


def _loss(values: Values, observed: Observed) -> Iterator[str]:
    losses = {own: value for (name, own), value in values.items() if name == "training_loss"}
    if not losses:
        yield "no loss yet"
        return
    loss = losses.get("total", next(iter(losses.values())))
    observed.losses.append(loss)
    yield f"loss {loss:.3f} {sparkline(observed.losses)}".rstrip()


def _memory(values: Values, observed: Observed) -> Iterator[str]:
    for name, metric, most in MEMORIES:
        used = values.get((metric, ""))
        if used is not None:
            limit = values.get((most, ""))
            of = f" of {formats.text(limit, 'bytes')}" if limit else ", no limit"
            observed.memory.append(used)
            yield f"{name} {formats.text(used, 'bytes')}{of} {sparkline(observed.memory)}".rstrip()
            return
    yield "memory unknown"


def _checkpoint(values: Values) -> Iterator[str]:
    saved = values.get(("checkpoint_last_success_timestamp_seconds", ""))
    if saved is not None:
        yield f"checkpoint {duration(max(0.0, time.time() - saved))} ago"
    elif ("checkpoints_total", "") in values:
        yield "no checkpoint yet"


class Kept:
    """Shows finished results and current attempts from the store."""

    def __init__(self, experiment: str, store: "ObjectStore") -> None:
        """Prepare."""
        self._experiment, self._store = experiment, store
        self.is_complete = False
        """True if everything was done at the last read."""

    def look(self) -> list[str]:
        """Read the store; return lines for the terminal.

        Raises:
            UserError: there is no such experiment; names the existing ones.
        """
        from bertline.report import collect
        from bertline.report.manifests import PretrainManifest
        from bertline.store import references

        collected = collect.collect(self._store, references.current(self._store, self._experiment))
        self.is_complete = not collected.gaps()
        lines = [f"{self._experiment}, in {self._store.uri}"]
        for run in collected.graph.runs:
            losses: list[float] = []
            for item in collected.of(PretrainManifest, run=run):
                done = _pretrained(item.manifest, losses) if item.manifest else _begun(item.history)
                lines.append(f"{run}  pretrain to epoch {item.node.epoch}  {item.history.state}  {done}".rstrip())
                if item.history.state.has_stopped or item.history.holder:
                    lines.append(f"    {item.history}")
                lines += [f"    {line}" for line in _accuracies(collected, run, item.node.epoch)]
        return lines


def _pretrained(made: "PretrainManifest", losses: list[float]) -> str:
    """The results of a round; its losses are added to `losses`."""
    held_out = [epoch.held_out or epoch.train for epoch in made.results.epochs]
    losses += [each.mlm_loss for each in held_out]
    measured = made.measurements
    gpu, host = measured.gpu_memory_peak_bytes, measured.host_memory_peak_bytes
    told = [
        f"step {made.results.step:,}",
        f"MLM loss {'held out ' if made.results.epochs[-1].held_out else ''}{losses[-1]:.3f} {sparkline(losses)}",
        f"GPU memory's peak {formats.text(gpu, 'bytes')}" if gpu else "",
        f"host memory's peak {formats.text(host, 'bytes')}" if host else "",
    ]
    return "  ".join(part.rstrip() for part in told if part)


def _begun(history: "History") -> str:
    """The progress of an unfinished round, from its attempts."""
    if not history.attempts:
        return ""
    saved = [moment for each in history.attempts for moment in each.saved_at]
    epochs = {epoch for each in history.attempts for epoch in each.epochs}
    told = [
        "no step yet" if history.step is None else f"step {history.step:,}",
        f"{counted(len(epochs), 'epoch')} done" if epochs else "",
        f"{counted(len(saved), 'checkpoint')}, the last {duration(max(0.0, time.time() - saved[-1]))} ago"
        if saved
        else "no checkpoint yet",
        f"attempt {history.count}" if history.count > 1 else "",
        "loss: in the metrics only, until the round is done",
    ]
    return "  ".join(part for part in told if part)


def _accuracies(collected: "Collected", run: str, epoch: int) -> Iterator[str]:
    """A line for each evaluation task."""
    from bertline.report.manifests import EvaluateManifest

    for task in collected.experiment.evaluate.tasks:
        items = collected.of(EvaluateManifest, run=run, epoch=epoch, glue_task=task)
        made = [item.manifest.results.accuracy for item in items if item.manifest]
        if not made:
            yield f"{task}: {items[0].reason}"
        else:
            seeds = f", mean of {len(made)} of {len(items)} seeds" if len(items) > 1 else ""
            yield f"{task}: {100 * sum(made) / len(made):.1f} % right{seeds}"
