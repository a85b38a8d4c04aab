"""`bertline dashboard`: how an experiment goes, in Grafana, on one page, or here on the terminal."""

import datetime
import json
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
    from bertline_pipelines.profiles import Profile

EXAMPLE = (
    "Examples:  bertline dashboard nano -p kind                                       Grafana\n\n"
    "bertline dashboard nano --metrics http://127.0.0.1:9109/metrics   live\n\n"
    "bertline dashboard nano --prometheus http://localhost:9090 --out nano.html   a page"
)

UID = "bertline"
"""Of the dashboard in manifests/components/monitoring."""
LABEL = "app.kubernetes.io/name=grafana"
METRICS_EVERY_S = 2.0
STORE_EVERY_S = 10.0
KUBECTL_S = 20.0
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def command(
    experiment: arguments.ExperimentName,
    profile: arguments.OptionalProfile = None,
    store: arguments.Store = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", metavar="URL", help="What a task serves, for a live view; may be given repeatedly."),
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="Draw all panels from this Prometheus, with --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="The page to write, with --prometheus.")] = None,
    since: Annotated[str, typer.Option(help="How far the page goes back: 90m, 6h, 7d.")] = "24h",
    once: Annotated[bool, typer.Option("--once", help="Show how it stands now, and end.")] = False,
) -> None:
    """Watch an experiment: Grafana of the profile's cluster; else on the terminal, from metrics or the store."""
    from bertline.errors import TransientError, UserError
    from bertline_cli import glances

    name = arguments.name(experiment)
    if (prometheus is None) != (out is None):
        raise UserError("a page needs both --prometheus URL, where it comes from, and --out FILE.html, where it goes")
    if prometheus and out:
        from bertline.store import disks
        from bertline_pipelines.monitoring import pages

        with disks.output(out):
            page = pages.write(prometheus, name, out, datetime.datetime.now(datetime.UTC) - _span(since))
        typer.echo(f"page: {page}")
        return
    if metrics:
        live = glances.Live(name, metrics)
        if once:
            lines = live.look()
            if not live.answered:
                raise TransientError("\n".join([*lines[1:], "does the task run, and with BERTLINE_METRICS_ADDRESS?"]))
            typer.echo(displays.fitted(lines))
        else:
            _watch(live.look, METRICS_EVERY_S, lambda: False)
        return
    if profile and not once and _grafana(arguments.profile(profile, store), name):
        return
    kept = glances.Kept(name, arguments.existing(store, profile))
    if once:
        typer.echo(displays.fitted(kept.look()))
    else:
        _watch(kept.look, STORE_EVERY_S, lambda: kept.is_complete)


def _span(text: str) -> datetime.timedelta:
    from bertline.errors import UserError

    match = re.fullmatch(r"(\d{1,4})([mhd])", text)
    if not match or not int(match[1]):
        raise UserError(f"--since is {text!r}; expected minutes, hours or days, as 90m, 6h or 7d")
    return datetime.timedelta(**{UNITS[match[2]]: int(match[1])})


def _watch(look: Callable[[], list[str]], every_s: float, is_over: Callable[[], bool]) -> None:
    """Show it again and again, until Ctrl-C or the end: in place on a terminal, one below the other elsewhere."""
    try:
        if sys.stdout.isatty():
            from rich.live import Live
            from rich.text import Text

            with Live(Text(displays.fitted(look())), auto_refresh=False) as display:
                while not is_over():
                    time.sleep(every_s)
                    display.update(Text(displays.fitted(look())), refresh=True)
            return
        typer.echo(displays.fitted(look()))
        while not is_over():
            time.sleep(every_s)
            typer.echo(displays.fitted(look()))
    except KeyboardInterrupt:  # the way to end it, nothing has been stopped
        return


def _grafana(profile: "Profile", experiment: str) -> bool:
    """Forward a port to the cluster's Grafana until Ctrl-C; False if it has none."""
    from bertline.errors import TransientError

    if profile.kubeflow is None:
        return False
    context = ["--context", profile.kubeflow.context] if profile.kubeflow.context else []
    service = _service(context)
    if service is None:
        typer.echo(
            f"the cluster of profile {profile.name} has no Grafana (a service labelled {LABEL}): this is from the store"
        )
        return False
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    port = service["spec"]["ports"][0]["port"]
    command = ["kubectl", *context, "-n", namespace, "port-forward", f"service/{name}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        try:
            said = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            if said:
                query = urllib.parse.urlencode({"var-experiment": experiment})
                typer.echo(f"dashboard: http://127.0.0.1:{said[1]}/d/{UID}?{query}   (Ctrl-C ends it)")
                for _ in process.stdout:  # a line a connection
                    pass
            reason = process.stderr.read().strip()
        except KeyboardInterrupt:
            return True
        finally:
            process.terminate()
    raise TransientError(f"the connection to {namespace}/{name} has ended: {reason}; run the same command again")


def _service(context: list[str]) -> dict[str, Any] | None:
    """Grafana's, the first of them."""
    from bertline.errors import TransientError, UserError

    command = ["kubectl", *context, "get", "services", "--all-namespaces", "--selector", LABEL, "--output", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=KUBECTL_S, check=True)
    except FileNotFoundError as error:
        raise UserError(
            "`kubectl` isn't installed, and the way to Grafana goes through it; without it: --metrics, --prometheus, "
            "or no --profile"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"the cluster doesn't answer within {KUBECTL_S:.0f} s: {' '.join(command)}") from error
    except subprocess.CalledProcessError as error:
        raise TransientError(f"kubectl can't look for Grafana: {error.stderr.strip()}") from error
    services: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return services[0] if services else None
