"""The locks are complete, agree with the rest of the project, and name no server."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.checkouts import ROOT

LOCKS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("images/**/*.lock"))
TENSORFLOW = [lock for lock in LOCKS if "pretrain" in lock or "evaluate" in lock]
EXTRAS = {
    "images/corpus/requirements.lock": ("corpus", "vocabulary"),
    "images/report/requirements.lock": ("report",),
    "images/pretrain/requirements-cpu.lock": ("pretrain",),
    "images/pretrain/requirements-cuda.lock": ("pretrain",),
    "images/evaluate/requirements-cpu.lock": ("evaluate",),
    "images/evaluate/requirements-cuda.lock": ("evaluate",),
}


def pins(lock):
    """Name → version."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), flags=re.MULTILINE))


def left_out():
    """What overrides.txt keeps out of the locks."""
    return {
        Requirement(line).name for line in (ROOT / "images/overrides.txt").read_text().splitlines() if line[0] != "#"
    }


def required(extras):
    """The requirements of the base and of extras, through extras that name others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = [*project["dependencies"], *(f"bertline[{extra}]" for extra in extras)]
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.name == "bertline":
            todo += [each for extra in requirement.extras for each in project["optional-dependencies"][extra]]
        else:
            yield requirement


def test_every_lock_belongs_to_an_image():
    assert {*EXTRAS, "images/kfp.lock"} == set(LOCKS)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_exact_versions_and_hashes_and_no_server(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    assert len(entries) == len(pins(lock)) > 0
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[\w.+!-]+( ; .+)? \\\n +--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@pytest.mark.parametrize("lock", LOCKS)
def test_images_have_the_versions_that_the_tests_run_with(lock):
    everything, here = pins("requirements.lock"), pins(lock)
    for name, version in here.items():
        if name != "tensorflow-cpu" and not name.startswith("nvidia-"):
            assert everything[name] == version, f"{name}: `make lock`"


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_has_what_its_extra_asks_for(lock):
    here = pins(lock)
    for requirement in required(EXTRAS[lock]):
        name = canonicalize_name(requirement.name)
        name = "tensorflow-cpu" if name == "tensorflow" and "cpu" in lock else name
        assert name in here, f"{requirement} is missing in {lock}: `make lock`"
        assert requirement.specifier.contains(here[name]), f"{requirement} isn't {here[name]}: `make lock`"


@pytest.mark.parametrize("lock", TENSORFLOW)
def test_tensorflow_is_the_tested_one_and_comes_without_what_nothing_imports(lock):
    here = pins(lock)
    package = "tensorflow-cpu" if "cpu" in lock else "tensorflow"
    assert here[package] == pins("requirements.lock")["tensorflow"]
    assert {"tensorflow", "tensorflow-cpu"} & here.keys() == {package}
    assert any(name.startswith("nvidia-cudnn") for name in here) == ("cuda" in lock)
    assert not left_out() & here.keys()


@pytest.mark.parametrize("lock", [lock for lock in EXTRAS if lock not in TENSORFLOW])
def test_the_other_images_have_no_tensorflow(lock):
    assert not [name for name in pins(lock) if "tensor" in name and name != "safetensors"]
    assert "kfp" not in pins(lock)  # comes apart, without its dependencies


def test_kfp_is_the_compilers():
    assert pins("images/kfp.lock") == {"kfp": pins("requirements.lock")["kfp"]}
