"""Runs a pretrain stage again and again, killed -9 at random moments, five times, then to its end.

Usage: killed.py STORE CONFIG.json SEED. Not a test: the tests start it.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from bertline.pretrain import checkpoints, stage, trainer
from bertline.pretrain.config import PretrainConfig
from bertline.store.objects import connect

assert checkpoints
assert trainer  # TensorFlow is imported before the forks, and nothing of it has run

KILLS = 5


def attempt(config: PretrainConfig, uri: str, patience: float) -> float | None:
    """Fork an attempt, kill it after `patience` seconds; how long it took if it ended before."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if stage.run(config, connect(uri)) else 1)
    while time.monotonic() - began < patience:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0, status
            return time.monotonic() - began
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def main() -> None:
    """Kills fall over the second half of what an attempt needs: the first is TensorFlow tracing the step."""
    uri, path, seed = sys.argv[1:]
    config = PretrainConfig.model_validate_json(Path(path).read_text())
    draw = random.Random(seed)
    other = config.model_copy(update={"seed": config.seed + 1})
    whole = attempt(other, uri, 300)
    assert whole
    for _ in range(KILLS):
        if attempt(config, uri, whole * draw.uniform(0.3, 1.0)):
            break
    assert attempt(config, uri, 300) is not None


main()
