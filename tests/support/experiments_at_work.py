"""An experiment of two models in a store, where tests say what its tasks have done."""

from bertline.experiment.specs import Experiment
from bertline.store import attempts, references
from bertline.store.realizations import Outcome, realize
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.records import submissions

DATA = {"url": "https://example.org/data", "sha256": "a" * 64}
DOCUMENT = {
    "name": "small",
    "corpus": {"dump": DATA, "shards": 1},
    "vocabulary": {"file": DATA, "lower_case": True},
    "models": {"3L": {"layers": 3, "batch_size": 128}, "6L": {"layers": 6, "batch_size": 64}},
    "pretrain": {"epochs": 2, "epochs_per_round": 1, "learning_rate": {"schedule": "constant"}},
    "evaluate": {"tasks": {"MNLI-m": {"train": DATA, "dev": DATA}}, "seeds": [1, 2]},
}


class Work:
    """An experiment in a store, and what tasks of it do."""

    def __init__(self, store):
        self.store = store
        self.graph = unrolling.build(Experiment.model_validate(DOCUMENT))
        self.reference = references.write(store, "small", self.graph.document)
        self.plan = plans.plan(self.graph, None)

    def task(self, name):
        return next(task for task in self.plan.tasks if task.name == name)

    def attempt(self, name, printed=None, *, result=0, **last):
        """One attempt that printed this and ended with this event."""
        attempt = attempts.Attempt(self.store, self.task(name).configs[result].derivation().prefix)
        if printed is not None:
            attempt.keep_output(printed.encode())
        if last:
            attempt.record(**last)
            attempt.flush()
        return attempt

    def finish(self, name):
        for config in self.task(name).configs:
            realize(self.store, config.derivation(), lambda work: Outcome({}, {}))

    def submit(self, run_id, endpoint="http://127.0.0.1:9"):
        submission = submissions.announce(
            self.store,
            self.plan,
            self.plan.tasks,
            graph=self.reference.digest,
            profile="kind",
            endpoint=endpoint,
            namespace="kubeflow",
            parts=1,
        )
        return submissions.complete(self.store, submission, run_id)
