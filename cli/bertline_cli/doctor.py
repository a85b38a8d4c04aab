"""`bertline doctor`: check everything that a submitted run needs."""

import json
import shutil
import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

import typer

from bertline_cli import arguments

if TYPE_CHECKING:
    from bertline_pipelines.doctor.findings import Finding

EXAMPLE = "Example:  bertline doctor --profile gke-l4"

MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "unknown": "?"}


def command(profile: arguments.Profile, store: arguments.Store = None, as_json: arguments.Json = False) -> None:
    """Check everything that a submitted run needs.

    This is Kubeflow, the namespace with its permissions, account, secrets and quota, nodes that the pods fit on, the
    store, the images. It writes one small object to the store and deletes it again; it changes nothing else.
    """
    from bertline_pipelines.doctor import checks, findings

    found = []
    for finding in checks.run(arguments.profile(profile, store)):
        found.append(finding)
        if not as_json:
            typer.echo(_line(finding, checks.WIDTH))
    code = findings.exit_code(found)
    if as_json:
        document = {"profile": profile, "findings": [each.document() for each in found], "exit_code": int(code)}
        typer.echo(json.dumps(document, indent=2))
    else:
        count = Counter(each.state.value for each in found)
        typer.echo(", ".join(f"{count[state]} {state}" for state in MARKS if count[state]))
        options = arguments.options(store, profile)
        typer.echo(
            f"Next:  fix what has a ✗, then  bertline doctor {options}"
            if code
            else f"Next:  bertline submit EXPERIMENT.yaml {options}"
        )
    raise typer.Exit(code)


def _line(finding: "Finding", width: int) -> str:
    """Mark, name, sentence; on a terminal long sentences continue on indented lines."""
    start = f"{MARKS[finding.state]} {finding.name:{width}}  "
    if not sys.stdout.isatty():
        return start + finding.text
    columns = max(60, shutil.get_terminal_size().columns)
    return textwrap.fill(
        finding.text,
        columns,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
