"""What can be said of the Dockerfiles without building them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bertline_pipelines.images import catalogue
from support.checkouts import KINDS, ROOT

HADOLINT = Path(sys.executable).with_name("hadolint")


def lint(path):
    return subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("image", catalogue.VARIANTS)
def test_hadolint_has_nothing_to_say(image):
    done = lint(ROOT / "images" / image / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_say_something(tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text(catalogue.recipe("corpus").replace("FROM ${BASE_IMAGE}\n", "FROM python:latest\n"))
    assert "DL3007" in lint(path).stdout


@pytest.mark.parametrize("image", catalogue.VARIANTS)
def test_an_image_is_made_of_the_one_base_and_runs_its_stage_as_nobody(image):
    recipe = catalogue.recipe(image)
    assert set(re.findall(r"^FROM (\S+)", recipe, flags=re.MULTILINE)) == {"${BASE_IMAGE}"}
    *_, user, entry_point = recipe.splitlines()
    assert user == "USER 65532:65532"
    assert entry_point == f'ENTRYPOINT ["python", "-m", "bertline.{image}"]'


def test_the_base_has_a_full_version():
    assert re.fullmatch(r"[\w./-]+/python:3\.11\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", catalogue.base())


@pytest.mark.parametrize(("image", "variant"), KINDS)
def test_the_builder_gets_what_the_dockerfile_takes_and_no_more(image, variant):
    """.dockerignore lets through two folders: nothing outside is taken, nothing inside is bytecode."""
    paths = [path for path, _ in catalogue.files(image, variant)]
    assert all(path.startswith(("components/bertline/", "images/")) for path in paths)
    assert not [path for path in paths if "__pycache__" in path]
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert [line for line in lines if line.startswith("!")] == ["!components/bertline", "!images"]
    assert {"images/install.sh", "images/kfp.lock"} < set(paths)
