"""The programs that build images and bring them to a cluster, and their commands.

Commands are lists of words, which the caller runs or prints. This module itself only runs commands that read.

If nested containers aren't allowed, use buildah with BUILDAH_ISOLATION=chroot and STORAGE_DRIVER=vfs in the
environment; buildah reads them itself.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import bertline
from bertline.errors import UserError
from bertline_pipelines.images import catalogue

TOOLS = ("docker", "podman", "buildah")
CLUSTERS = {"kind": "bertline", "minikube": "minikube"}
"""Program that loads images into nodes → default name of its cluster."""
PATIENCE_S = 20.0
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}

Command = list[str]


def choose(wanted: str | None = None) -> str:
    """The wanted tool, or the first of `TOOLS` that works here.

    Raises:
        UserError: no tool works.
    """
    if wanted:
        if wanted not in TOOLS:
            raise UserError(f"can't build with {wanted!r}; accepted: {', '.join(TOOLS)}")
        return wanted
    for tool in TOOLS:
        # Only docker needs a running engine; often just its client is installed.
        if shutil.which(tool) and (tool != "docker" or _ask(["docker", "version", "--format", "{{.Server.Version}}"])):
            return tool
    engine = " (docker is installed, but its engine doesn't answer)" if shutil.which("docker") else ""
    raise UserError(f"building images needs one of {', '.join(TOOLS)}, and none works here{engine}; install one")


def choose_loader(wanted: str | None = None) -> str:
    """The program that loads images into nodes: the wanted one, or the first that is installed."""
    if wanted:
        if wanted not in CLUSTERS:
            raise UserError(f"can't load images with {wanted!r}; accepted: {', '.join(CLUSTERS)}")
        return wanted
    for loader in CLUSTERS:
        if shutil.which(loader):
            return loader
    raise UserError(
        f"loading images needs {' or '.join(CLUSTERS)} on PATH; for another cluster use `bertline images push`"
    )


def name(tool: str, reference: str) -> str:
    """A reference in the form that a tool needs.

    podman and buildah put `localhost/` before a name without a host; then nodes wouldn't find the image by the name
    that pods use.
    """
    return reference if "/" in reference or tool == "docker" else f"docker.io/library/{reference}"


def build(
    tool: str, image: str, variant: str, reference: str, secrets: Mapping[str, Path], context: Path | None = None
) -> Command:
    """Build one image.

    Args:
        tool: One of `TOOLS`.
        image: One of `catalogue.VARIANTS`.
        variant: One of the image's variants.
        reference: The image's name and tag.
        secrets: `pip.conf` and `ca.crt`, if installing packages needs them; they don't stay in the image.
        context: The repository; None means this one.
    """
    context = context or catalogue.checkout()
    values = {
        "BASE_IMAGE": catalogue.base(context),
        "LOCK": catalogue.lock(image, variant),
        "IMAGE": reference.rpartition("/")[2],
        "VERSION": bertline.__version__,
        "REVISION": revision(context),
    }
    taken = re.findall(r"^ARG (\w+)", catalogue.recipe(image, context), flags=re.MULTILINE)
    command = [tool, "build", "--file", str(context / catalogue.DOCKERFILE), "--target", image]
    for argument, value in values.items():
        if value and argument in taken:
            command += ["--build-arg", f"{argument}={value}"]
    for secret, path in secrets.items():
        command += ["--secret", f"id={secret},src={path}"]
    return [*command, "--tag", name(tool, reference), str(context)]


def is_there(tool: str, reference: str) -> bool:
    """True if the tool already has the image."""
    match tool:
        case "docker":
            command = ["docker", "image", "inspect", "--format", "{{.Id}}", reference]
        case "podman":
            command = ["podman", "image", "inspect", "--format", "{{.Id}}", name(tool, reference)]
        case _:
            command = ["buildah", "images", "--quiet", name(tool, reference)]
    return bool(_ask(command))


def size(tool: str, reference: str) -> int | None:
    """Bytes of an image's layers, from the tool; None if the tool doesn't have it."""
    if tool != "buildah":
        told = _ask([tool, "image", "inspect", "--format", "{{.Size}}", name(tool, reference)])
        return int(told) if told else None
    told = _ask(["buildah", "images", "--json", name(tool, reference)])
    found = re.fullmatch(r"([\d.]+) ?(\w+)", json.loads(told)[0]["size"]) if told else None
    return round(float(found[1]) * UNITS[found[2].upper()]) if found else None


def push(tool: str, reference: str) -> Command:
    """The command that pushes an image to its registry."""
    return [tool, "push", reference]


def load(loader: str, tool: str, reference: str, cluster: str, archive: Path) -> list[Command]:
    """The commands that load an image into the nodes of a cluster on this machine.

    Args:
        loader: kind or minikube.
        tool: The tool that has the image. Both loaders can read it from docker; other tools export a file.
        reference: The image.
        cluster: The cluster's name.
        archive: The file to export to.
    """
    into = ["--name", cluster] if loader == "kind" else ["--profile", cluster]
    if tool == "docker":
        verb = ["load", "docker-image"] if loader == "kind" else ["image", "load"]
        return [[loader, *verb, reference, *into]]
    full = name(tool, reference)
    save = (
        ["podman", "save", "--format", "docker-archive", "--output", str(archive), full]
        if tool == "podman"
        else ["buildah", "push", full, f"docker-archive:{archive}:{full}"]
    )
    verb = ["load", "image-archive"] if loader == "kind" else ["image", "load"]
    return [save, [loader, *verb, str(archive), *into]]


def revision(context: Path) -> str:
    """The commit, with `-dirty` if files differ from it; empty without git."""
    return _ask(["git", "-C", str(context), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])


def _ask(command: Command) -> str:
    """The output of a command; empty if it fails, hangs or isn't installed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
