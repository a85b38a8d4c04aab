"""The outcome of a run: Kubeflow's state, corrected by Argo's workflow and by our own record.

Kubeflow reports a cancelled run as failed, and a run whose workflow was deleted as running for ever.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertline.errors import BertlineError
from bertline_pipelines.cluster.steps import Workflow
from bertline_pipelines.kubeflow.api import RunNotFoundError
from bertline_pipelines.kubeflow.runs import Run
from bertline_pipelines.records.submissions import Submission

if TYPE_CHECKING:
    from bertline_pipelines.cluster.reader import Cluster
    from bertline_pipelines.kubeflow.api import Kubeflow

YOUNG_S = 60.0
"""Seconds after a run's begin in which its workflow may not exist yet."""

OVER = ("succeeded", "failed", "canceled", "skipped", "forgotten", "lost")


@dataclass(frozen=True)
class RunOutcome:
    """A run's state, from Kubeflow and Argo."""

    state: str
    """KFP's state in lower case; `lost` if its workflow was deleted, so that it can't continue; `forgotten` if the
    server doesn't know it; `unknown` if Kubeflow doesn't answer."""
    run: Run | None = None
    """None if it is forgotten or unknown."""
    workflow: Workflow | None = None
    """None if it doesn't exist or can't be read."""
    remarks: tuple[str, ...] = ()
    """What couldn't be read, and contradictions."""

    @property
    def is_over(self) -> bool:
        """True if the run has ended."""
        return self.state in OVER


def learn(submission: Submission, kubeflow: "Kubeflow | None", cluster: "Cluster | None") -> RunOutcome:
    """Read a run's outcome from Kubeflow and Argo.

    Args:
        submission: The run.
        kubeflow: None if it can't be reached.
        cluster: None if it can't be reached; then Kubeflow's state is used.
    """
    if submission.run_id is None:
        return RunOutcome(
            "unknown", remarks=("the run may not have been posted: `bertline submit` finds it or posts it again",)
        )
    remarks: list[str] = []
    run, state = _ask_kubeflow(submission.run_id, kubeflow, remarks)
    workflow, is_known = None, False
    if cluster is not None and state not in ("forgotten", "succeeded"):
        try:
            workflow = cluster.workflow(submission.namespace, submission.run_id)
            is_known = True
        except BertlineError as error:
            remarks.append(f"Argo can't be read: {error}")
    if run is None:
        return RunOutcome(state, None, workflow, tuple(remarks))
    was_ended = submission.cancelled is not None or (workflow is not None and workflow.terminated)
    if run.state == "FAILED" and was_ended:
        run = dataclasses.replace(run, state="CANCELED")
        state = "canceled"
    elif not run.final and is_known and workflow is None and run.age_s >= YOUNG_S:
        state = "canceled" if submission.cancelled is not None or state == "canceling" else "lost"
        remarks.append(
            f"Kubeflow calls the run {run.state.lower()}, but its workflow was deleted from namespace "
            f"{submission.namespace}, so it can't continue"
        )
    elif not run.final and was_ended:
        state = "canceling"
    return RunOutcome(state, run, workflow, tuple(remarks))


def _ask_kubeflow(run_id: str, kubeflow: "Kubeflow | None", remarks: list[str]) -> tuple[Run | None, str]:
    if kubeflow is None:
        return None, "unknown"
    try:
        run = kubeflow.run(run_id)
    except RunNotFoundError as error:
        remarks.append(str(error))
        return None, "forgotten"
    except BertlineError as error:
        remarks.append(str(error))
        return None, "unknown"
    return run, run.state.lower()
