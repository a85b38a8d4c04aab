"""`bertline plan`: what would run, what is there already, and what it will take."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bertline_cli import arguments, displays

if TYPE_CHECKING:
    from bertline_pipelines.estimates.baselines import Range
    from bertline_pipelines.estimates.estimates import Estimate
    from bertline_pipelines.plans import Task
    from bertline_pipelines.profiles import Profile
    from bertline_pipelines.reasons import Reason

UNITS = ((1, "s"), (60, "min"), (3600, "h"))

EXAMPLE = """Examples:  bertline plan my.yaml --store gs://my-bucket/bert

bertline plan my.yaml --profile gke-l4 --price 0.85"""


def command(
    path: arguments.ExperimentFile,
    store: arguments.Store = None,
    profile: arguments.OptionalProfile = None,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="Of a GPU with its node for an hour.", show_default="the profile's, if it has one"),
    ] = None,
    as_json: arguments.Json = False,
) -> None:
    """Show an experiment's tasks, which of them are done, and what the missing ones will take.

    Hours are estimated from what was measured in the same store, else from tables that are named; what neither knows is
    called unknown.
    """
    from bertline_pipelines import plans, reasons
    from bertline_pipelines.estimates import estimates

    _, graph = arguments.load(path)
    outlook = arguments.look(store, profile)
    place, connected = outlook.profile, outlook.store
    plan = plans.plan(graph, connected, place.corpus_pods if place else 1)
    gpu = place.pods.pretrain.gpu if place else None
    estimate = estimates.estimate(
        plan,
        connected,
        gpu_stages=place.gpu_stages if place else (),
        price=price if price is not None else gpu.price_per_hour if gpu else None,
    )
    why = reasons.explain(plan, connected) if connected else {}
    if as_json:
        document = plan.document()
        for each in document["tasks"]:
            each["missing"] = [reason.document() for reason in why.get(each["name"], ())]
        document |= {"unknown": outlook.unknown, "estimate": estimate.document()}
        typer.echo(json.dumps(document | ({"profile": place.name} if place else {}), indent=2))
        return
    for sentence in outlook.unknown:
        typer.echo(f"note: {sentence}", err=True)
    missing = {task.name: task for task in estimate.tasks}
    rows = [("task", "takes", "why, or the key")]
    for task in plan.tasks:
        if task.finished:
            rows.append((task.name, "done", " ".join(config.derivation().key[:12] for config in task.configs)))
        else:
            takes = missing[task.name].seconds
            rows.append((task.name, _span(takes) if takes else "unknown", _why(task, why.get(task.name, ()))))
    for line in displays.table(rows, displays.width()):
        typer.echo(line)
    if not plan.missing:
        typer.echo("all is done; nothing would run")
        return
    typer.echo(f"{len(plan.missing)} of {len(plan.tasks)} tasks are missing, {estimate.steps:,} steps of pre-training")
    for line in _totals(estimate, place):
        typer.echo(line)
    command = "submit" if place and place.kubeflow else "run"
    typer.echo(f"Next:  bertline {command} {path} {arguments.options(store, profile if command == 'submit' else None)}")


def _totals(estimate: "Estimate", place: "Profile | None") -> list[str]:
    """Sums, and what they rest on."""
    lines = []
    pods = Counter(task.stage for task in estimate.tasks)
    if place:
        lines.append(f"pods: {', '.join(f'{count} {stage}' for stage, count in pods.items())}")
    if any(task.uses_gpu and task.seconds for task in estimate.tasks):
        gpus = place.pods.pretrain.gpu.count if place and place.pods.pretrain.gpu else 1
        lines.append(f"GPU: {_hours(estimate.gpu_hours * 3600)}, of {gpus} GPU{'s' if gpus > 1 else ''} each")
    if any(not task.uses_gpu and task.seconds for task in estimate.tasks):
        lines.append(f"CPU: {_hours(estimate.cpu_hours * 3600)}, one task after the other")
    if estimate.cost is not None:
        lines.append(f"cost of the GPUs: {_amount(estimate.cost)}, at {estimate.price:g} an hour")
    lines.append(f"storage: {_bytes(estimate.written)}")
    if estimate.rolling_peak:
        lines[-1] += f", and up to {_bytes(estimate.rolling_peak)} of rolling checkpoints meanwhile"
    if estimate.unknown:
        lines.append(f"not counted, because nothing is known: {_names(estimate.unknown)}")
    bases = Counter(task.basis for task in estimate.tasks if task.seconds)
    lines += [f"  {count} tasks by: {basis}" for basis, count in bases.items()]
    return lines


def _why(task: "Task", reasons: "Sequence[Reason]") -> str:
    """Why it is missing; of a task with several results what holds for each."""
    alike = Counter(map(str, reasons))
    parts = [f"{count} times: {why}" if len(alike) > 1 and count > 1 else why for why, count in alike.items()]
    done = [f"{sum(task.done)} of {len(task.done)} seeds done"] if any(task.done) else []
    return "; ".join(done + parts)


def _span(seconds: "Range") -> str:
    """A range in one unit: 40 to 90 s, 2.5 to 4 min, 12 to 30 h."""
    scale, unit = next(each for each in UNITS if seconds.high < 100 * each[0] or each[1] == "h")
    low, high = (_figure(value / scale) for value in (seconds.low, seconds.high))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _figure(value: float) -> str:
    """Two digits of it, or all before the point."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def _hours(seconds: "Range") -> str:
    low, high = displays.duration(seconds.low), displays.duration(seconds.high)
    return low if low == high else f"{low} to {high}"


def _amount(amount: "Range") -> str:
    low, high = f"{amount.low:,.2f}", f"{amount.high:,.2f}"
    return low if low == high else f"{low} to {high}"


def _bytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
