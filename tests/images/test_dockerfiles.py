"""What can be said of the Dockerfile without building it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bertline.errors import UserError
from bertline_pipelines.images import catalogue
from support.checkouts import KINDS, ROOT

HADOLINT = Path(sys.executable).with_name("hadolint")


def lint(path):
    return subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, timeout=60, check=False)


def test_hadolint_has_nothing_to_say():
    done = lint(ROOT / catalogue.DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_say_something(tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text(
        catalogue.recipe("corpus").replace("FROM ${BASE_IMAGE} AS image\n", "FROM python:latest AS image\n")
    )
    assert "DL3007" in lint(path).stdout


@pytest.mark.parametrize("image", catalogue.VARIANTS)
def test_an_image_is_made_of_the_one_base_and_runs_its_stage_as_nobody(image):
    recipe = catalogue.recipe(image)
    parents = {name: parent for parent, name in re.findall(r"^FROM (\S+) AS (\S+)$", recipe, flags=re.MULTILINE)}
    assert set(parents.values()) - set(parents) == {"${BASE_IMAGE}"}
    lineage = [image]
    while lineage[-1] in parents:
        lineage.append(parents[lineage[-1]])
    assert lineage[-2:] == ["image", "${BASE_IMAGE}"]
    of_all = re.split("^FROM ", recipe[recipe.index("FROM ${BASE_IMAGE} AS image") :], flags=re.MULTILINE)[1]
    assert re.findall("^USER .*", recipe, flags=re.MULTILINE) == ["USER 65532:65532"] == of_all.splitlines()[-2:-1]
    assert re.findall("^ENTRYPOINT .*", recipe, flags=re.MULTILINE) == [
        f'ENTRYPOINT ["python", "-m", "bertline.{image}"]'
    ]


def test_a_target_that_there_is_not_is_a_sentence(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/Dockerfile").write_text("FROM base AS report\n")
    assert catalogue.recipe("report", tmp_path) == "FROM base AS report\n"
    with pytest.raises(UserError, match="no target 'corpus'"):
        catalogue.recipe("corpus", tmp_path)


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
