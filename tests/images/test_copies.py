"""COPY honesty: an image has all the modules that its stages can import, and none of its COPY lines is idle."""

import ast
import functools
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from bertline_pipelines.images import catalogue
from bertline_pipelines.stages import STAGES
from support.checkouts import ROOT, code, stage

FOLDERS = {
    image: tuple(dict.fromkeys(stage.package for stage in STAGES if stage.image == image))
    for image in catalogue.VARIANTS
}
"""Image → packages of the stages that run in it."""

DONE_WITHOUT = {
    "pretrain": {"bertline.samples"},  # reads no outside file
    "report": {"bertline.samples"},  # the same
    "evaluate": {"bertline.wikipedia", "bertline.samples.wiki"},  # of the samples only the task, never the dump
}
"""What is imported inside functions that an image's stages never call."""

SOURCES = [(image, source) for image in catalogue.VARIANTS for source, _ in code(image)]


@functools.cache
def imported(file: Path) -> set[str]:
    """Modules of ours that a file imports, at its top or when a function runs, but not for types alone."""
    found = set()
    todo: list[ast.AST] = [ast.parse(file.read_bytes())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        todo += ast.iter_child_nodes(node)
    return {name for name in found if name.split(".")[0] == "bertline"}


@functools.cache
def modules(source: str) -> dict[str, Path]:
    """Modules by name in a file or folder of the repository."""
    files = (ROOT / source).rglob("*.py") if (ROOT / source).is_dir() else [ROOT / source]
    named = ((file.relative_to(ROOT / "components").with_suffix(""), file) for file in files)
    return {".".join(name.parts).removesuffix(".__init__"): file for name, file in named}


def missing(image: str, without: str = "") -> set[str]:
    """Modules that the image's stages reach and its /app doesn't have."""
    everything = modules("components/bertline")
    here = set().union(*(modules(source) for source, _ in code(image) if source != without))
    todo = {f"bertline.{folder}.{name}" for folder in FOLDERS[image] for name in ("__main__", "component")}
    seen: set[str] = set()
    lacking: set[str] = set()
    while todo := todo - seen:
        module = todo.pop()
        seen.add(module)
        if module not in everything:
            continue  # a class or function, imported from a module that is looked at by itself
        if module in here:
            todo |= imported(everything[module]) | {module.rpartition(".")[0] or module}
        elif module not in DONE_WITHOUT.get(image, set()):
            lacking.add(module)
    return lacking


def start(app: Path, package: str) -> "subprocess.CompletedProcess[str]":
    """The entry point's help with the packages of this environment and no other `bertline` than this one."""
    packages = sysconfig.get_path("purelib")  # as a plain folder: its .pth file, which leads to the sources, isn't read
    program = (
        f"import runpy, sys; sys.path[:0] = {[str(app), packages]!r}; sys.argv[1:] = ['--help']; "
        f"runpy.run_module('bertline.{package}', run_name='__main__')"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("image", "package"), [(image, each) for image, all_ in FOLDERS.items() for each in all_])
def test_an_entry_point_starts_from_what_the_image_has(image, package, tmp_path):
    done = start(stage(image, tmp_path / "app"), package)
    assert done.returncode == 0, done.stderr
    assert "--store" in done.stdout


def test_an_entry_point_doesnt_start_without_what_it_imports(tmp_path):
    """So the test above can fail."""
    done = start(stage("corpus", tmp_path / "app", without="components/bertline/text/"), "corpus")
    assert done.returncode == 1
    assert "No module named 'bertline.text'" in done.stderr


@pytest.mark.parametrize("image", FOLDERS)
def test_an_image_has_all_that_its_stages_may_import(image):
    assert missing(image) == set()


@pytest.mark.parametrize(("image", "source"), SOURCES)
def test_no_copied_file_is_idle(image, source):
    assert missing(image, without=source)
