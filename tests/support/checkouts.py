"""Copies of what images are made of, and what the COPY lines of a Dockerfile make of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from bertline_pipelines.images import catalogue

ROOT = Path(__file__).parents[2]
KINDS = [(image, variant) for image, variants in catalogue.VARIANTS.items() for variant in variants]
"""All images in all variants."""
NO_BYTECODE = shutil.ignore_patterns("__pycache__")


def copy(destination: Path, *more: str) -> Path:
    """A checkout with what images are made of, and with more folders if the command itself shall run from it."""
    for folder in ("components/bertline", "images", *more):
        shutil.copytree(ROOT / folder, destination / folder, ignore=NO_BYTECODE)
    shutil.copy(ROOT / ".dockerignore", destination)
    return destination


def code(image: str) -> Iterator[tuple[str, str]]:
    """The sources of an image's COPY lines that go to /app, with where they go."""
    for line in catalogue.copies(image):
        if line.destination.startswith("/app/"):
            for source in line.sources:
                yield source, line.destination.removeprefix("/app/")


def stage(image: str, destination: Path, without: str = "") -> Path:
    """What an image has as /app, but for one source."""
    for source, folder in code(image):
        if source == without:
            continue
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, destination / folder, ignore=NO_BYTECODE)
        else:
            (destination / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, destination / folder)
    return destination
