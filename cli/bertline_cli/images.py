"""`bertline images`: build the images, push them to a registry or load them into a cluster on this machine."""

import json
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bertline_cli import arguments, displays
from bertline_cli.arguments import Json, OptionalProfile

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Build the images, push them, or load them into kind or minikube.",
)

Names = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="NAME", help="corpus, pretrain, evaluate or report; without it, all."),
]
Variant = Annotated[
    str,
    typer.Option(
        "--variant", metavar="cpu|cuda", help="For the images with TensorFlow; the others have only one variant."
    ),
]
Registry = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="HOST/PATH",
        envvar="BERTLINE_REGISTRY",
        help="Where pods pull from, such as europe-docker.pkg.dev/my-project/bertline; empty for loaded images.",
        show_default=False,
    ),
]
Tool = Annotated[
    str | None,
    typer.Option("--tool", metavar="docker|podman|buildah", help="The build tool; without it, the first that works."),
]
PipConf = Annotated[
    Path | None,
    typer.Option(
        "--pip-conf",
        metavar="FILE",
        envvar="PIP_CONFIG_FILE",
        exists=True,
        dir_okay=False,
        help="pip's settings for the build: your own index, a proxy. They don't stay in the image.",
    ),
]
Certificates = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        envvar="PIP_CERT",
        exists=True,
        dir_okay=False,
        help="Certificates that pip trusts in the build. They don't stay in the image.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the commands without running them.")]


@dataclass(frozen=True)
class Image:
    """One image that the commands work on."""

    name: str
    variant: str
    reference: str


@app.command("ls", epilog="Example:  bertline images ls --variant cuda --registry europe-docker.pkg.dev/p/bertline")
def list_(
    images: Names = None,
    variant: Variant = "cpu",
    registry: Registry = "",
    profile: OptionalProfile = None,
    tool: Tool = None,
    as_json: Json = False,
) -> None:
    """List the images that this version needs, their stages, and which ones are built on this machine."""
    from bertline.errors import UserError
    from bertline_pipelines.images import builders
    from bertline_pipelines.stages import STAGES

    try:
        found = builders.choose(tool)
    except UserError:
        found = ""  # without a tool the names can still be listed
    chosen = _chosen(images, variant, registry, profile)
    sizes = [builders.size(found, image.reference) if found else None for image in chosen]
    stages = [[stage.name for stage in STAGES if stage.image == image.name] for image in chosen]
    if as_json:
        rows = [
            {
                "image": image.name,
                "variant": image.variant,
                "stages": names,
                "reference": image.reference,
                "bytes": size,
            }
            for image, names, size in zip(chosen, stages, sizes, strict=True)
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    lines = [
        (image.reference, "not built here" if size is None else f"{size / 1e6:,.0f} MB", ", ".join(names))
        for image, names, size in zip(chosen, stages, sizes, strict=True)
    ]
    is_seen = sys.stdout.isatty()
    for line in displays.table(lines, displays.width()) if is_seen else map("\t".join, lines):
        typer.echo(line)


@app.command(
    epilog="Examples:  bertline images build                               all of them, for CPUs\n\n"
    "bertline images build --image pretrain --variant cuda    the one for GPUs"
)
def build(
    images: Names = None,
    variant: Variant = "cpu",
    registry: Registry = "",
    profile: OptionalProfile = None,
    tool: Tool = None,
    pip_conf: PipConf = None,
    ca_file: Certificates = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Build images with docker, podman or buildah. Images that exist aren't built again."""
    from bertline_pipelines.images import builders

    found = builders.choose(tool)
    secrets = {name: path.resolve() for name, path in (("pip.conf", pip_conf), ("ca.crt", ca_file)) if path}
    done = []
    for image in _chosen(images, variant, registry, profile):
        there = not dry_run and builders.is_there(found, image.reference)
        if there:
            typer.echo(f"{image.reference} is built already", err=as_json)
        else:
            _run(builders.build(found, image.name, image.variant, image.reference, secrets), dry_run, as_json)
        done.append({"image": image.name, "variant": image.variant, "reference": image.reference, "was_there": there})
    if as_json:
        typer.echo(json.dumps(done, indent=2))


@app.command(
    epilog="Example:  bertline images push --registry europe-docker.pkg.dev/my-project/bertline --variant cuda"
)
def push(
    images: Names = None,
    variant: Variant = "cpu",
    registry: Registry = "",
    profile: OptionalProfile = None,
    tool: Tool = None,
    dry_run: DryRun = False,
) -> None:
    """Push built images to a registry. First log in with the tool's own `login`."""
    from bertline.errors import UserError
    from bertline_pipelines.images import builders

    if not (registry or profile):
        raise UserError("push needs --registry (or BERTLINE_REGISTRY), the registry that the images were built for")
    found = builders.choose(tool)
    for image in _chosen(images, variant, registry, profile):
        _require(found, image, variant, dry_run)
        _run(builders.push(found, image.reference), dry_run)


@app.command(epilog="Examples:  bertline images load\n\nbertline images load --into minikube --cluster my-minikube")
def load(
    images: Names = None,
    variant: Variant = "cpu",
    registry: Registry = "",
    profile: OptionalProfile = None,
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="kind|minikube", help="What runs the cluster; without it, the first one found."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="The cluster's name; without it, `bertline` for kind, `minikube` for minikube.", show_default=False
        ),
    ] = None,
    tool: Tool = None,
    dry_run: DryRun = False,
) -> None:
    """Load built images into the nodes of a kind or minikube cluster on this machine."""
    from bertline_pipelines.images import builders

    found, loader = builders.choose(tool), builders.choose_loader(into)
    with tempfile.TemporaryDirectory(prefix="bertline-images-") as scratch:
        for image in _chosen(images, variant, registry, profile):
            _require(found, image, variant, dry_run)
            archive = Path("" if dry_run else scratch, f"bertline-{image.name}.tar")
            target = cluster or builders.CLUSTERS[loader]
            for command in builders.load(loader, found, image.reference, target, archive):
                _run(command, dry_run)
            archive.unlink(missing_ok=True)  # gigabytes each


def _chosen(names: list[str] | None, variant: str, registry: str, profile: str | None) -> list[Image]:
    """The chosen images, in the order of the list.

    With a profile these are the images of its pods, each in the variant of its stage; without one, all images, those
    with only one variant in that one.
    """
    from bertline_pipelines import stages
    from bertline_pipelines.images import catalogue

    for name in names or ():
        catalogue.variant_of(name, variant)  # refuses unknown names before anything is done
    wanted = {(name, catalogue.variant_of(name, variant)) for name in catalogue.VARIANTS}
    if profile:
        place = arguments.profile(profile)
        registry = registry or place.images.registry
        wanted = {
            (stage.image, catalogue.variant_of(stage.image, place.pods.of(stage.name).variant))
            for stage in stages.STAGES
        }
    return [
        Image(name, each, catalogue.reference(registry, name, each))
        for name, variants in catalogue.VARIANTS.items()
        for each in variants
        if (name, each) in wanted and (not names or name in names)
    ]


def _require(tool: str, image: Image, variant: str, dry_run: bool) -> None:
    from bertline.errors import UserError
    from bertline_pipelines.images import builders

    if dry_run or builders.is_there(tool, image.reference):
        return
    registry = image.reference.rpartition("/")[0]
    options = f" --variant {variant}" + (f" --registry {shlex.quote(registry)}" if registry else "")
    raise UserError(
        f"{tool} has no {image.reference}; build it first:  bertline images build --image {image.name}{options}"
    )


def _run(command: list[str], dry_run: bool, quiet: bool = False) -> None:
    """Print the command, and run it unless this is a dry run; with `quiet` all output goes to stderr."""
    from bertline.errors import UserError

    typer.echo(shlex.join(command), err=quiet)
    if dry_run:
        return
    sys.stdout.flush()
    try:
        code = subprocess.run(command, stdout=sys.stderr if quiet else None, check=False).returncode
    except FileNotFoundError as error:
        raise UserError(f"{command[0]} isn't on PATH; install it, or choose another tool") from error
    if code:
        raise UserError(f"`{' '.join(command[:2])}` ended with exit code {code}; its own message is above")
