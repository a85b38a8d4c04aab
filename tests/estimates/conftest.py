"""An empty store, and what a plan for it will take."""

import pytest

from bertline.store.backends import connect
from bertline_pipelines.estimates import totals
from bertline_pipelines.estimates.devices import Device
from bertline_pipelines.planning import plans
from bertline_pipelines.stages import STAGES

CPU, GPU = Device(2), Device(6, "1080 Ti", 1)


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


@pytest.fixture
def estimate(store):
    """The tasks by name, and the whole estimate."""

    def run(graph, pretrain=CPU, evaluate=CPU, other=CPU, **options):
        at = dict.fromkeys([stage.name for stage in STAGES], other) | {"pretrain": pretrain, "evaluate": evaluate}
        found = totals.estimate(plans.plan(graph, store), store, at, **options)
        return {each.task.name: each for each in found.tasks}, found

    return run
