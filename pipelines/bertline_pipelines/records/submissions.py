"""What was submitted: `runs/<experiment>/<number>.json` in the store, so that any machine can follow and cancel it.

A record is created before the run is posted and completed with the run's id after. So whoever dies in between leaves a
record whose display name the next one looks for: nothing is submitted twice, and nothing is lost track of.
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
    """Of a round of pre-training; 0 elsewhere."""
    included: bool
    """False if it isn't part of this run: it was done already, or is left to a later one."""


AnyTask = graphs.Task | SubmittedTask
"""Both have a name, a stage and the keys of what they make."""


class Submission(BaseModel):
    """One run on Kubeflow."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    experiment: str
    number: int
    """Of this experiment's runs, from 1."""
    graph: str
    """Digest of the experiment's version."""
    profile: str
    endpoint: str
    namespace: str
    display_name: str
    """Unique: by it the run is found when its id was lost."""
    parts: int
    """How many runs were left when it was submitted, with this one; a long experiment takes several."""
    submitted: float
    host: str
    run_id: str | None
    cancelled: float | None = None
    """When `bertline cancel` was told to end it, by that machine's clock; Kubeflow calls such a run failed later."""
    tasks: tuple[SubmittedTask, ...]

    @property
    def object_name(self) -> str:
        """Where the record lies."""
        return _object_name(self.experiment, self.number)


def prefix(experiment: str) -> str:
    """Where an experiment's records lie; also the place of the lease under which they are written."""
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
        store: Where.
        plan: All of the experiment.
        included: The tasks that this run holds.
        graph: Digest of the experiment's version.
        profile: Its name.
        endpoint: KFP's.
        namespace: Where its pods run.
        parts: How many runs are left, with this one.
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
    records = [name for name in names if RECORD.fullmatch(name)]  # there is the lease as well
    return parallel.each(lambda name: _read(store, name)[0], records)


def latest(store: ObjectStore, experiment: str) -> Submission | None:
    """The last run of an experiment."""
    return max(read(store, experiment), key=lambda each: each.number, default=None)


def find(store: ObjectStore, run: str) -> Submission:
    """A run by what people call it: the experiment's name (its last run), or a run's id or its beginning.

    Raises:
        UserError: there is no such run; names the experiments that have any.
    """
    everything = read(store)
    named = [each for each in everything if each.experiment == run]
    if not named and len(run) >= 6:
        named = [each for each in everything if (each.run_id or "").startswith(run) or each.display_name == run]
    if not named:
        known = sorted({each.experiment for each in everything})
        raise UserError(
            f"store {store.uri} knows no run of {run!r}; "
            + (
                f"it has runs of {', '.join(known)}"
                if known
                else "nothing was submitted with it yet: `bertline submit`"
            )
        )
    return max(named, key=lambda each: each.number)


def reread(store: ObjectStore, submission: Submission) -> Submission:
    """Its record as it is now."""
    return _read(store, submission.object_name)[0]


def is_done(store: ObjectStore, submission: Submission) -> bool:
    """Whether everything that a run holds is done."""
    return all(
        realizations.find(store, task.stage, key) is not None
        for task in submission.tasks
        if task.included
        for key in task.keys
    )


def cancel(store: ObjectStore, submission: Submission, kubeflow: "Kubeflow") -> Submission:
    """Tell Kubeflow to end a run, which takes it a while, and record that first: nobody submits it again by himself.

    What is done is kept, and its attempts end at their last checkpoint. Nothing happens to a run that is over.

    Raises:
        UserError: it isn't known whether there is a run, or the server doesn't know it.
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
    """Change a record, and nothing that somebody else has changed in it."""
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
