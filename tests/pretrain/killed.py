"""Runs a pretrain stage again and again, killed -9 five times at random moments, then to its end.

Usage: killed.py STORE CONFIG.json SEED. Not a test: the tests start it.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bertline.pretrain import checkpoints, stage, trainer
from bertline.pretrain.config import PretrainConfig
from bertline.store.backends import connect
from bertline.store.objects import NotFoundError, ObjectStore

assert checkpoints
assert trainer  # TensorFlow is imported before the forks, and nothing of it has run


def start(config: PretrainConfig, store: ObjectStore) -> int:
    """Fork an attempt; its pid."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if stage.run(config, connect(store.uri)) else 1)
    return pid


def kill_when(moment: Callable[[], bool], pid: int) -> None:
    """kill -9 at the moment; the attempt must not have ended before."""
    while not moment():
        ended, status = os.waitpid(pid, os.WNOHANG)
        assert not ended, f"ended before it was killed: {status}"
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def saved(config: PretrainConfig, store: ObjectStore) -> int:
    """Step of the last committed checkpoint."""
    try:
        content, _ = store.get(f"{config.derivation().prefix}rolling/latest.json")
    except NotFoundError:
        return 0
    return int(json.loads(content)["progress"]["step"])


def main() -> None:
    """Twice while TensorFlow traces, three times a random moment after another checkpoint is saved."""
    uri, path, seed = sys.argv[1:]
    config, store, draw = PretrainConfig.model_validate_json(Path(path).read_text()), connect(uri), random.Random(seed)
    for patience in (draw.uniform(0, 1.5), None, draw.uniform(0, 1.5), None, None):
        before, since, pid = saved(config, store), time.monotonic(), start(config, store)
        if patience is None:
            while saved(config, store) <= before:
                time.sleep(0.001)
            patience, since = draw.uniform(0, 0.05), time.monotonic()
        kill_when(lambda until=since + patience: time.monotonic() > until, pid)
        sys.stdout.write(f"killed with step {saved(config, store)} saved\n")
    _, status = os.waitpid(start(config, store), 0)
    assert status == 0, status


main()
