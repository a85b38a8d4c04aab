"""A new stage is a folder, a row and an edge, and a COPY line in its image: one is added to a copy of this checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import bertline_pipelines
from bertline_pipelines import stages
from support import checkouts, toy

ADDED = {
    "pipelines/bertline_pipelines/stages.py": [
        ("from bertline.stage.configs import StageConfig\n", "from bertline.toy.config import ToyConfig\n"),
        ('    Stage(VocabularyConfig, image="corpus"),\n', '    Stage(ToyConfig, image="corpus"),\n'),
    ],
    "pipelines/bertline_pipelines/planning/unrolling.py": [
        ("from bertline.stage.configs import Label\n", "from bertline.toy.config import ToyConfig\n"),
        (
            "    yield vocabulary\n",
            "    yield Node.of(ToyConfig(vocabulary=vocabulary.key), [vocabulary.task])\n",
        ),
    ],
    "images/Dockerfile": [
        (
            "COPY components/bertline/vocabulary/ /app/bertline/vocabulary/\n",
            "COPY components/bertline/toy/ /app/bertline/toy/\n",
        ),
    ],
}
"""All that is touched outside of the stage's own folder: file → what is written after which line."""

PROGRAM = """
import json, sys
from pathlib import Path

import bertline
from bertline.experiment import specs
from bertline.report.collect import collect
from bertline.store import references
from bertline.store.backends import connect
from bertline_cli import pull
from bertline_pipelines.compiling import documents
from bertline_pipelines.estimates import devices, totals
from bertline_pipelines.images import catalogue
from bertline_pipelines.places import profiles
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.running import local


class Silent:
    def changed(self, state): pass
    def tick(self, states): pass
    def say(self, sentence): pass


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    store = connect(str(folder / "store"))
    graph = unrolling.build(specs.load(folder / "experiment.yaml"))
    reference = references.write(store, "nano", graph.document)
    plan = plans.plan(graph, store)
    profile = profiles.load("kind", {})
    [document] = documents.compile_plan("nano", plans.plan(unrolling.portable(graph), None, 2).missing, profile)
    estimate = totals.estimate(plan, store, devices.of(profile))
    chosen = [task for task in plan.missing if task.name in ("vocabulary", "toy")]
    states = local.run("nano", chosen, store.uri, folder / "out", 2, Silent())
    print(json.dumps({
        "from": bertline.__file__,
        "after": {task.name: task.after for task in plan.tasks},
        "executors": list(document.pipeline_spec["deploymentSpec"]["executors"]),
        "image": catalogue.reference("", "corpus") in document.text,
        "estimated": [each.task.name for each in estimate.tasks],
        "phases": {state.task.name: state.phase for state in states},
        "failures": [local.last_lines(state.log) for state in states if state.phase != "done"],
        "left": [task.name for task in plans.plan(graph, store).missing],
        "collected": {pull._folder(item): bool(item.manifest) for item in collect(store, reference).items},
    }))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a checkout with the toy stage makes of nano."""
    folder = tmp_path_factory.mktemp("toy")
    root = checkouts.copy(folder / "checkout", "pipelines", "cli")
    own = root / "components/bertline/toy"
    shutil.copytree(Path(toy.__file__).parent, own, ignore=checkouts.NO_BYTECODE)
    for name, additions in ADDED.items():
        text = (root / name).read_text()
        for line, addition in additions:
            assert text.count(line) == 1, f"{name} has no longer one line {line!r}"
            text = text.replace(line, line + addition)
        (root / name).write_text(text)
    document = yaml.safe_load((bertline_pipelines.experiment_files() / "nano.yaml").read_text())
    document["vocabulary"]["train"]["size"] = 400
    (folder / "experiment.yaml").write_text(yaml.safe_dump(document))
    (folder / "program.py").write_text(PROGRAM)
    paths = [str(root / part) for part in ("components", "pipelines", "cli")]
    done = subprocess.run(
        [sys.executable, folder / "program.py", folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["from"].startswith(str(root))
    return answer


def test_few_files_know_of_a_stage():
    assert len(ADDED) <= 4


def test_a_new_stage_is_planned_where_its_edge_puts_it(found):
    assert found["after"]["toy"] == ["vocabulary"]
    assert "toy" in found["after"]["report"]
    assert "toy" in found["estimated"]


def test_a_new_stage_is_compiled_for_a_cluster(found):
    assert "exec-toy" in found["executors"]
    assert found["image"], "its image's tag follows from the new folder"


def test_a_new_stage_runs_on_this_machine_and_is_collected(found):
    assert found["phases"] == {"vocabulary": "done", "toy": "done"}, found["failures"]
    assert not {"vocabulary", "toy"} & set(found["left"])
    assert found["collected"]["toy"]
    assert not found["collected"]["corpus"]


def test_stages_have_one_row_each():
    names = [stage.name for stage in stages.STAGES]
    assert len(names) == len(set(names))
    assert stages.of("corpus-part").package == "corpus"
