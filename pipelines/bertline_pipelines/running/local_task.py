"""One task in a process of its own, see `local`. Imported once by the fork server, kfp and all."""

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
        name: The experiment's.
        task: What to run; what it needs is done.
        store_uri: Where.
        log: File for everything that is printed.
        root: KFP's pipeline root: a scratch folder for its executor's small outputs.
        environment: Added to this process' own, inherited by the task's.
    """
    os.setpgid(0, 0)  # so that the task and all it starts can be ended together
    # The executor decides when it ends. A handler, because what is ignored here would stay ignored there.
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.environ.update(environment)
    Path(log).unlink(missing_ok=True)  # a task of a killed run may still write to it
    with open(log, "x", encoding="utf-8", buffering=1) as file:
        for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(file.fileno(), descriptor)
        # The log's disk may be full, or away: that is no reason for a task to fail.
        sys.stdout, sys.stderr = streams.lasting(sys.stdout), streams.lasting(sys.stderr)
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
        pipeline = pipelines.build(name, (task,), store_uri)
        try:
            pipeline()
        except RuntimeError as error:  # what kfp.local raises when a task fails
            sys.stderr.write(ANSI.sub("", f"{error}\n"))
            sys.exit(1)
