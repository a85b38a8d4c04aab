"""A tag is a function of what the image is made of, and of nothing else."""

import os
import re
import shutil

import pytest

from bertline.errors import UserError
from bertline_pipelines.images import catalogue
from support.checkouts import KINDS, ROOT, copy

CHANGES = {
    "code": ("components/bertline/corpus/stage.py", {"corpus"}),
    "shared code": ("components/bertline/errors.py", {"corpus", "pretrain", "evaluate", "report"}),
    "a template": ("components/bertline/report/templates/report.css", {"report"}),
    "a lock": ("images/corpus/requirements.lock", {"corpus"}),
    "the lock of kfp": ("images/kfp.lock", {"corpus", "pretrain", "evaluate", "report"}),
    "the base": ("images/base-image.txt", {"corpus", "pretrain", "evaluate", "report"}),
    "a recipe": ("images/Dockerfile", {"report"}),
    "the set-up": ("images/install.sh", {"corpus", "pretrain", "evaluate", "report"}),
    "nothing it takes": ("images/README.md", set()),
}


def tags(root):
    return {kind: catalogue.tag(*kind, root) for kind in KINDS}


@pytest.fixture
def checkout(tmp_path):
    return copy(tmp_path / "checkout")


STAGES = {
    "packages": {"corpus", "pretrain", "evaluate", "report"},
    "code": {"corpus", "pretrain", "evaluate", "report"},
    "corpus-code": {"corpus"},
    "training-code": {"pretrain", "evaluate"},
    "pretrain-code": {"pretrain"},
    "image": {"corpus", "pretrain", "evaluate", "report"},
    "training": {"pretrain", "evaluate"},
    "evaluate": {"evaluate"},
}
"""Stage of the Dockerfile → the images that are made from it."""


@pytest.mark.parametrize(("stage", "changed"), STAGES.items())
def test_a_tag_changes_with_the_stages_that_the_image_is_made_from(stage, changed, checkout):
    before, path = tags(checkout), checkout / "images/Dockerfile"
    path.write_text(re.sub(rf"(FROM .* AS {stage}\n)", r"\1ENV ANOTHER=line\n", path.read_text()))
    after = tags(checkout)
    assert {image for (image, variant), tag in after.items() if tag != before[image, variant]} == changed


@pytest.mark.parametrize(("path", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_tag_changes_with_what_the_image_is_made_of(path, changed, checkout):
    before = tags(checkout)
    with (checkout / path).open("a") as file:
        file.write("\n# another line\n")
    after = tags(checkout)
    assert {image for (image, variant), tag in after.items() if tag != before[image, variant]} == changed


def test_a_lock_of_one_variant_leaves_the_other_as_it_was(checkout):
    before = tags(checkout)
    with (checkout / "images/pretrain/requirements-cuda.lock").open("a") as file:
        file.write("another==1.0\n")
    assert {kind for kind, tag in tags(checkout).items() if tag != before[kind]} == {("pretrain", "cuda")}


def test_a_file_that_was_added_or_renamed_counts(checkout):
    before = catalogue.tag("corpus", root=checkout)
    added = checkout / "components/bertline/wikipedia/more.py"
    added.write_text("")
    after = catalogue.tag("corpus", root=checkout)
    added.rename(added.with_name("other.py"))
    assert len({before, after, catalogue.tag("corpus", root=checkout)}) == 3


def test_a_tag_doesnt_know_of_times_bytecode_or_places(checkout, tmp_path):
    before = tags(checkout)
    bytecode = checkout / "components/bertline/store/__pycache__"
    bytecode.mkdir()
    (bytecode / "objects.cpython-311.pyc").write_bytes(b"bytecode")
    for file in checkout.rglob("*.py"):
        os.utime(file, (1, 1))
    moved = shutil.move(checkout, tmp_path / "elsewhere")
    assert tags(moved) == before == tags(ROOT) == tags(None)


@pytest.mark.parametrize(("image", "variant"), KINDS)
def test_a_tag_is_valid_and_says_the_variant(image, variant):
    assert re.fullmatch(rf"{variant}-[0-9a-f]{{16}}", catalogue.tag(image, variant))


def test_all_images_have_different_names():
    assert len({catalogue.reference("", *kind) for kind in KINDS}) == len(KINDS)


def test_a_reference_has_the_registry_if_there_is_one():
    tag = catalogue.tag("corpus")
    assert catalogue.reference("", "corpus") == f"bertline-corpus:{tag}"
    assert (
        catalogue.reference("europe-docker.pkg.dev/p/r/", "corpus")
        == f"europe-docker.pkg.dev/p/r/bertline-corpus:{tag}"
    )
    assert catalogue.reference("localhost:5000", "corpus") == f"localhost:5000/bertline-corpus:{tag}"


def test_an_image_without_the_variant_has_its_only_one():
    assert catalogue.reference("", "report", "cuda") == catalogue.reference("", "report", "cpu")
    assert catalogue.reference("", "pretrain", "cuda") != catalogue.reference("", "pretrain", "cpu")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("corpse", "cpu"), "no image 'corpse'; there are corpus, pretrain, evaluate, report"),
        (("corpus", "rocm"), "no variant 'rocm'; there are cpu, cuda"),
    ],
)
def test_what_there_isnt_is_refused_with_what_there_is(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        catalogue.tag(*arguments)


def test_a_wheel_gives_the_same_tags_and_refuses_to_build(checkout, tmp_path, monkeypatch):
    """As hatchling lays it out: images/ inside bertline_pipelines, bertline beside it."""
    before = tags(ROOT)
    site = tmp_path / "site-packages"
    shutil.move(checkout / "images", site / "bertline_pipelines" / "recipes")
    shutil.move(checkout / "components" / "bertline", site / "bertline")
    monkeypatch.setattr(catalogue, "CHECKOUT", tmp_path / "lib")
    monkeypatch.setattr(catalogue, "INSTALLED", site / "bertline_pipelines" / "recipes")
    monkeypatch.setattr(catalogue.bertline, "__file__", str(site / "bertline" / "__init__.py"))
    assert tags(None) == before
    with pytest.raises(UserError, match="images are built from a checkout"):
        catalogue.checkout()


def test_an_incomplete_checkout_is_a_sentence(checkout):
    shutil.rmtree(checkout / "components/bertline/text")
    with pytest.raises(UserError, match=r"needs components/bertline/text"):
        catalogue.tag("corpus", root=checkout)
