"""An environment of an image's lock, and of nothing else, is enough: for the stage and for KFP's executor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkouts import ROOT, stage

UV = Path(sys.executable).with_name("uv")
TENSORFLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]  # 300 MB to download

LIGHT = "from bertline.{package} import stage"
TRAINING = """
import numpy as np
from bertline.models import encoders
from bertline.experiment.specs import Model
from bertline.{package} import stage, {more}
encoder = encoders.build(Model(layers=2, batch_size=2, hidden=8, heads=2, intermediate=16, max_positions=16), 30)
encoders.initialize(encoders.named(encoder.trainable_variables), 0.02, seed=1)
ids = np.ones((2, 6), np.int32)
outputs = encoder(dict(input_word_ids=ids, input_mask=ids, input_type_ids=ids))
assert outputs["sequence_output"].shape == (2, 6, 8)
"""


def run(*command, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("image", "lock", "programs"),
    [
        ("corpus", "requirements.lock", [LIGHT.format(package="corpus"), LIGHT.format(package="vocabulary")]),
        ("report", "requirements.lock", [LIGHT.format(package="report")]),
        pytest.param(
            "pretrain",
            "requirements-cpu.lock",
            [TRAINING.format(package="pretrain", more="trainer, loop, checkpoints")],
            marks=TENSORFLOW,
        ),
        pytest.param(
            "evaluate",
            "requirements-cpu.lock",
            [TRAINING.format(package="evaluate", more="classifier")],
            marks=TENSORFLOW,
        ),
    ],
)
def test_the_lock_is_enough(image, lock, programs, tmp_path):
    environment = tmp_path / "environment"
    python = environment / "bin/python"
    locks = [ROOT / "images" / image / lock, ROOT / "images/kfp.lock"]
    run(UV, "venv", "--quiet", "--python", sys.executable, environment)
    run(UV, "pip", "sync", "--quiet", "--python", python, "--require-hashes", *locks)
    code = stage(image, tmp_path / "app")
    for program in programs:
        run(python, "-I", "-c", f"import sys\nsys.path.insert(0, {str(code)!r})\n{program}")
    run(python, "-I", "-c", "import kfp.dsl.executor_main", _KFP_RUNTIME="true")
