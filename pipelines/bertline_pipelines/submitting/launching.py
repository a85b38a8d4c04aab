"""From a plan to a run on Kubeflow: at most one active run per experiment, and no work twice.

    lease → check for an active run → the experiment's version → files into the store → record → run → its id

If the process dies at any step, submitting again continues from there. A run that was posted but not recorded is found
by its display name.
"""

import contextlib
import time
from dataclasses import dataclass

from bertline.errors import BertlineError, TransientError, UserError
from bertline.experiment.graphs import Graph
from bertline.process import progress
from bertline.sources import files
from bertline.store import references
from bertline.store.leases import Lease
from bertline.store.objects import ObjectStore
from bertline_pipelines.compiling import documents
from bertline_pipelines.compiling.documents import Document
from bertline_pipelines.kubeflow.api import Kubeflow, RunNotFoundError
from bertline_pipelines.places import access
from bertline_pipelines.places.profiles import Profile
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.planning.plans import Plan, Task
from bertline_pipelines.records import submissions
from bertline_pipelines.records.submissions import Submission
from bertline_pipelines.submitting import outcomes

ENDING_S = 120.0
"""Seconds to wait for the end of a run that is being cancelled; it usually takes ten."""
ENDING_POLL_S = 2.0


@dataclass(frozen=True)
class Prepared:
    """Everything for a submission; nothing is written yet."""

    profile: Profile
    graph: Graph
    """The graph with this machine's paths."""
    plan: Plan
    """The plan of the portable graph, for pods."""
    parts: tuple[tuple[Task, ...], ...]
    """The missing tasks, one element per run."""
    document: Document | None
    """The document of the first part; None if nothing is missing."""

    @property
    def digest(self) -> str:
        """Digest of the experiment's version."""
        return self.plan.graph.digest


@dataclass(frozen=True)
class Submitted:
    """An active run of the experiment."""

    submission: Submission
    is_new: bool
    """False if it was already active."""


def prepare(graph: Graph, profile: Profile, store: ObjectStore | None) -> Prepared:
    """Read what is done, and compile the missing tasks. Writes nothing.

    Args:
        graph: The graph with this machine's paths.
        profile: The profile of the cluster.
        store: None means that every task is missing.

    Raises:
        UserError: the profile isn't for Kubeflow, or the compiled pipeline wouldn't work.
    """
    access.submits_to(profile)
    plan = plans.plan(unrolling.portable(graph), store, profile.corpus_pods)
    parts = tuple(documents.chunks(plan.missing))
    name = graph.experiment.name
    return Prepared(profile, graph, plan, parts, documents.compile_tasks(name, parts[0], profile) if parts else None)


def submit(prepared: Prepared, store: ObjectStore, kubeflow: Kubeflow) -> Submitted:
    """Post a run of the missing tasks, or find the active run.

    Raises:
        UserError: a run of another version of the experiment is active, or Kubeflow refuses this run.
        TransientError: Kubeflow can't be reached.
    """
    assert prepared.document is not None
    name = prepared.graph.experiment.name
    place = access.submits_to(prepared.profile)
    with Lease(store, submissions.prefix(name), notify=progress.say):
        last = submissions.latest(store, name)
        if last and (going := _going(last, store, kubeflow, prepared)):
            return Submitted(going, is_new=False)
        references.write(store, name, prepared.plan.graph.document)
        files.upload(prepared.graph.experiment.sources(), store)
        submission = submissions.announce(
            store,
            prepared.plan,
            prepared.parts[0],
            graph=prepared.digest,
            profile=prepared.profile.name,
            endpoint=place.endpoint,
            namespace=place.namespace,
            parts=len(prepared.parts),
        )
        run = kubeflow.submit(
            prepared.document.pipeline_spec,
            prepared.document.platform_spec,
            display_name=submission.display_name,
            experiment="bertline",
            service_account=place.service_account,
            parameters={"store": prepared.profile.store.uri},
        )
        return Submitted(submissions.complete(store, submission, run.id), is_new=True)


def _going(last: Submission, store: ObjectStore, kubeflow: Kubeflow, prepared: Prepared) -> Submission | None:
    """The experiment's last run if it is active, else None.

    A run isn't active if the server doesn't know it, if its results are done, or if its workflow was deleted; Kubeflow
    learns the second one late and the third one never.
    """
    if last.run_id is None:
        found = kubeflow.find(last.display_name)
        if found is None:
            return None
        last = submissions.complete(store, last, found.id)
    assert last.run_id is not None
    try:
        if kubeflow.run(last.run_id).final:
            return None
    except RunNotFoundError:
        return None
    if submissions.is_done(store, last):
        return None
    if _has_ended(last, kubeflow, prepared.profile):
        # If the workflow exists elsewhere, for example in the cluster of another kubectl context, this ends it.
        with contextlib.suppress(BertlineError):
            kubeflow.terminate(last.run_id)
        return None
    if last.graph != prepared.digest:
        raise UserError(
            f"a run of another version of experiment {last.experiment} is active: {kubeflow.url(last.run_id)}. "
            f"Wait for it (`bertline status {last.experiment} -w`), or end it (`bertline cancel {last.experiment}`); "
            "its finished results are kept in both cases"
        )
    return last


def _has_ended(last: Submission, kubeflow: Kubeflow, profile: Profile) -> bool:
    """Whether the run has ended; waits for a run that is being cancelled.

    Raises:
        TransientError: it is being cancelled and hasn't ended within `ENDING_S`.
    """
    blind: list[str] = []
    with contextlib.ExitStack() as stack:
        cluster = access.try_to(
            lambda: stack.enter_context(access.cluster(profile)),
            blind,
            f"the workflow of {last.display_name} can't be read",
        )
        outcome = outcomes.learn(last, kubeflow, cluster)
        for sentence in (*blind, *outcome.remarks):
            progress.say(sentence)
        if outcome.state == "canceling":
            progress.say(f"{last.display_name} is being cancelled; waiting until it has ended")
        until = time.monotonic() + ENDING_S
        while outcome.state == "canceling":
            if time.monotonic() > until:
                raise TransientError(
                    f"run {last.display_name} is being cancelled, but hasn't ended within {ENDING_S:.0f} s; run the "
                    f"same command again. If it never ends, delete it: {kubeflow.url(last.run_id or '')}"
                )
            time.sleep(ENDING_POLL_S)
            outcome = outcomes.learn(last, kubeflow, cluster)
    return outcome.is_over
