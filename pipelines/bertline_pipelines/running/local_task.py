"""One task in a separate process, see `local`. The fork server imports this module and kfp once."""

import os
import re
import signal
import sys
from pathlib import Path

from kfp import local

from bertline_pipelines.compiling import pipelines
from bertline_pipelines.planning.plans import Task
from bertline_pipelines.running import streams

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run(name: str, task: Task, store_uri: str, log: str, root: str, environment: dict[str, str]) -> None:
    """Run a pipeline of one task; ends the process with 0 or 1.

    Args:
        name: The experiment's name.
        task: The task; its inputs are done.
        store_uri: The store.
        log: File for all output.
        root: KFP's pipeline root: a scratch folder for its executor's small outputs.
        environment: Added to this process' environment, which the task inherits.
    """
    os.setpgid(0, 0)  # a process group, so that the task and its child processes can be ended together
    # The executor reacts to the signal. This needs a handler, because the executor would inherit an ignored signal.
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.environ.update(environment)
    Path(log).unlink(missing_ok=True)  # a task of a killed run may still write to it
    with open(log, "x", encoding="utf-8", buffering=1) as file:
        for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(file.fileno(), descriptor)
        # A full or missing disk of the log mustn't fail the task.
        sys.stdout, sys.stderr = streams.lasting(sys.stdout), streams.lasting(sys.stderr)
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
        pipeline = pipelines.build(name, (task,), store_uri)
        try:
            pipeline()
        except RuntimeError as error:  # kfp.local raises this when a task fails
            sys.stderr.write(ANSI.sub("", f"{error}\n"))
            sys.exit(1)
