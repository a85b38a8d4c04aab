"""The images: which there are, what they are made of, and what they are called.

An image's tag follows from what goes into it: its Dockerfile, the files that the Dockerfile's COPY lines take, the base
image and the variant. So two checkouts with the same content agree on the tag without talking to each other, a changed
line of code is a new image, and nothing ever has to be `latest`. When and where it was built isn't in it.

    images/base-image.txt                 what all of them are based on
    images/<image>/Dockerfile             recipe; its context is the repository
    images/<image>/requirements*.lock     packages, with hashes; a lock a variant where there are several
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


@dataclass(frozen=True)
class Copy:
    """A COPY line that takes files of the repository."""

    sources: tuple[str, ...]
    """Files and folders, from the repository's root; a folder stands for what is in it."""
    destination: str


def variant_of(image: str, wanted: str) -> str:
    """The wanted variant, or the only one of an image that has just one.

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
    """Name and tag, as pods pull it: `registry/bertline-corpus:cpu-3f9a…`.

    Args:
        registry: Empty for images that are loaded into the nodes.
        image: One of `VARIANTS`.
        variant: `cpu` or `cuda`; see `variant_of`.
    """
    name = f"bertline-{image}:{tag(image, variant)}"
    return f"{registry.rstrip('/')}/{name}" if registry else name


def tag(image: str, variant: str = "cpu", root: Path | None = None) -> str:
    """The variant and a digest of what the image is made of.

    Args:
        image: One of `VARIANTS`.
        variant: `cpu` or `cuda`; see `variant_of`.
        root: Of another checkout than this one.
    """
    variant = variant_of(image, variant)
    content = {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in files(image, variant, root)}
    made_of = {"base": base(root), "variant": variant, "files": content, "recipe": recipe(image, root)}
    return f"{variant}-{hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]}"


def base(root: Path | None = None) -> str:
    """What all images are based on."""
    return _locate(BASE, root).read_text(encoding="utf-8").strip()


def recipe(image: str, root: Path | None = None) -> str:
    """Text of the Dockerfile."""
    return _locate(f"images/{image}/Dockerfile", root).read_text(encoding="utf-8")


def copies(image: str, variant: str = "cpu", root: Path | None = None) -> list[Copy]:
    """The COPY lines of a Dockerfile that take files of the repository, in their order."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", recipe(image, root), flags=re.MULTILINE))
    lines = (line.split()[1:] for line in text.splitlines() if line.startswith("COPY "))
    return [
        Copy(tuple(string.Template(source).substitute(VARIANT=variant) for source in line[:-1]), line[-1])
        for line in lines
        if not line[0].startswith("--from=")
    ]


def files(image: str, variant: str = "cpu", root: Path | None = None) -> list[tuple[str, Path]]:
    """All files of the repository that an image takes: path from the repository's root, and place. Sorted."""
    sources = [source for copy in copies(image, variant, root) for source in copy.sources]
    return sorted(each for source in sources for each in _expand(source, _locate(source, root)))


def checkout() -> Path:
    """The root of the checkout, the context of builds.

    Raises:
        UserError: bertline is installed as a wheel.
    """
    if not _is_checkout():
        raise UserError(
            f"images are built from a checkout of bertline, and this bertline {bertline.__version__} is an installed "
            "package; run the same command from a checkout of this version, the tags will be the same"
        )
    return CHECKOUT


def _is_checkout() -> bool:
    return (CHECKOUT / BASE).is_file()


def _locate(path: str, root: Path | None) -> Path:
    """A file or folder of the repository: in a checkout, or where a wheel puts it."""
    if root or _is_checkout():
        found = (root or CHECKOUT) / path
    elif path.startswith("images/"):
        found = INSTALLED / path.removeprefix("images/")
    else:
        found = Path(bertline.__file__).parents[1] / path.removeprefix("components/")
    if not found.exists():
        raise UserError(f"an image needs {path}, and there is no {found}; is this installation of bertline complete?")
    return found


def _expand(path: str, place: Path) -> Iterator[tuple[str, Path]]:
    """The files under a source, without what .dockerignore keeps away."""
    if place.is_file():
        yield path, place
        return
    for file in place.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
            yield f"{path.rstrip('/')}/{file.relative_to(place).as_posix()}", file
