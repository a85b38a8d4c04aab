"""The Kubeflow pipeline: a plan's missing tasks as a flat, static graph.

It has no loops, conditions or artifacts of KFP: `unrolling` has unrolled the loop, tasks exchange data through the
store, and `after` sets their order. README, "The pipeline", gives the reasons.
"""

import importlib
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from bertline_pipelines import stages
from bertline_pipelines.compiling import placements
from bertline_pipelines.places.profiles import Profile
from bertline_pipelines.planning.plans import Task


def build(name: str, tasks: tuple[Task, ...], store_uri: str, profile: Profile | None = None) -> BaseComponent:
    """The pipeline of these tasks; its only parameter is `store`.

    Args:
        name: The experiment's name.
        tasks: `Plan.missing`, or a part of it whose inputs exist.
        store_uri: Default of the parameter.
        profile: Settings of the tasks' pods; None for processes on this machine.
    """

    @dsl.pipeline(name=f"bertline-{name.lower().replace('.', '-').replace('_', '-')}")
    def experiment(store: str = store_uri) -> None:
        made: dict[str, Any] = {}
        for task in tasks:
            made[task.name] = _component(task.stage)(store=store, config=task.missing)
            made[task.name].set_display_name(task.name)
            # KFP's cache compares image names and parameters, not bytes; our cache is the store.
            made[task.name].set_caching_options(enable_caching=False)
            if profile:
                placements.place(made[task.name], task, name, profile)
            made[task.name].after(*(made[before] for before in task.after if before in made))

    pipeline: BaseComponent = experiment
    return pipeline


def _component(stage: str) -> BaseComponent:
    """A stage's component by convention: `corpus-part` is `corpus_part` in `bertline.corpus.component`."""
    module = importlib.import_module(f"bertline.{stages.of(stage).package}.component")
    component: BaseComponent = getattr(module, stage.replace("-", "_"))
    return component
