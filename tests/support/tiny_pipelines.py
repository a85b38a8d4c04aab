"""Pipelines of tasks that take a fraction of a second, as compiled documents."""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl, kubernetes

IMAGE = "python:3.11"

Document = tuple[dict[str, Any], dict[str, Any]]
"""Pipeline spec and platform spec, the latter empty where nothing is Kubernetes' business."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def note(folder: str, text: str) -> str:
    """Write `text` and the environment's GREETING to `folder`/<text>."""
    import os
    import pathlib

    pathlib.Path(folder, text).write_text(os.environ.get("GREETING", ""))
    return text + "!"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def stumble(folder: str, falls: int):
    """Fail the first `falls` times."""
    import pathlib

    count = len(list(pathlib.Path(folder).glob("fall-*")))
    if count < falls:
        pathlib.Path(folder, f"fall-{count}").touch()
        raise SystemExit(3)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def linger(folder: str, stubborn: str):
    """Write the process's id to `folder`/pid, and stay until SIGTERM; if `stubborn` is yes, until SIGKILL."""
    import os
    import pathlib
    import signal
    import time

    if stubborn == "yes":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    written = pathlib.Path(folder, "pid.part")
    written.write_text(str(os.getpid()))
    written.rename(pathlib.Path(folder, "pid"))
    time.sleep(60)


def notes() -> Document:
    """Two tasks, the second with the first one's output, an environment variable and a node selector."""

    @dsl.pipeline(name="notes")
    def pipeline(folder: str, text: str = "hello"):
        first = note(folder=folder, text=text).set_display_name("6L-first")
        second = note(folder=folder, text=first.output).set_display_name("6L-second")
        second.set_env_variable("GREETING", "good morning")
        kubernetes.add_node_selector(second, "pool", "gpu")
        for task in (first, second):
            task.set_caching_options(enable_caching=False)

    return compiled(pipeline)


def stumbling(falls: int, retries: int) -> Document:
    """A task that fails `falls` times, and one after it."""

    @dsl.pipeline(name="stumbling")
    def pipeline(folder: str):
        fallible = stumble(folder=folder, falls=falls).set_retry(retries)
        note(folder=folder, text="after").after(fallible)

    return compiled(pipeline)


def lingering(stubborn: bool = False) -> Document:
    """A task that stays for a minute, and one after it."""

    @dsl.pipeline(name="lingering")
    def pipeline(folder: str):
        long = linger(folder=folder, stubborn="yes" if stubborn else "no")
        note(folder=folder, text="after").after(long)

    return compiled(pipeline)


def compiled(pipeline: Any) -> Document:
    """What the compiler makes of a pipeline function."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        pipeline_spec, platform_spec, *_ = [*yaml.safe_load_all(path.read_text()), {}]
    return pipeline_spec, platform_spec
