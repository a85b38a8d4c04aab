"""`bertline dashboard`: an experiment's progress in Grafana, on an HTML page, or on the terminal."""

import datetime
import re
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertline_cli import arguments, displays

if TYPE_CHECKING:
    from bertline_pipelines.places.profiles import Profile

EXAMPLE = (
    "Examples:  bertline dashboard nano -p kind                                       Grafana\n\n"
    "bertline dashboard nano --metrics http://127.0.0.1:9109/metrics   live\n\n"
    "bertline dashboard nano --prometheus http://localhost:9090 --out nano.html   a page"
)

UID = "bertline"
"""The uid of the dashboard in manifests/components/monitoring."""
LABEL = "app.kubernetes.io/name=grafana"
METRICS_EVERY_S = 2.0
STORE_EVERY_S = 10.0
PATIENCE_S = 1800.0
"""Watching gives up after the store hasn't answered for so many seconds."""
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def command(
    experiment: arguments.ExperimentName,
    profile: arguments.OptionalProfile = None,
    store: arguments.Store = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", metavar="URL", help="A task's metrics, for a live view; may be given repeatedly."),
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="Draw all panels from this Prometheus, with --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="The page to write, with --prometheus.")] = None,
    since: Annotated[str, typer.Option(help="How far the page goes back: 90m, 6h, 7d.")] = "24h",
    once: Annotated[bool, typer.Option("--once", help="Show the current state, and end.")] = False,
) -> None:
    """Watch an experiment in the cluster's Grafana; without one on the terminal, from metrics or the store."""
    from bertline.errors import TransientError, UserError
    from bertline_cli import terminal_dashboard

    name = arguments.name(experiment)
    if (prometheus is None) != (out is None):
        raise UserError("a page needs both --prometheus URL, its source, and --out FILE.html, the file to write")
    if prometheus and out:
        from bertline.store import disks
        from bertline_pipelines.monitoring import pages

        with disks.output(out):
            page = pages.write(prometheus, name, out, datetime.datetime.now(datetime.UTC) - _span(since))
        typer.echo(f"page: {page}")
        return
    if metrics:
        live = terminal_dashboard.Live(name, metrics)
        if once:
            lines = live.look()
            if not live.answered:
                raise TransientError(
                    "\n".join([*lines[1:], "is the task running, and is its BERTLINE_METRICS_ADDRESS set?"])
                )
            typer.echo(displays.fitted(lines))
        else:
            _watch(live.look, METRICS_EVERY_S, lambda: False)
        return
    if profile and not once and _grafana(arguments.profile(profile, store), name):
        return
    kept = terminal_dashboard.Kept(name, arguments.existing(store, profile).hasty())
    if once:
        typer.echo(displays.fitted(kept.look()))
    else:
        _watch(kept.look, STORE_EVERY_S, lambda: kept.is_complete)


def _span(text: str) -> datetime.timedelta:
    from bertline.errors import UserError

    match = re.fullmatch(r"(\d{1,4})([mhd])", text)
    if not match or not int(match[1]):
        raise UserError(f"--since is {text!r}; expected minutes, hours or days, such as 90m, 6h or 7d")
    return datetime.timedelta(**{UNITS[match[2]]: int(match[1])})


def _watch(look: Callable[[], list[str]], every_s: float, is_over: Callable[[], bool]) -> None:
    """Show the state repeatedly, until Ctrl-C or the end: in place on a terminal, one below the other elsewhere.

    During an outage of the store it shows the last state with a note.
    """
    from bertline.errors import TransientError

    seen: list[str] = []
    answered = time.monotonic()

    def patient_look() -> list[str]:
        nonlocal seen, answered
        try:
            seen = look()
        except TransientError as error:
            if not seen or time.monotonic() - answered > PATIENCE_S:
                raise
            return [*seen, f"note: this is the last known state: {getattr(error, 'said', error)}"]
        answered = time.monotonic()
        return seen

    try:
        if sys.stdout.isatty():
            from rich.live import Live
            from rich.text import Text

            with Live(Text(displays.fitted(patient_look())), auto_refresh=False) as display:
                while not is_over():
                    time.sleep(every_s)
                    display.update(Text(displays.fitted(patient_look())), refresh=True)
            return
        typer.echo(displays.fitted(patient_look()))
        while not is_over():
            time.sleep(every_s)
            typer.echo(displays.fitted(patient_look()))
    except KeyboardInterrupt:  # ends the view, not the run
        return


def _grafana(profile: "Profile", experiment: str) -> bool:
    """Forward a port to the cluster's Grafana until Ctrl-C; False if there is none, or we may not list services."""
    from bertline.errors import TransientError, UserError

    if profile.kubeflow is None:
        return False
    service = _service(profile)
    if service is None:
        return False
    context = ["--context", profile.kubeflow.context] if profile.kubeflow.context else []
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    port = service["spec"]["ports"][0]["port"]
    command = ["kubectl", *context, "-n", namespace, "port-forward", f"service/{name}", f":{port}"]
    # One pipe for both streams, so that neither fills up unread: kubectl prints a line for each connection.
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError as error:
        raise UserError(
            "`kubectl` isn't installed, and reaching Grafana needs it. Install it, or use --metrics, --prometheus, "
            "or no --profile"
        ) from error
    said = "it printed nothing"
    with process:
        assert process.stdout
        try:
            for line in process.stdout:
                if begun := re.search(r"127\.0\.0\.1:(\d+)", line):
                    query = urllib.parse.urlencode({"var-experiment": experiment})
                    typer.echo(f"dashboard: http://127.0.0.1:{begun[1]}/d/{UID}?{query}   (Ctrl-C ends it)")
                said = line.strip() or said
        except KeyboardInterrupt:
            return True
        finally:
            process.terminate()
    raise TransientError(f"the connection to {namespace}/{name} has ended: {said}; run the same command again")


def _service(profile: "Profile") -> dict[str, Any] | None:
    """The first service of a Grafana."""
    from bertline_pipelines.cluster.connections import ForbiddenError
    from bertline_pipelines.places import access

    with access.cluster(profile) as cluster:
        try:
            services = cluster.services(LABEL)
        except ForbiddenError as error:
            typer.echo(
                f"can't find out whether the cluster has a Grafana, so this is from the store: {error}", err=True
            )
            return None
    if not services:
        typer.echo(
            f"the cluster of profile {profile.name} has no Grafana (a service labelled {LABEL}): this is from the store"
        )
    return services[0] if services else None
