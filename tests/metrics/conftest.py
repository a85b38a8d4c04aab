import os
import subprocess
import sys
from pathlib import Path

import pytest

TASK = Path(__file__).with_name("task.py")


@pytest.fixture
def start(tmp_path):
    """Start `task.py`; its process, with pipes of text. What is still running at the end is killed."""
    started = []

    def start(kind, address="127.0.0.1:0", **environment):
        process = subprocess.Popen(
            [sys.executable, TASK, kind, str(tmp_path / "store")],
            env=os.environ | {"BERTLINE_METRICS_ADDRESS": address} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()
