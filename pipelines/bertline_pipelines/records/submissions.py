"""Records of runs: `runs/<experiment>/<number>.json` in the store, so that any machine can follow and cancel them.

A record is created before the run is posted, and then completed with the run's id. If the process dies between these
steps, the next one looks for the record's display name, so that no run is posted twice or lost.
"""

import json
import platform
import re
import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bertline.errors import DamagedError, UserError
from bertline.experiment import graphs
from bertline.pretrain.config import PretrainConfig
from bertline.process import parallel
from bertline.store import realizations
from bertline.store.objects import ConflictError, ObjectStore, Version
from bertline_pipelines.planning.plans import Plan, Task

if TYPE_CHECKING:
    from bertline_pipelines.kubeflow.api import Kubeflow

ROOT = "runs/"
RECORD = re.compile(rf"{ROOT}[^/]+/\d+\.json")


class SubmittedTask(BaseModel):
    """A task of the experiment as it was planned."""

    model_config = ConfigDict(frozen=True)

    name: str
    stage: str
    keys: tuple[str, ...]
    after: tuple[str, ...]
    run: str
    epoch: int
    end_step: int
    """Last step of a round of pre-training; 0 for other tasks."""
    included: bool
    """False if it isn't part of this run: it was done already, or belongs to a later run."""


AnyTask = graphs.Task | SubmittedTask
"""Both have a name, a stage and the keys of their results."""


class Submission(BaseModel):
    """One run on Kubeflow."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    experiment: str
    number: int
    """Number of the run within the experiment, from 1."""
    graph: str
    """Digest of the experiment's version."""
    profile: str
    endpoint: str
    namespace: str
    display_name: str
    """A unique name, by which the run is found if its id was lost."""
    parts: int
    """Runs that were needed when it was submitted, with this one; a long experiment needs several."""
    submitted: float
    host: str
    run_id: str | None
    cancelled: float | None = None
    """Time of `bertline cancel`, by that machine's clock; Kubeflow later reports such a run as failed."""
    tasks: tuple[SubmittedTask, ...]

    @property
    def object_name(self) -> str:
        """Name of the record's object."""
        return _object_name(self.experiment, self.number)


def prefix(experiment: str) -> str:
    """Prefix of an experiment's records and of the lease for writing them."""
    return f"{ROOT}{experiment}/"


def announce(
    store: ObjectStore,
    plan: Plan,
    included: tuple[Task, ...],
    *,
    graph: str,
    profile: str,
    endpoint: str,
    namespace: str,
    parts: int,
) -> Submission:
    """Create the record of a run that is about to be posted.

    Args:
        store: The store.
        plan: The plan of the whole experiment.
        included: The tasks of this run.
        graph: Digest of the experiment's version.
        profile: Name of the profile.
        endpoint: KFP's endpoint.
        namespace: Namespace of its pods.
        parts: Number of missing runs, with this one.
    """
    experiment = plan.graph.experiment.name
    number = max((each.number for each in read(store, experiment)), default=0) + 1
    while True:
        submission = Submission(
            experiment=experiment,
            number=number,
            graph=graph,
            profile=profile,
            endpoint=endpoint,
            namespace=namespace,
            display_name=f"bertline-{experiment}-{graph[:8]}-{number}",
            parts=parts,
            submitted=time.time(),
            host=platform.node(),
            run_id=None,
            tasks=tuple(_task(task, task.name in {each.name for each in included}) for task in plan.tasks),
        )
        try:
            store.create(submission.object_name, _content(submission))
        except ConflictError:
            number += 1
        else:
            return submission


def complete(store: ObjectStore, submission: Submission, run_id: str) -> Submission:
    """Add the run's id."""
    return _changed(store, submission, run_id=run_id)


def read(store: ObjectStore, experiment: str | None = None) -> list[Submission]:
    """All records of an experiment, or of all, oldest first."""
    names = [found.name for found in store.list(prefix(experiment) if experiment else ROOT)]
    records = [name for name in names if RECORD.fullmatch(name)]  # the lease is there too
    return parallel.each(lambda name: _read(store, name)[0], records)


def latest(store: ObjectStore, experiment: str) -> Submission | None:
    """The last run of an experiment."""
    return max(read(store, experiment), key=lambda each: each.number, default=None)


def find(store: ObjectStore, run: str) -> Submission:
    """A run by the experiment's name (its last run), by its id, or by the beginning of the id.

    Raises:
        UserError: there is no such run; names the experiments with runs.
    """
    everything = read(store)
    named = [each for each in everything if each.experiment == run]
    if not named and len(run) >= 6:
        named = [each for each in everything if (each.run_id or "").startswith(run) or each.display_name == run]
    if not named:
        known = sorted({each.experiment for each in everything})
        raise UserError(
            f"store {store.uri} has no run of {run!r}; "
            + (
                f"it has runs of {', '.join(known)}"
                if known
                else "nothing was submitted with it yet: `bertline submit`"
            )
        )
    return max(named, key=lambda each: each.number)


def reread(store: ObjectStore, submission: Submission) -> Submission:
    """Read the current record of a run."""
    return _read(store, submission.object_name)[0]


def is_done(store: ObjectStore, submission: Submission) -> bool:
    """Whether all results of a run are done."""
    return all(
        realizations.find(store, task.stage, key) is not None
        for task in submission.tasks
        if task.included
        for key in task.keys
    )


def cancel(store: ObjectStore, submission: Submission, kubeflow: "Kubeflow") -> Submission:
    """Record that a run is cancelled, so that it isn't resumed automatically, and tell Kubeflow to end it.

    Finished results and checkpoints are kept. A run that has ended doesn't change.

    Raises:
        UserError: the run was never posted, or the server doesn't know it.
    """
    if submission.run_id is None:
        found = kubeflow.find(submission.display_name)
        if found is None:
            raise UserError(f"run {submission.display_name} was never posted; there is nothing to cancel")
        submission = complete(store, submission, found.id)
    assert submission.run_id is not None
    run_id = submission.run_id
    if not kubeflow.run(run_id).final:
        submission = _changed(store, submission, cancelled=time.time())
        kubeflow.terminate(run_id)
    return submission


def _read(store: ObjectStore, name: str) -> tuple[Submission, Version]:
    content, version = store.get(name)
    try:
        return Submission.model_validate_json(content), version
    except ValidationError as error:
        raise DamagedError(f"{store.uri}/{name} isn't the record of a run: {error}") from error


def _changed(store: ObjectStore, submission: Submission, **changes: Any) -> Submission:
    """Change some fields of a record; keeps changes by other processes."""
    while True:
        current, version = _read(store, submission.object_name)
        changed = current.model_copy(update=changes)
        try:
            store.replace(submission.object_name, _content(changed), version)
        except ConflictError:
            continue
        return changed


def _object_name(experiment: str, number: int) -> str:
    return f"{prefix(experiment)}{number:04d}.json"


def _content(submission: Submission) -> bytes:
    document: dict[str, Any] = submission.model_dump(mode="json")
    return json.dumps(document, indent=1).encode()


def _task(task: Task, included: bool) -> SubmittedTask:
    ends = [config.end_step for config in task.configs if isinstance(config, PretrainConfig)]
    return SubmittedTask(
        name=task.name,
        stage=task.stage,
        keys=task.keys,
        after=task.after,
        run=task.run,
        epoch=task.epoch,
        end_step=max(ends, default=0),
        included=included,
    )
