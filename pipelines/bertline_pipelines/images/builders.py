"""The programs that make images and bring them to a cluster, and the exact commands they are given.

Commands are lists of words and nothing is run here but what finds out: whoever calls can print them instead.

Where nested containers aren't allowed, buildah works without a daemon with BUILDAH_ISOLATION=chroot and
STORAGE_DRIVER=vfs in the environment, which it reads itself.
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
"""What loads images into nodes → the name of its cluster, unless another is given."""
PATIENCE_S = 20.0
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}

Command = list[str]


def choose(wanted: str | None = None) -> str:
    """The wanted tool, or the first of `TOOLS` that works here.

    Raises:
        UserError: there is none.
    """
    if wanted:
        if wanted not in TOOLS:
            raise UserError(f"can't build with {wanted!r}; accepted: {', '.join(TOOLS)}")
        return wanted
    for tool in TOOLS:
        # docker alone needs an engine that runs; its client is often there without one.
        if shutil.which(tool) and (tool != "docker" or _ask(["docker", "version", "--format", "{{.Server.Version}}"])):
            return tool
    engine = " (docker is here, but its engine doesn't answer)" if shutil.which("docker") else ""
    raise UserError(f"building images needs one of {', '.join(TOOLS)}, and none works here{engine}; install one")


def choose_loader(wanted: str | None = None) -> str:
    """What loads images into nodes: the wanted one, or the first that is here."""
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
    """A reference as a tool has to be told it.

    podman and buildah would put `localhost/` before a bare name, and then no node would find the image under the name
    that pods ask for.
    """
    return reference if "/" in reference or tool == "docker" else f"docker.io/library/{reference}"


def build(
    tool: str, image: str, variant: str, reference: str, secrets: Mapping[str, Path], context: Path | None = None
) -> Command:
    """Build one image.

    Args:
        tool: One of `TOOLS`.
        image: One of `catalogue.VARIANTS`.
        variant: One of the image's.
        reference: Its name and tag.
        secrets: `pip.conf` and `ca.crt`, where installing packages needs them; they don't stay in the image.
        context: The repository; this one if None.
    """
    context = context or catalogue.checkout()
    values = {
        "BASE_IMAGE": catalogue.base(context),
        "VARIANT": variant,
        "IMAGE": reference.rpartition("/")[2],
        "VERSION": bertline.__version__,
        "REVISION": revision(context),
    }
    taken = re.findall(r"^ARG (\w+)", catalogue.recipe(image, context), flags=re.MULTILINE)
    command = [tool, "build", "--file", str(context / "images" / image / "Dockerfile")]
    for argument, value in values.items():
        if value and argument in taken:
            command += ["--build-arg", f"{argument}={value}"]
    for secret, path in secrets.items():
        command += ["--secret", f"id={secret},src={path}"]
    return [*command, "--tag", name(tool, reference), str(context)]


def is_there(tool: str, reference: str) -> bool:
    """True if the tool has the image already."""
    match tool:
        case "docker":
            command = ["docker", "image", "inspect", "--format", "{{.Id}}", reference]
        case "podman":
            command = ["podman", "image", "inspect", "--format", "{{.Id}}", name(tool, reference)]
        case _:
            command = ["buildah", "images", "--quiet", name(tool, reference)]
    return bool(_ask(command))


def size(tool: str, reference: str) -> int | None:
    """Bytes of an image's layers, as the tool tells them; None if it isn't there."""
    if tool != "buildah":
        told = _ask([tool, "image", "inspect", "--format", "{{.Size}}", name(tool, reference)])
        return int(told) if told else None
    told = _ask(["buildah", "images", "--json", name(tool, reference)])
    found = re.fullmatch(r"([\d.]+) ?(\w+)", json.loads(told)[0]["size"]) if told else None
    return round(float(found[1]) * UNITS[found[2].upper()]) if found else None


def push(tool: str, reference: str) -> Command:
    """To the reference's registry."""
    return [tool, "push", reference]


def load(loader: str, tool: str, reference: str, cluster: str, archive: Path) -> list[Command]:
    """Into the nodes of a cluster on this machine.

    Args:
        loader: kind or minikube.
        tool: What has the image. Both loaders can take it from docker; the others hand over a file.
        reference: The image.
        cluster: Its name.
        archive: Where that file goes.
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
    """The commit, with `-dirty` where files differ from it; empty where there is no git."""
    return _ask(["git", "-C", str(context), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])


def _ask(command: Command) -> str:
    """What a command prints; empty if it fails, hangs or isn't there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
