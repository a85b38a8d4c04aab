"""The images: their list, their inputs and their names.

An image's tag is the digest of its inputs: its target in the Dockerfile with the stages that this one is made from, the
files of their COPY lines, the base image and the variant. So checkouts with the same content have the same tag, and a
changed line of code makes a new image; `latest` is never needed. When and where an image was built changes nothing.

    images/base-image.txt                 the base of all images
    images/Dockerfile                     a target for each image; its context is the repository
    images/<image>/requirements*.lock     packages, with hashes; one lock for each variant
"""

import hashlib
import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bertline
from bertline.errors import UserError
from bertline_pipelines.stages import STAGES

_WITH_GPU = {stage.image for stage in STAGES if stage.may_have_gpu}

VARIANTS = {stage.image: ("cpu", "cuda") if stage.image in _WITH_GPU else ("cpu",) for stage in STAGES}
"""Image → its variants."""

CHECKOUT = Path(__file__).parents[3]
INSTALLED = Path(__file__).parents[1] / "recipes"  # images/, in a wheel
BASE = "images/base-image.txt"
DOCKERFILE = "images/Dockerfile"
STAGE = re.compile(r"FROM (?P<parent>\S+) AS (?P<name>\S+)\n")


@dataclass(frozen=True)
class Copy:
    """A COPY line with files of the repository."""

    sources: tuple[str, ...]
    """Files and folders, relative to the repository's root; a folder means its files."""
    destination: str


def variant_of(image: str, wanted: str) -> str:
    """The wanted variant, or the image's only one.

    Raises:
        UserError: there is no such image or variant.
    """
    if image not in VARIANTS:
        raise UserError(f"there is no image {image!r}; there are {', '.join(VARIANTS)}")
    known = {each for variants in VARIANTS.values() for each in variants}
    if wanted not in known:
        raise UserError(f"there is no variant {wanted!r}; there are {', '.join(sorted(known))}")
    return wanted if wanted in VARIANTS[image] else VARIANTS[image][0]


def reference(registry: str, image: str, variant: str = "cpu") -> str:
    """Name and tag for pulling: `registry/bertline-corpus:cpu-3f9a…`.

    Args:
        registry: Empty for images that are loaded into the nodes.
        image: One of `VARIANTS`.
        variant: `cpu` or `cuda`; see `variant_of`.
    """
    name = f"bertline-{image}:{tag(image, variant)}"
    return f"{registry.rstrip('/')}/{name}" if registry else name


def tag(image: str, variant: str = "cpu", root: Path | None = None) -> str:
    """The variant and the digest of the image's inputs.

    Args:
        image: One of `VARIANTS`.
        variant: `cpu` or `cuda`; see `variant_of`.
        root: Root of another checkout; None means this one.
    """
    variant = variant_of(image, variant)
    content = {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in files(image, variant, root)}
    made_of = {"base": base(root), "variant": variant, "files": content, "recipe": recipe(image, root)}
    return f"{variant}-{hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]}"


def base(root: Path | None = None) -> str:
    """The base of all images."""
    return _locate(BASE, root).read_text(encoding="utf-8").strip()


def lock(image: str, variant: str) -> str:
    """The file that names an image's packages."""
    return f"images/{image}/requirements{f'-{variant}' if len(VARIANTS[image]) > 1 else ''}.lock"


def recipe(image: str, root: Path | None = None) -> str:
    """What the Dockerfile has of an image: its target, and the stages that this one is made from.

    Raises:
        UserError: there is no such target.
    """
    head, *parts = re.split(r"^(?=FROM )", _locate(DOCKERFILE, root).read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages = {found["name"]: (found["parent"], part) for part in parts if (found := STAGE.match(part))}
    if image not in stages:
        raise UserError(f"{DOCKERFILE} has no target {image!r}; write one, as that of report")
    needed, todo = set(), {image}
    while todo:
        needed |= todo
        used = {name for each in todo for name in (stages[each][0], *re.findall(r"--from=(\S+)", stages[each][1]))}
        todo = (used & set(stages)) - needed
    return head + "".join(part for name, (_, part) in stages.items() if name in needed)


def copies(image: str, variant: str = "cpu", root: Path | None = None) -> list[Copy]:
    """The COPY lines of an image with files of the repository, in order."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", recipe(image, root), flags=re.MULTILINE))
    lines = (line.split()[1:] for line in text.splitlines() if line.startswith("COPY "))
    return [
        Copy(tuple(string.Template(source).substitute(LOCK=lock(image, variant)) for source in line[:-1]), line[-1])
        for line in lines
        if not line[0].startswith("--from=")
    ]


def files(image: str, variant: str = "cpu", root: Path | None = None) -> list[tuple[str, Path]]:
    """All files of the repository in an image, sorted: (path relative to the repository's root, path on this disk)."""
    sources = [source for copy in copies(image, variant, root) for source in copy.sources]
    return sorted(each for source in sources for each in _expand(source, _locate(source, root)))


def checkout() -> Path:
    """The root of the checkout, the context of builds.

    Raises:
        UserError: bertline is installed as a wheel.
    """
    if not _is_checkout():
        raise UserError(
            f"images are built from a checkout of bertline, but this bertline {bertline.__version__} is an installed "
            "package; run the same command in a checkout of this version, its tags are the same"
        )
    return CHECKOUT


def _is_checkout() -> bool:
    return (CHECKOUT / BASE).is_file()


def _locate(path: str, root: Path | None) -> Path:
    """The path of a repository's file or folder, in a checkout or in a wheel."""
    if root or _is_checkout():
        found = (root or CHECKOUT) / path
    elif path.startswith("images/"):
        found = INSTALLED / path.removeprefix("images/")
    else:
        found = Path(bertline.__file__).parents[1] / path.removeprefix("components/")
    if not found.exists():
        raise UserError(f"an image needs {path}, but {found} doesn't exist; install bertline again")
    return found


def _expand(path: str, place: Path) -> Iterator[tuple[str, Path]]:
    """The files under a source, without those in .dockerignore."""
    if place.is_file():
        yield path, place
        return
    for file in place.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
            yield f"{path.rstrip('/')}/{file.relative_to(place).as_posix()}", file
