"""The pretrain stage on a tiny model, with real TensorFlow, in this process."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from bertline.errors import DamagedError, TransientError, UserError
from bertline.experiment.schedules import Constant
from bertline.experiment.specs import Checkpoints
from bertline.metrics import tasks
from bertline.pretrain import stage
from bertline.pretrain.stage import run
from bertline.process import progress, signals
from bertline.process.signals import Stopped
from bertline.store import attempts
from bertline.store.attempts import RecordedAttempt
from bertline.store.backends import connect


@pytest.fixture(scope="session")
def reference(corpus, tmp_path_factory):
    """What an uninterrupted run of a config gives, once a config: files with checksums, and results."""
    known = {}

    def find(config):
        key = config.derivation().key
        if key not in known:
            root = tmp_path_factory.mktemp("reference") / "store"
            shutil.copytree(connect(corpus[0]).root, root)
            known[key] = outcome(run(config, connect(str(root))))
        return known[key]

    return find


def outcome(realization):
    return {file.path: file.sha256 for file in realization.manifest.files}, realization.manifest.results


def continued(config, milestone, end):
    """The next round of `config`'s run."""
    schedule = Constant(schedule="constant", peak=3e-3, warmup_steps=5)
    every = config.steps_per_epoch
    return config.model_copy(
        update={
            "begin_epoch": config.end_epoch,
            "end_epoch": end,
            "milestone": milestone,
            "learning_rate": schedule.of_round(config.end_epoch * every, end * every, [end * every]),
        }
    )


def test_a_round_trains_and_measures(config, store):
    manifest = run(config, store).manifest
    assert manifest.results["step"] == 24
    assert [epoch["epoch"] for epoch in manifest.results["epochs"]] == [1, 2]
    first, last = manifest.results["epochs"]
    assert last["train"]["mlm_loss"] < first["train"]["mlm_loss"]
    assert last["held_out"]["mlm_loss"] < np.log(200)
    assert set(last["held_out"]) == {"loss", "mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"}
    assert manifest.results["sequences"] == 24 * 8
    assert manifest.results["tokens"] == 24 * 8 * 16
    measured = manifest.measurements
    assert measured["wall_clock_s"] == measured["epoch_wall_clock_s"][-1] > measured["epoch_wall_clock_s"][0] > 0
    assert measured["host_memory_peak_bytes"] > 100e6
    assert (measured["attempts"], measured["lost_steps"], measured["gpu_present"]) == (1, 0, 0)
    assert not list(store.list(f"objects/pretrain/{manifest.key}/rolling/"))


def test_what_is_done_isnt_done_again(config, store):
    first = run(config, store)
    assert run(config, store) == first


def test_the_same_key_gives_the_same_bits_and_another_seed_doesnt(config, store, reference, kept_trainers):
    expected = reference(config)
    kept_trainers.clear()  # another one, built and traced again
    assert outcome(run(config, store)) == expected
    other = config.model_copy(update={"seed": 4})
    assert reference(other)[0] != reference(config)[0]


def test_the_order_and_size_of_calls_dont_change_the_bits(config, store, reference, monkeypatch):
    monkeypatch.setattr("bertline.pretrain.stage.STEPS_A_CALL", {"cpu": 7, "gpu": 7})
    moved = config.model_copy(update={"checkpoints": Checkpoints(every_steps=4, every_minutes=60)})
    assert outcome(run(moved, store)) == reference(config)


def test_two_rounds_are_one_long_round(config, store, reference):
    """A milestone carries everything: one round of two epochs equals two rounds of one."""
    schedule = Constant(schedule="constant", peak=3e-3, warmup_steps=5)
    half = config.model_copy(update={"end_epoch": 1, "learning_rate": schedule.of_round(0, 12, [12])})
    first = run(half, store)
    second = run(continued(half, first.manifest.key, 2), store)
    files, results = reference(config)
    assert outcome(second)[0] == files
    assert first.manifest.results["epochs"] + second.manifest.results["epochs"] == results["epochs"]
    assert second.manifest.measurements["wall_clock_s"] > first.manifest.measurements["wall_clock_s"]


@pytest.mark.parametrize("step", [3, 5, 12, 17])
def test_sigterm_saves_and_the_next_attempt_gives_the_same_bits(step, config, store, reference, monkeypatch):
    from bertline.pretrain.trainer import Trainer

    train = Trainer.train

    def train_then_terminate(self, batch, rates, at):
        if at <= step < at + len(rates):
            signal.raise_signal(signal.SIGTERM)
        return train(self, batch, rates, at)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", train_then_terminate)
        with pytest.raises(Stopped, match="saved at step"), signals.handled():
            run(config, store)
    realization = run(config, store)
    assert outcome(realization) == reference(config)
    assert realization.manifest.measurements["attempts"] == 2
    assert realization.manifest.measurements["lost_steps"] == 0


MODES = {
    "bfloat16 in parts": ({"precision": "bfloat16"}, {"accumulate": 2}, False),
    "float16": ({"precision": "float16"}, {}, False),
    "clusters": ({}, {}, True),
    "xla": ({"xla": True, "precision": "bfloat16"}, {}, False),
}


@pytest.mark.parametrize(
    "mode", ["bfloat16 in parts", *(pytest.param(mode, marks=pytest.mark.slow) for mode in [*MODES][1:])]
)
def test_every_way_to_compute_resumes_with_the_same_bits(mode, config, store, reference, monkeypatch):
    from bertline.pretrain import trainer

    options, model, clusters = MODES[mode]
    if clusters:
        monkeypatch.setattr(trainer, "COMPILED_FROM", 0)
        options = {"seed": 5}  # another key than that of the reference without clusters
    config = config.model_copy(update=options | {"model": config.model.model_copy(update=model)})
    expected = reference(config)
    train = trainer.Trainer.train

    def train_then_terminate(self, batch, rates, at):
        if at in (5, 15):
            signal.raise_signal(signal.SIGTERM)
        return train(self, batch, rates, at)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train", train_then_terminate)
        for _ in range(2):
            with pytest.raises(Stopped, match="saved at step"), signals.handled():
                run(config, store)
    assert outcome(run(config, store)) == expected


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_checkpoint_before_a_damaged_one_is_used_and_two_damaged_ones_are_named(
    config, store, reference, monkeypatch, capfd
):
    from bertline.pretrain.checkpoints import Saver
    from bertline.pretrain.loop import Loop

    expected, save = reference(config), Saver.save
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_end_epoch", lambda loop, *_: (loop.saver.wait(), _raise_at_once()))
        patch.setattr(Saver, "save", lambda saver, *given: (save(saver, *given), saver.wait()))
        with pytest.raises(RuntimeError, match="stop"):
            run(config, store)
    older, newest = sorted(store.root.glob("objects/pretrain/*/rolling/*.safetensors"))
    assert (older.stem, newest.stem) == ("000000005", "000000010")
    damage(newest)
    sound = older.read_bytes()
    damage(older)
    with pytest.raises(DamagedError, match=re.escape(newest.name)):
        run(config, store)
    older.write_bytes(sound)
    assert outcome(run(config, store)) == expected
    said = capfd.readouterr().out
    assert "continuing at step 5" in said
    assert newest.name in said


def _raise_at_once(*_):
    raise RuntimeError("stop")


def test_a_checkpoint_that_cant_be_saved_is_counted_and_training_goes_on(config, store, reference, monkeypatch):
    from bertline.models import rolling

    expected = reference(config)
    put, failed = rolling.staging.put, []

    def fail_once(*arguments):
        if not failed:
            failed.append(True)
            raise TransientError("the network is gone")
        return put(*arguments)

    monkeypatch.setattr(rolling.staging, "put", fail_once)
    realization = run(config, store)
    assert outcome(realization) == expected
    counts = tasks.current().counts
    assert counts.checkpoint_failures == 1
    assert 1 <= counts.checkpoints <= 4  # at steps 5, 10, 15 and 20, and the newest takes the place of one that waits
    assert counts.checkpoint_pause_s == realization.manifest.measurements["checkpoint_pause_s"]


def test_a_batch_larger_than_the_corpus_is_refused_before_tensorflow(config, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "bertline.pretrain.trainer", None)
    wide = config.model_copy(update={"model": config.model.model_copy(update={"batch_size": 151})})
    with pytest.raises(UserError, match=r"151.*150 examples"):
        run(wide, store)


def test_the_log_tells_step_loss_rate_speed_and_time_left(config, store, capfd, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    run(config, store)
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("epochs 1 to 2: ")]
    wanted = (
        r"epochs 1 to 2: [\d,]+ of 24 steps, [\d.,]+ steps/s(, \d+ (s|min) left)?; "
        r"step \d+, loss \d\.\d{3} \(MLM \d\.\d{3}, NSP \d\.\d{3}\), learning rate 3\.00e-03, [\d.,]+ sequences/s"
    )
    assert len(lines) > 3
    assert all(re.fullmatch(wanted, line) for line in lines[2:]), lines


def test_a_milestone_of_another_architecture_is_refused(config, store):
    schedule = Constant(schedule="constant", peak=3e-3, warmup_steps=5)
    half = config.model_copy(update={"end_epoch": 1, "learning_rate": schedule.of_round(0, 12, [12])})
    after = continued(half, run(half, store).manifest.key, 2)
    deeper = after.model_copy(update={"model": config.model.model_copy(update={"layers": 3})})
    with pytest.raises(UserError, match="layer_2"):
        run(deeper, store)


def test_mlm_alone_leaves_the_pooler_and_has_no_nsp(config, store):
    realization = run(config.model_copy(update={"next_sentence": False}), store)
    assert set(realization.manifest.results["epochs"][0]["train"]) == {"loss", "mlm_loss", "mlm_accuracy"}


KILLED = Path(__file__).parent / "killed.py"


def test_killed_at_random_moments_the_bits_are_those_of_an_uninterrupted_run(config, store, reference, tmp_path):
    """kill -9, five times, then finish. Attempts are forked from a process that has TensorFlow imported."""
    schedule = Constant(schedule="constant", peak=3e-3, warmup_steps=5)
    config = config.model_copy(update={"steps_per_epoch": 100, "learning_rate": schedule.of_round(0, 200, [200])})
    files = reference(config)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    result = subprocess.run(
        [sys.executable, KILLED, store.uri, tmp_path / "config.json", str(random.Random(1).random())],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    realization = run(config, store)
    assert outcome(realization) == files
    recorded = attempts.read(store, realization.prefix)
    assert len(recorded) == realization.manifest.measurements["attempts"] >= 4
    resumed = [event["step"] for each in recorded for event in each.events if event["event"] == "resume"]
    assert resumed == sorted(resumed)
    assert len(set(resumed)) == 3
    # Start-up took most of the killed attempts' time, and isn't training.
    assert realization.manifest.measurements["lost_s"] < realization.manifest.measurements["wall_clock_s"]


def test_lost_time_is_of_training_and_not_of_staging_and_start_up():
    def event(name, time, **details):
        return {"event": name, "time": time, **details}

    logs = [
        [  # 900 s of start-up, then 45 s of training, of which a checkpoint keeps 25 s
            event("start", 0.0),
            event("alive", 900.0, step=40, wall_clock_s=20.0),
            event("checkpoint", 960.0, step=50, wall_clock_s=25.0),
            event("alive", 1000.0, step=90, wall_clock_s=45.0),
        ],
        [event("start", 2000.0), event("failed", 2600.0)],  # while staging
        [  # 10 s after the checkpoint, told by an epoch's end
            event("start", 3000.0),
            event("resume", 3500.0, step=50),
            event("epoch", 3600.0, step=70, wall_clock_s=35.0),
        ],
    ]
    earlier = [RecordedAttempt(number, tuple(events)) for number, events in enumerate(logs, start=1)]
    assert stage._lost(earlier, 0, 0.0) == {"lost_steps": 40 + 20, "lost_s": 20.0 + 10.0}


def test_the_log_of_an_earlier_attempt_that_is_damaged_costs_nothing(config, store):
    derivation = config.derivation()
    store.put(f"{derivation.prefix}attempts/0001.jsonl", b'{"event": "sta')
    assert run(config, store).manifest.measurements["attempts"] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="no right to mount a small disk")
def test_a_disk_that_fills_up_during_a_checkpoint_costs_the_checkpoint(config, store, reference, tmp_path, monkeypatch):
    """safetensors has an exception of its own for a full disk, and it isn't an OSError."""
    from bertline.pretrain import checkpoints
    from bertline.pretrain.trainer import Trainer

    expected, scratch = reference(config), tmp_path / "scratch"
    scratch.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", scratch], capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs here")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))
        monkeypatch.setattr(checkpoints, "AGAIN_S", 0.2)
        ballast = scratch / "ballast"
        train = Trainer.train

        def fill(self, batch, rates, at):
            if at == 0:  # the disk is full from the first checkpoint on
                with contextlib.suppress(OSError), ballast.open("wb") as file:
                    while True:
                        file.write(b"0" * 4096)
                        file.flush()
            if at == 20:  # and somebody makes room before the last one
                for _ in range(100):
                    saver_problems or time.sleep(0.1)
                ballast.unlink()
            return train(self, batch, rates, at)

        saver_problems = []
        tell = checkpoints.Saver._tell
        monkeypatch.setattr(
            checkpoints.Saver, "_tell", lambda self, job, error: (saver_problems.append(error), tell(self, job, error))
        )
        monkeypatch.setattr(Trainer, "train", fill)
        realization = run(config, store)
    finally:
        subprocess.run(["umount", scratch], check=True)
    assert outcome(realization) == expected
    assert saver_problems
    assert all(isinstance(error, TransientError) and "no space left" in str(error) for error in saver_problems)
