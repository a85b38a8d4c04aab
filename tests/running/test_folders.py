"""Scratch of live runs is never removed, that of killed ones is; an output folder has one run."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from bertline.errors import TransientError, UserError
from bertline_pipelines.running import folders

HOLD = """
import sys, time
from pathlib import Path
from bertline_pipelines.running import folders
with folders.{what} as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def holder(what, temporary, *prefix):
    command = [*prefix, sys.executable, "-c", HOLD.format(what=what)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)})
    return process, process.stdout.readline().strip()


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_scratch_of_a_killed_run_is_removed_by_the_next_and_of_a_living_one_not(temporary):
    killed, left = holder("scratch()", temporary)
    end(killed)
    living, kept = holder("scratch()", temporary)
    try:
        with folders.scratch() as ours:
            assert sorted(map(str, temporary.iterdir())) == sorted([kept, str(ours)])
        assert not ours.exists()
        assert os.path.isdir(kept)
        assert not os.path.exists(left)
    finally:
        end(living)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="making a pid namespace takes root")
def test_scratch_of_another_container_is_left_alone(temporary):
    """Its process ids say nothing here: they are those of another namespace."""
    living, kept = holder("scratch()", temporary, "unshare", "--pid", "--fork", "--kill-child")
    try:
        if not kept:
            pytest.skip("this machine doesn't allow pid namespaces")
        with folders.scratch():
            assert os.path.isdir(kept)
    finally:
        end(living)


def test_scratch_that_a_task_still_saves_from_outlives_its_run(temporary):
    killed, left = holder("scratch()", temporary)
    with open(os.path.join(left, folders.LOCK)) as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        end(killed)
        with folders.scratch():
            assert os.path.isdir(left)
    with folders.scratch():
        assert not os.path.isdir(left)


def test_scratch_of_another_machine_is_left_alone(temporary):
    """Its lock may not be seen here."""
    killed, left = holder("scratch()", temporary)
    end(killed)
    with open(os.path.join(left, folders.LOCK), "w") as file:
        file.write("another kernel")
    with folders.scratch():
        assert os.path.isdir(left)


def test_a_folder_without_a_lock_is_left_alone(temporary):
    """Another run is just making it."""
    (temporary / f"{folders.PREFIX}new").mkdir()
    with folders.scratch():
        assert (temporary / f"{folders.PREFIX}new").is_dir()


def test_an_output_folder_has_one_run_and_the_second_is_told_which(temporary):
    first, _ = holder(f"claimed(Path({str(temporary / 'out')!r}))", temporary)
    try:
        with pytest.raises(TransientError, match=f"process {first.pid} on "), folders.claimed(temporary / "out"):
            pass
    finally:
        end(first)
    with folders.claimed(temporary / "out"):  # the dead have no claims
        pass


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_output_folder_that_is_a_file_is_a_mistake(name, temporary):
    (temporary / "file").write_text("")
    with pytest.raises(UserError, match="can't write"), folders.claimed(temporary / name):
        pass
