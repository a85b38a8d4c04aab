"""What lies around a command: files of the current folder, a long TMPDIR, full disks, closed pipes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bertline.errors import ExitCode
from bertline.experiment import specs
from bertline.store import references
from bertline.store.backends import connect
from bertline.vocabulary import stage
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.planning import unrolling
from support.tiny_experiments import write

BERTLINE = Path(sys.executable).with_name("bertline")


def first_task(folder, **environment):
    """What a run prints up to the end of its first task; then it is stopped."""
    write(folder, epochs=1)
    command = [BERTLINE, "run", "tiny.yaml", "--store", "store", "--out", "out"]
    run = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    )
    said = []
    for line in run.stdout:
        said.append(line)
        if line.startswith(("✓", "✗")):
            run.send_signal(signal.SIGTERM)
    run.stdout.close()
    assert run.wait(60) == ExitCode.PREEMPTED, said
    return said[1]


@pytest.fixture
def full_disk(tmp_path):
    """A disk with room for a single small file, at `out`."""
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", out], check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    yield
    subprocess.run(["umount", out], check=True)


@pytest.mark.usefixtures("full_disk")
def test_a_task_whose_log_has_no_room_goes_on(tmp_path):
    assert first_task(tmp_path).startswith("✓ vocabulary")


def test_scripts_named_like_modules_of_python_are_not_taken_for_them(tmp_path):
    for name in ("random", "queue", "tokenize"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('this is not {name}')")
    assert first_task(tmp_path).startswith("✓ vocabulary")


def test_a_long_tmpdir_is_no_obstacle(tmp_path):
    long = tmp_path / ("x" * 40 + "я" * 40)  # of two bytes each
    long.mkdir()
    assert first_task(tmp_path, TMPDIR=str(long)).startswith("✓ vocabulary")


def test_an_out_that_is_a_file_is_told_before_anything_runs(bertline, tmp_path):
    (tmp_path / "file").write_text("")
    result = bertline("run", write(tmp_path, epochs=1), "--store", "store", "--out", "file")
    assert result.returncode == ExitCode.USER_ERROR
    assert "file" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "store/objects").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
@pytest.mark.parametrize(
    "arguments",
    [
        "report nano --store store --out {}",
        "pull nano {} --store store",
        "compile tiny.yaml -p kind -o {}/pipeline.yaml",
        "init {}/mine.yaml",
        "run tiny.yaml --store {} --out out",
    ],
    ids=lambda arguments: arguments.split()[0],
)
def test_a_place_that_cant_be_written_to_is_named(arguments, place, bertline, tmp_path, planned):
    (tmp_path / "file").write_text("")
    shutil.copytree(planned, tmp_path / "store")
    write(tmp_path, epochs=1)
    result = bertline(*arguments.format(place).split())
    assert result.returncode == ExitCode.USER_ERROR, result.stderr
    assert place in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A store that knows the experiment and has its vocabulary."""
    folder = tmp_path_factory.mktemp("planned")
    graph = unrolling.build(specs.load(write(folder, epochs=1)))
    store = connect(str(folder / "store"))
    references.write(store, "nano", graph.document)
    (vocabulary,) = graph.configs(VocabularyConfig)
    stage.run(vocabulary, store)
    return folder / "store"


def test_a_file_on_a_full_disk_is_no_mistake_of_the_users(bertline, tmp_path):
    result = bertline("compile", write(tmp_path, epochs=1), "--profile", "kind", "--output", "/dev/full")
    assert result.returncode == ExitCode.TRANSIENT
    assert "no space left" in result.stderr


@pytest.mark.parametrize("arguments", [["plan", "tiny.yaml"], ["validate", "tiny.yaml"], ["--help"]])
def test_output_that_cant_be_written_is_no_success(arguments, tmp_path):
    write(tmp_path, epochs=1)
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [BERTLINE, *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == ExitCode.TRANSIENT
    assert "can't write" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path):
    write(tmp_path, epochs=1)
    script = f"set -o pipefail; {BERTLINE} plan tiny.yaml | true"
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == ExitCode.OK
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_an_end_of_file_that_is_a_fault_is_not_taken_for_ctrl_c():
    code = (
        "import sys; from bertline_cli import main, plan\n"
        "def command() -> None: raise EOFError('a torn file')\n"
        "plan.command = command; sys.argv = ['bertline', 'plan']; main.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == ExitCode.BUG
    assert "a torn file" in result.stderr
    assert "run the same command again" not in result.stderr
