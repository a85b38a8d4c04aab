"""The command as its users run it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("bertline")


@pytest.fixture
def bertline(tmp_path):
    """Run `bertline …` in an empty folder."""

    def run(*arguments, timeout=120, **environment):
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "120"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
