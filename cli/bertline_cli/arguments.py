"""Arguments and options that several commands have, and what they stand for."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bertline.experiments import Experiment
    from bertline.store.objects import ObjectStore
    from bertline_pipelines import profiles
    from bertline_pipelines.graphs import Graph

ExperimentFile = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.", show_default=False)
]

ExperimentName = Annotated[
    str,
    typer.Argument(metavar="EXPERIMENT", help="Its name in the store, or its file.", show_default=False),
]

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="BERTLINE_STORE",
        help="A directory, file:///dir, gs://bucket/prefix or s3://bucket/prefix.",
        show_default="the profile's, else out/store",
    ),
]

Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        envvar="BERTLINE_PROFILE",
        help="Where it runs: kind, minikube, gke-l4, … or the path of a profile of your own.",
        show_default=False,
    ),
]

OptionalProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        envvar="BERTLINE_PROFILE",
        help="Of a cluster: kind, minikube, gke-l4, … or the path of one of your own.",
        show_default=False,
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]

DEFAULT_STORE = "out/store"


def load(path: Path) -> tuple["Experiment", "Graph"]:
    """The experiment of a file and all it leads to, with its local sources checked."""
    from bertline import experiments
    from bertline_pipelines import checks, graphs

    experiment = experiments.load(path)
    checks.sources(experiment)
    return experiment, graphs.build(experiment)


def name(experiment: str) -> str:
    """The name of an experiment that was given by its file or by its name."""
    from bertline import experiments

    return experiments.load(Path(experiment)).name if experiment.endswith((".yaml", ".yml")) else experiment


def profile(name: str, store: str | None = None) -> "profiles.Profile":
    """A profile by name or path; `--store` and the environment override what it says."""
    from bertline_pipelines import profiles

    return profiles.load(name, os.environ | ({"BERTLINE_STORE": store} if store else {}))


def connect(store: str | None, profile_name: str | None = None) -> "ObjectStore":
    """The store that was named, or the profile's with its endpoint and credentials, or that of `bertline run`."""
    from bertline.store import objects

    if profile_name is None:
        return objects.connect(store or DEFAULT_STORE)
    from bertline_pipelines import access

    return access.store(profile(profile_name, store))


def existing(store: str | None, profile_name: str | None = None) -> "ObjectStore":
    """`connect`, for commands that have nothing to say about a store with nothing in it.

    Raises:
        UserError: nothing lies there.
    """
    from bertline.errors import UserError
    from bertline.store import objects

    connected = connect(store, profile_name)
    if objects.is_empty(connected):
        raise UserError(
            f"there is no store at {connected.uri}: nothing of bertline's lies there. Check the path, or make a store: "
            "`bertline run` and `bertline submit` do"
        )
    return connected


def options(store: str | None, profile_name: str | None) -> str:
    """The same options for the next command, to copy and paste."""
    import shlex

    words = [
        word for option, value in (("--profile", profile_name), ("--store", store)) if value for word in (option, value)
    ]
    return shlex.join(words or ["--store", DEFAULT_STORE])
