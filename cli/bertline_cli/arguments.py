"""Arguments and options of several commands, and what they refer to."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bertline.experiment.corpora import Articles
    from bertline.experiment.graphs import Graph
    from bertline.experiment.specs import Experiment, Vocabulary
    from bertline.store.objects import ObjectStore
    from bertline_pipelines.places import profiles

ExperimentFile = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.", show_default=False)
]

ExperimentName = Annotated[
    str,
    typer.Argument(metavar="EXPERIMENT", help="The experiment's name in the store, or its file.", show_default=False),
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
        help="The profile: kind, minikube, gke-l4, … or the path of your own.",
        show_default=False,
    ),
]

OptionalProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        envvar="BERTLINE_PROFILE",
        help="The profile of a cluster: kind, minikube, gke-l4, … or the path of your own.",
        show_default=False,
    ),
]

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the experiment, as pretrain.epochs=100. May be repeated.",
        show_default=False,
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]

DEFAULT_STORE = "out/store"

NOT_KNOWN = {
    "BERTLINE_STORE": "without a bucket every task counts as missing",
    "BERTLINE_REGISTRY": "without a registry the names of images aren't known",
}


@dataclass(frozen=True)
class Outlook:
    """The place that a plan is for, as far as it is known."""

    profile: "profiles.Profile | None"
    store: "ObjectStore | None"
    """None means that the store can't be read."""
    unknown: tuple[str, ...]
    """A sentence for each thing that isn't known."""


def load(
    path: Path,
    changes: Sequence[str] | None = None,
    store: "Callable[[], ObjectStore | None] | None" = None,
    *,
    may_be_unknown: bool = False,
) -> tuple["Experiment", "Graph"]:
    """The experiment of a file and all it leads to, with its local sources checked.

    Args:
        path: Of the file.
        changes: What `--set` says.
        store: Where it may have been run before; without it nothing is looked up (see `planning.releases`).
        may_be_unknown: See there.

    Raises:
        FileError: all that is wrong, in the file and in what it names on this machine.
        UserError, TransientError: what the file leaves open can't be looked up.
    """
    from bertline.configuration.yamlfiles import FileError
    from bertline.experiment import specs
    from bertline.experiment.corpora import Corpus
    from bertline.experiment.specs import Evaluate, Vocabulary
    from bertline_cli import displays
    from bertline_pipelines.planning import input_checks, releases, unrolling

    document = specs.read(path).changed(changes or ())
    corpus, vocabulary, evaluate = (
        specs.section(document, "corpus", Corpus),
        specs.section(document, "vocabulary", Vocabulary),
        specs.section(document, "evaluate", Evaluate),
    )
    with displays.transfers():  # the first checksum of a dump takes a minute
        problems = document.located(input_checks.inputs(corpus, vocabulary, evaluate))
        try:
            experiment = specs.of(document)
        except FileError as error:
            raise FileError(path, [*error.found, *problems]) from error
        if problems:
            raise FileError(path, problems)
        if store:
            experiment, found = releases.resolved(experiment, store, may_be_unknown=may_be_unknown)
            for sentence in found:
                typer.echo(f"note: {sentence}", err=True)
        return experiment, unrolling.build(experiment)


def refuse(corpus: "Articles", vocabulary: "Vocabulary | None") -> None:
    """Look at the input of a command that has no experiment file.

    Raises:
        UserError: a line for each thing that is wrong.
    """
    from bertline.errors import UserError
    from bertline_pipelines.planning import input_checks

    if wrong := [said for _, said in input_checks.inputs(corpus, vocabulary, None)]:
        raise UserError("\n".join(wrong))


def name(experiment: str) -> str:
    """The name of an experiment that was given by its file or by its name."""
    from bertline.experiment import specs

    return specs.load(Path(experiment)).name if experiment.endswith((".yaml", ".yml")) else experiment


def profile(name: str, store: str | None = None) -> "profiles.Profile":
    """A profile by name or path; `--store` and the environment override its values."""
    from bertline_pipelines.places import profiles

    return profiles.load(name, os.environ | ({"BERTLINE_STORE": store} if store else {}))


def connect(store: str | None, profile_name: str | None = None) -> "ObjectStore":
    """The store of `--store`, or of the profile with its endpoint and credentials, or the default store.

    Raises:
        OutageError: the store doesn't answer within seconds.
    """
    from bertline.store import backends, objects

    if profile_name is None:
        connected = backends.connect(store or DEFAULT_STORE)
    else:
        from bertline_pipelines.places import access

        connected = access.store(profile(profile_name, store))
    objects.reach(connected)
    return connected


def existing(store: str | None, profile_name: str | None = None) -> "ObjectStore":
    """`connect`, for commands that need a store with content.

    Raises:
        UserError: the store is empty.
    """
    from bertline.errors import UserError
    from bertline.store import objects

    connected = connect(store, profile_name)
    if objects.is_empty(connected):
        raise UserError(
            f"there is no store at {connected.uri}: it has no objects of bertline. Check the path, or make one with "
            "`bertline run` or `bertline submit`"
        )
    return connected


def look(store: str | None, profile_name: str | None) -> "Outlook":
    """The place for a plan or a dry run; bucket and registry needn't exist, and the store needn't answer."""
    from bertline.errors import BertlineError, DamagedError
    from bertline.store import backends, objects
    from bertline_pipelines.places import access, profiles

    place, unknown = None, []
    if profile_name is not None:
        environment = os.environ | ({"BERTLINE_STORE": store} if store else {})
        place = profiles.load(profile_name, environment, may_be_unknown=True)
        unknown = [f"{variable} isn't set: {NOT_KNOWN[variable]}" for variable in place.unknown]
        if "BERTLINE_STORE" in place.unknown:
            return Outlook(place, None, tuple(unknown))
    uri = place.store.uri if place else store or DEFAULT_STORE
    try:
        connected = access.store(place) if place else backends.connect(uri)
        objects.reach(connected)
        if objects.is_empty(connected):
            unknown.append(f"{connected.uri} is empty, so every task counts as missing")
    except BertlineError as error:
        if isinstance(error, DamagedError) or not uri.startswith(("gs://", "s3://")):
            raise  # a store on this machine can always be read
        unknown.append(f"{uri} can't be read, so every task counts as missing: {error}")
        return Outlook(place, None, tuple(unknown))
    return Outlook(place, connected, tuple(unknown))


def options(store: str | None, profile_name: str | None, changes: Sequence[str] | None = None) -> str:
    """The same options for the next command, to copy and paste; `changes` only for one that takes `--set`."""
    import shlex

    named = [(option, value) for option, value in (("--profile", profile_name), ("--store", store)) if value]
    pairs = [*(named or [("--store", DEFAULT_STORE)]), *(("--set", change) for change in changes or ())]
    return shlex.join(word for pair in pairs for word in pair)
