"""The compiled pipeline: KFP's two documents, compiled, patched, linted, written.

The patch sets `retryPolicy.backoffMaxDuration` to thirty days. KFP 2.16's SDK allows an hour at most, counted from the
first attempt's start, so a pod that ran longer would never be retried. The backend has no such limit.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from bertline.errors import UserError
from bertline_pipelines.compiling import lints, pipelines
from bertline_pipelines.places.profiles import Profile
from bertline_pipelines.planning.plans import Task

RETRY_DEADLINE = f"{30 * 24 * 3600}s"


@dataclass(frozen=True)
class Document:
    """The documents of one run."""

    pipeline_spec: dict[str, Any]
    platform_spec: dict[str, Any]

    @property
    def text(self) -> str:
        """Both documents as one file for KFP's tools."""
        return yaml.safe_dump_all(
            [self.pipeline_spec, self.platform_spec], sort_keys=True, width=120, allow_unicode=True
        )


def compile_plan(experiment: str, tasks: tuple[Task, ...], profile: Profile) -> list[Document]:
    """The documents of these tasks: one, or several to run one after the other if one would be too large."""
    return [compile_tasks(experiment, part, profile) for part in chunks(tasks)]


def compile_tasks(experiment: str, tasks: tuple[Task, ...], profile: Profile) -> Document:
    """Compile tasks into one document.

    Raises:
        UserError: the linter found something that KFP would misread.
    """
    pipeline = pipelines.build(experiment, tasks, profile.store.uri, profile)
    document = _compile(pipeline)
    for task in document.pipeline_spec["root"]["dag"]["tasks"].values():
        if "retryPolicy" in task:
            task["retryPolicy"]["backoffMaxDuration"] = RETRY_DEADLINE
    if problems := lints.problems(document.pipeline_spec, document.platform_spec):
        raise UserError("the compiled pipeline would not work:\n" + "\n".join(f"  {each}" for each in problems))
    return document


def chunks(tasks: tuple[Task, ...], most: int = lints.MAX_TASKS) -> list[tuple[Task, ...]]:
    """Split tasks into parts of at most `most` tasks; a part needs only itself and earlier parts.

    Tasks are ordered by the length of the longest path to them, so that all models advance together.
    """
    depths: dict[str, int] = {}
    for task in tasks:  # in the order of the plan: needs come first
        depths[task.name] = 1 + max((depths[before] for before in task.after if before in depths), default=-1)
    ordered = sorted(tasks, key=lambda task: depths[task.name])
    return [tuple(ordered[begin : begin + most]) for begin in range(0, len(ordered), most)]


def read(path: Path) -> Document:
    """Read a compiled file."""
    try:
        pipeline_spec, platform_spec, *_ = [*yaml.safe_load_all(path.read_text(encoding="utf-8")), {}]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise UserError(f"can't read the compiled pipeline {path}: {error}") from error
    return Document(pipeline_spec, platform_spec)


def _compile(pipeline: BaseComponent) -> Document:
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        path = Path(directory, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        return read(path)
