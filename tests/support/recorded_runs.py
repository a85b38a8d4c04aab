"""Runs of the real backend as recorded: Argo's workflow, Kubeflow's run and the pods, less what nobody reads.

cancel       terminated while its first task began
nano-1       an experiment with a killed process, terminated in mid-training
nano-2       its resubmission, with a pod deleted by force, to the end
more-failed  retries exhausted
"""

import copy
import json
import threading
from pathlib import Path
from typing import Any

from bertline_pipelines.records.submissions import Submission, SubmittedTask
from support.kfp_executions import Refusal

WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"


def load(name: str) -> dict[str, Any]:
    """`workflow`, `run` and `pods` of one."""
    return json.loads(Path(__file__).with_name("recorded").joinpath(f"run-{name}.json").read_text())


class RecordedRun:
    """A run for `KfpServer.runs` that is what it is. Terminating it does what 2.16.1 does when the workflow is gone."""

    def __init__(self, document: dict[str, Any], **changes: Any) -> None:
        self._document = copy.deepcopy(document) | changes
        self.cancelled = threading.Event()
        self.thread = None

    def document(self) -> dict[str, Any]:
        return self._document

    def cancel(self) -> None:
        self._document["state"] = "CANCELING"
        self.cancelled.set()
        raise Refusal(500, "Failed to terminate the run: workflows.argoproj.io not found")


def submission(run: dict[str, Any], **changes: Any) -> Submission:
    """The record of a run, with a task for each of its tasks."""
    tasks = run["pipeline_spec"]["root"]["dag"]["tasks"]
    planned = [
        SubmittedTask(
            name=task["taskInfo"]["name"], stage="pretrain", keys=("0" * 64,), after=(), run="", epoch=0, end_step=0,
            included=True,
        )
        for task in tasks.values()
    ]  # fmt: skip
    return Submission(
        experiment="nano", number=1, graph="0" * 64, profile="kind", endpoint="", namespace="kubeflow",
        display_name=run["display_name"], parts=1, submitted=0.0, host="h", run_id=run["run_id"], tasks=tuple(planned),
    ).model_copy(update=changes)  # fmt: skip
