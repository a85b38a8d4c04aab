"""`bertline plan`: finished tasks, missing tasks and the reasons, hours, storage, cost."""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bertline.plurals import counted
from bertline_cli import arguments, displays

if TYPE_CHECKING:
    from bertline.store.objects import ObjectStore
    from bertline_pipelines.estimates.baselines import Range
    from bertline_pipelines.estimates.totals import Estimate
    from bertline_pipelines.places.profiles import Profile
    from bertline_pipelines.planning.plans import Task
    from bertline_pipelines.records.causes import Reason

UNITS = ((1, "s"), (60, "min"), (3600, "h"))

EXAMPLE = """Examples:  bertline plan my.yaml --store gs://my-bucket/bert

bertline plan my.yaml --profile gke-l4 --price 0.85"""


def command(
    path: arguments.ExperimentFile,
    store: arguments.Store = None,
    profile: arguments.OptionalProfile = None,
    price: Annotated[
        float | None,
        typer.Option(
            min=0, help="Price of a GPU with its node for an hour.", show_default="the profile's, if it has one"
        ),
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="ABC", help="Currency of the price.", show_default="the profile's, else USD")
    ] = None,
    changes: arguments.Changes = None,
    as_json: arguments.Json = False,
) -> None:
    """Show an experiment's tasks: which are done, why the others are missing, and how long they take.

    Estimates come from measurements in the same store, else from tables, which are named. A sum without a task that
    can't be estimated is "at least". Bucket and registry needn't exist.
    """
    from bertline_pipelines.estimates import devices, totals
    from bertline_pipelines.planning import plans
    from bertline_pipelines.records import causes

    looked: list[arguments.Outlook] = []

    def look() -> "ObjectStore | None":
        looked.append(arguments.look(store, profile))
        return looked[0].store

    _, graph = arguments.load(path, changes, look, may_be_unknown=True)
    outlook = looked[0] if looked else arguments.look(store, profile)
    place, connected = outlook.profile, outlook.store
    plan = plans.plan(graph, connected, place.corpus_pods if place else 1)
    gpu = place.pods.of("pretrain").gpu if place else None
    estimate = totals.estimate(
        plan, connected, devices.of(place, price), currency=currency or (gpu.currency if gpu else "USD")
    )
    why = causes.explain(plan, connected) if connected else {}
    if as_json:
        document = plan.document()
        for each in document["tasks"]:
            each["missing"] = [reason.document() for reason in why.get(each["name"], ())]
        document |= {"unknown": outlook.unknown, "estimate": estimate.document()}
        typer.echo(json.dumps(document | ({"profile": place.name} if place else {}), indent=2, ensure_ascii=False))
        return
    for sentence in outlook.unknown:
        typer.echo(f"note: {sentence}", err=True)
    missing = {each.task.name: each for each in estimate.tasks}
    rows = [("task", "takes", "key, or why it is missing")]
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
    for sentence in _totals(estimate, place, price):
        indent = "    " if sentence.startswith(" ") else "  "
        typer.echo(textwrap.fill(sentence, displays.width(), subsequent_indent=indent, break_on_hyphens=False))
    command = "submit" if place and place.kubeflow else "run"
    options = arguments.options(store, profile if command == "submit" else None, changes)
    typer.echo(f"Next:  bertline {command} {path} {options}")


def _why(task: "Task", reasons: "Sequence[Reason]") -> str:
    """Why a task is missing; a reason for each of its results, if they differ."""
    alike = Counter(map(str, reasons))
    parts = [f"{count} times: {why}" if len(alike) > 1 and count > 1 else why for why, count in alike.items()]
    done = [f"{sum(task.done)} of {counted(len(task.done), 'seed')} done"] if any(task.done) else []
    return "; ".join(done + parts)


def _totals(estimate: "Estimate", place: "Profile | None", price: float | None) -> Iterator[str]:
    """The sums and their basis, a line each."""
    from bertline_pipelines.estimates import devices

    kinds = ", ".join(
        f"{count} {stage}" for stage, count in Counter(each.task.stage for each in estimate.tasks).items()
    )
    yield f"missing: {counted(len(estimate.tasks), 'task')} ({kinds}), {estimate.steps:,} steps of pre-training"
    is_here = place is None or place.kubeflow is None
    if is_here:
        several = devices.side_by_side()
        yield f"time on this machine, {counted(several, 'task')} side by side: {_hours(estimate.hours(several))}"
    else:
        yield f"time: {_hours(estimate.chain_hours)} for the longest chain of tasks that wait for each other"
    gpus = [task.device for task in estimate.tasks if task.uses_gpu]
    if gpus:
        yield f"GPU-hours: {_hours(estimate.gpu_hours)}"
    if len(gpus) < len(estimate.tasks):
        yield f"tasks {'without a GPU' if gpus else 'added up'}: {_hours(estimate.cpu_hours)}"
    what = "processes" if is_here else "pods, staging"
    yield f"start-up, included above: {_hours(estimate.start_up_hours)} ({what}, imports, tracing, saving)"
    if estimate.cost is not None:
        rates = " and ".join(f"{price:g}" for price in sorted({gpu.price for gpu in gpus if gpu.price is not None}))
        amount = _least(estimate.cost, 1, "{:,.2f}")
        yield f"cost of the GPUs: {amount} {estimate.currency}, at {rates} {estimate.currency} an hour for one"
    elif price is not None:
        yield "cost: none of these tasks has a GPU, but --price is for a GPU; use --profile with GPUs"
    yield f"storage: {_storage(estimate)}"
    if estimate.unknown:
        yield f"not counted, because it is unknown: {_names(estimate.unknown)}"
    yield f"not counted: {'' if is_here else 'waiting for nodes, pulling images, '}downloads, lost work"
    yield "basis of the times:"
    for basis, count in Counter(task.basis for task in estimate.tasks).items():
        yield f"  {counted(count, 'task')}: {basis}"


def _storage(estimate: "Estimate") -> str:
    amount = _bytes(estimate.written)
    if estimate.unknown_written:
        amount = f"at least {amount}, not counting {_names(estimate.unknown_written)}"
    peak = estimate.rolling_peak
    return amount + (f", and up to {_bytes(peak)} of rolling checkpoints meanwhile" if peak else "")


def _hours(hours: "Range") -> str:
    return _span(hours * 3600)


def _span(seconds: "Range") -> str:
    """A range in one unit: 40 to 90 s, 2.5 to 4 min, 12 to 30 h; `at least 40 s`."""
    known = seconds.low if math.isinf(seconds.high) else seconds.high
    scale, unit = next(each for each in UNITS if known < 100 * each[0] or each[1] == "h")
    return f"{_least(seconds, scale)} {unit}" if seconds.high else "0 s"


def _least(amounts: "Range", scale: float, form: str = "") -> str:
    low, high = (form.format(each / scale) if form else _figure(each / scale) for each in (amounts.low, amounts.high))
    if math.isinf(amounts.high):
        return f"at least {low}"
    return low if low == high else f"{low} to {high}"


def _figure(value: float) -> str:
    """A number with two digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def _bytes(size: float) -> str:
    if size < 1e5:
        return "a few MB at most"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
